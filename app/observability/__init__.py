"""What operators see of the service: log lines, request ids and metrics.

Never sees a key or an image.
"""
