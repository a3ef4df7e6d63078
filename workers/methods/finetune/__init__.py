"""Many-shot training through the transformers Trainer, on one rank or several."""
