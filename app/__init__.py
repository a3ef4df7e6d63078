"""llamafarm-vision: everything a request touches, one room a concept; docs/architecture.md is the map.

Knows nothing of Celery workers: those import this package, never the other way round.
"""

__version__ = "0.1.0"
