"""How answers are made: whole groups of prompts at once, then one forward pass a token for all rows under way."""
