"""How many bytes a workspace stores, held to its quota before more are taken in."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated
from weakref import WeakValueDictionary

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.dependencies import Trainer
from app.access.errors import WorkspaceFullError
from app.http.dependencies import find_service
from app.storage.database import Database

Counter = Callable[[AsyncSession, str], Awaitable[int]]
"""Bytes that a room keeps for a workspace, in the caller's transaction."""
REMEMBER_SECONDS = 10.0
"""Age at which a count is made anew; several processes may exceed the quota by what they take in meanwhile."""
_MAX_REMEMBERED = 1_024
_MIB = 1 << 20


@dataclass(frozen=True)
class StorageUse:
    """Bytes that a workspace stores, and its quota."""

    used: int
    limit: int


class StorageQuota:
    """The quota of every workspace of one database."""

    def __init__(self, database: Database, counters: Sequence[Counter], max_workspace_mb: int) -> None:
        self._database = database
        self._counters = counters
        self._max_mb = max_workspace_mb
        self._used: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When it was counted, and the bytes, those taken in since included."""
        self._counting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(self, workspace: str, more_bytes: int) -> None:
        """Allow `more_bytes` to be stored; raises WorkspaceFullError where the quota has no room for them."""
        # one after the other: requests that count at the same time would not see each other's bytes
        async with self._counting.setdefault(workspace, asyncio.Lock()):
            counted_at, used = await self._count(workspace, more_bytes)
            self._used[workspace] = counted_at, used + more_bytes

    async def check(self, workspace: str, more_bytes: int = 1) -> None:
        """Raise WorkspaceFullError where the quota has no room for so many bytes more; takes none of it."""
        async with self._counting.setdefault(workspace, asyncio.Lock()):
            await self._count(workspace, more_bytes)

    async def measure(self, workspace: str) -> StorageUse:
        """How many bytes a workspace stores, of how many; a count of up to `REMEMBER_SECONDS` ago."""
        async with self._counting.setdefault(workspace, asyncio.Lock()):
            _, used = await self._look(workspace, None)
        return StorageUse(used, self._max_mb * _MIB)

    async def _count(self, workspace: str, more_bytes: int) -> tuple[float, int]:
        counted_at, used = await self._look(workspace, more_bytes)
        if not self._fits(used, more_bytes):
            raise WorkspaceFullError(
                f"The workspace '{workspace}' stores {_mib(used)} of the {self._max_mb} MiB that it may "
                f"(VISION_MAX_WORKSPACE_MB), and this needs {_mib(more_bytes)} more: delete examples, datasets or "
                "models, or raise the limit."
            )
        return counted_at, used

    async def _look(self, workspace: str, more_bytes: int | None) -> tuple[float, int]:
        """When it was counted, and the bytes; `more_bytes` shall find room, None where nothing is to be stored."""
        counted_at, used = self._used.get(workspace, (float("-inf"), 0))
        is_full = more_bytes is not None and not self._fits(used, more_bytes)
        if time.monotonic() - counted_at > REMEMBER_SECONDS or is_full:
            # a refusal rests on a fresh count: what was deleted a moment ago makes room at once
            counted_at = time.monotonic()
            async with self._database.session() as session:
                used = sum([await count(session, workspace) for count in self._counters])
            self._used[workspace] = counted_at, used
            self._used.move_to_end(workspace)
            while len(self._used) > _MAX_REMEMBERED:
                self._used.popitem(last=False)
        return counted_at, used

    def _fits(self, used: int, more_bytes: int) -> bool:
        return used + more_bytes <= self._max_mb * _MIB


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB" if size >= _MIB / 10 else f"{size} bytes"


Quota = Annotated[StorageQuota, Depends(find_service("quota", StorageQuota))]


async def check_room_for_body(request: Request, quota: Quota, caller: Trainer) -> None:
    """A dependency, to be listed before the one that receives a large body: raises WorkspaceFullError where the
    caller's workspace has no room for what the client says it sends.
    """
    declared = request.headers.get("content-length", "")  # `app.http.limits` has seen that it is a number
    await quota.check(caller.workspace, int(declared) if declared.isdigit() else 1)
