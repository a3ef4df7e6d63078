"""What an uploaded model must be like, file by file; runs in a bounded child and imports no torch."""
