"""Training jobs, whatever the method."""
