"""PostgreSQL and Valkey out of their wheels, for `vision serve` on a machine that has neither."""

from app.embedded.errors import EmbeddedError
from app.embedded.servers import Addresses, EmbeddedServers, purge

__all__ = ["Addresses", "EmbeddedError", "EmbeddedServers", "purge"]
