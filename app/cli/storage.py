"""`vision storage`: how much a workspace stores."""

from __future__ import annotations

from typing import Any

from app.cli import output
from app.cli.options import Json
from app.cli.session import Session, pass_session

_MIB = 1 << 20


@pass_session(Json)
def storage(session: Session) -> None:
    """Show how much the workspace stores, of how much it may."""
    session.print_result(session.service.call("GET", "/v1/storage"), _print_storage)


def _print_storage(found: dict[str, Any]) -> None:
    used, limit = found["used_bytes"] / _MIB, found["max_bytes"] / _MIB
    output.out.print(f"{used:,.1f} of {limit:,.0f} MiB in the workspace {found['workspace']}", soft_wrap=True)
