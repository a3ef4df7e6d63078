"""What operators see of the service: log lines, request ids and metrics.

Knows nothing of what requests ask for; never sees a key or an image.
"""
