"""What the names of files and folders in a dataset mean: labels, splits, and what is neither.

Knows names alone; opens no file. The command line and the workers read folders by the same rules.
"""
