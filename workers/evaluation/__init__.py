"""How good a model is: figures from well-kept libraries, and pictures that show where it goes wrong."""
