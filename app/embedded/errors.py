"""Why the embedded servers could not be had, each as a named exception whose text a person can act on."""

from __future__ import annotations


class EmbeddedError(RuntimeError):
    """The embedded servers could not be started."""

    def __init__(self, detail: str | None = None) -> None:
        """`detail` replaces the docstring as the sentence shown."""
        super().__init__(detail or (type(self).__doc__ or "").strip())


class FolderError(EmbeddedError):
    """A folder that must be private is not."""


class MissingWheelError(EmbeddedError):
    """The wheel that carries an embedded server is not installed."""


class AccountError(EmbeddedError):
    """PostgreSQL refuses to run as root and no unprivileged user could be had."""


class DataVersionError(EmbeddedError):
    """The data folder was made by another major version of PostgreSQL."""


class ServerStartError(EmbeddedError):
    """An embedded server did not start."""


class ServerStopError(EmbeddedError):
    """An embedded server did not stop."""


class BusyError(EmbeddedError):
    """Another process holds this data folder."""
