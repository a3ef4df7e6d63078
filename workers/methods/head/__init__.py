"""The closed-form head as a training method."""
