"""Learning that takes a while: jobs, the datasets they learn from and the models they leave behind.

Knows job rows, specifications and artefacts; trains nothing itself and never imports the workers.
"""
