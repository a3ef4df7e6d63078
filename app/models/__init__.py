"""Models by name, and the trained ones of a workspace: file format, rows, files on this machine, uploads."""
