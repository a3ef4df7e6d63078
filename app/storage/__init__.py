"""The database's engine, images by their hash, files of jobs, untrusted archives, and Redis."""
