"""What this service can recognise with, and what the machine it runs on has.

Knows models by their descriptions; knows nothing of collections or answers.
"""
