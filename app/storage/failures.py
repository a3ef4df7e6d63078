"""What databases, Redis and disks fail with, as named errors. Knows nothing of HTTP: workers name theirs here too."""

from __future__ import annotations

import re

import psycopg
import redis.exceptions
import sqlalchemy.exc

from app import errors
from app.errors import VisionError
from app.storage import disk
from app.storage.errors import InsufficientStorageError, StoreUnavailableError

_NO_CONNECTION_LEFT = re.compile(r"too many (clients|connections)|remaining connection slots")
_REDIS_REFUSALS = {
    "OOM": "is out of memory",
    "READONLY": "can only be read",
    "MISCONF": "cannot write to its disk",
    "NOREPLICAS": "has too few replicas",
    "MASTERDOWN": "has lost its master",
    "CLUSTERDOWN": "is down",
}
FAILURES = (
    sqlalchemy.exc.DataError,
    sqlalchemy.exc.IntegrityError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
    psycopg.OperationalError,
    redis.exceptions.RedisError,
    OSError,
)
"""What `name_failure` looks into where it ends a request."""


def name_failure(exc: BaseException) -> VisionError | None:
    """The named error of a store, of memory or of a disk that `exc` stands for; None when nobody foresaw it."""
    match exc:
        case sqlalchemy.exc.DataError() | psycopg.DataError() | UnicodeEncodeError():
            return errors.InvalidInputError("The request holds text or numbers that cannot be stored.")
        case sqlalchemy.exc.IntegrityError() | psycopg.IntegrityError():
            return errors.ConflictError(
                "What this request refers to was changed meanwhile: look again and retry."
            )
        case sqlalchemy.exc.TimeoutError():
            return StoreUnavailableError()
        case sqlalchemy.exc.OperationalError() | sqlalchemy.exc.InterfaceError():
            return _from_database(exc.orig or exc)
        case sqlalchemy.exc.DBAPIError() if isinstance(exc.orig, psycopg.errors.ReadOnlySqlTransaction):
            return _from_database(exc.orig)
        case sqlalchemy.exc.DBAPIError() if exc.connection_invalidated:
            return StoreUnavailableError()
        case sqlalchemy.exc.StatementError() if isinstance(exc.orig, UnicodeEncodeError):
            return errors.InvalidInputError("The request holds text that cannot be stored.")
        case psycopg.OperationalError() | psycopg.InterfaceError() | psycopg.errors.ReadOnlySqlTransaction():
            return _from_database(exc)
        case redis.exceptions.ConnectionError() | redis.exceptions.TimeoutError():
            return disk.fault_of(exc) or StoreUnavailableError("Redis is not reachable right now.")
        case redis.exceptions.OutOfMemoryError():
            return StoreUnavailableError("Redis is out of memory right now.")
        case redis.exceptions.ReadOnlyError():
            return StoreUnavailableError("Redis can only be read right now.")
        case redis.exceptions.ResponseError() if (refusal := str(exc).partition(" ")[0]) in _REDIS_REFUSALS:
            return StoreUnavailableError(f"Redis {_REDIS_REFUSALS[refusal]} right now.")
        case MemoryError():
            return errors.OverloadedError()
    return disk.fault_of(exc)


def _from_database(error: BaseException) -> VisionError:
    """What a database that refuses is short of; one that is away has said nothing."""
    said = str(error)
    if isinstance(error, psycopg.errors.DiskFull) or "No space left on device" in said:
        return InsufficientStorageError(
            "The database's disk is full: free some space there, then try again.", retry_after_s=60
        )
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return StoreUnavailableError("The database can only be read right now.")
    # a refusal to connect carries no code, only the server's words
    if isinstance(error, psycopg.errors.TooManyConnections) or _NO_CONNECTION_LEFT.search(said):
        return StoreUnavailableError("The database takes no more connections right now.")
    return disk.fault_of(error) or StoreUnavailableError()
