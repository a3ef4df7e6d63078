"""Prototypical networks."""
