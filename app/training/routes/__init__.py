"""The addresses that ask for long work, check what is asked for, or show what augmentation does."""
