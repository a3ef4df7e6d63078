"""Flamingo's open descendants: Idefics and Idefics3/SmolVLM."""
