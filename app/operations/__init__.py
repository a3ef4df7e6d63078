"""What operators look at: health, readiness, metrics and the documentation page."""
