"""The parameters and tasks of each training method, without torch; their code is in `workers.methods`."""
