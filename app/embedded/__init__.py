"""PostgreSQL and Valkey out of their wheels, for `vision serve` on a machine that has neither.

Knows nothing of FastAPI, tables or keys: it hands out two URLs and takes them back.
"""

from app.embedded.errors import EmbeddedError
from app.embedded.servers import Addresses, EmbeddedServers, purge

__all__ = ["Addresses", "EmbeddedError", "EmbeddedServers", "purge"]
