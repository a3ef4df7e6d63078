"""BLIP: captions and answers."""
