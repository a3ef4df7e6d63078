"""MAML and ANIL."""
