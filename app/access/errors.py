"""The failures of access that a client can meet."""

from __future__ import annotations

from app.errors import ForbiddenError, NotFoundError, TooLargeError


class ForeignOriginError(ForbiddenError):
    """Without API keys the service answers only requests that name a loopback host and origin, or a host that
    `VISION_ALLOWED_HOSTS` names (from a container: `host.docker.internal`).
    """

    code = "foreign_origin"
    advice = (
        "Call the service as `localhost` or `127.0.0.1`, name other hosts in `VISION_ALLOWED_HOSTS`, or serve it with "
        "API keys."
    )


class KeyNotFoundError(NotFoundError):
    """There is no such API key: GET /v1/keys lists their ids."""

    code = "key_not_found"
    advice = "Take an id from `GET /v1/keys`."


class WorkspaceFullError(TooLargeError):
    """The workspace has reached its storage limit."""

    code = "workspace_full"
    advice = "Delete examples, datasets or models of the workspace, or raise `VISION_MAX_WORKSPACE_MB`."
