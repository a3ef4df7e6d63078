"""What every many-shot training shares: the Trainer's arguments, its checkpoints, memory, several ranks.

Knows the transformers Trainer and DeepSpeed; knows nothing of which model is trained on what.
"""
