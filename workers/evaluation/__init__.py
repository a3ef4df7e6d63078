"""How good a model is: figures from well-kept libraries, and pictures that show where it goes wrong.

Knows predictions and truths; knows nothing of models, jobs or where pictures are kept.
"""
