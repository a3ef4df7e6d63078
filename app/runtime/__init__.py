"""`vision serve`: the parent process, its children, the listening socket and signals."""
