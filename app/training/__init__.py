"""Learning that takes a while: jobs, the datasets they learn from and the models they leave behind."""
