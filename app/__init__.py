"""llamafarm-vision: everything a request touches, one room a concept; docs/architecture.md is the map.

Never imports `workers`, which import this package.
"""

__version__ = "0.1.0"
