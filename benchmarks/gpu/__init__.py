"""What a machine with a GPU does with this service, in one command: `python -m benchmarks.gpu`.

`pack` and `install` bring project and wheels onto such a machine without a network. docs/benchmarks.md says how.
"""
