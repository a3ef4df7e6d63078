"""The events of a job as server-sent events, and its files as downloads."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import threading
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import PurePosixPath
from typing import IO
from urllib.parse import quote

import structlog
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import SQLAlchemyError

from app.errors import OverloadedError
from app.http.streaming import HeldStream
from app.jobs import repository
from app.jobs.errors import ArtifactNotFoundError, TooManyFollowersError
from app.jobs.repository import FINISHED, StoredEvent
from app.jobs.spec import FileRef
from app.jobs.tables import Artifact
from app.storage.database import Database
from app.storage.files import FileStore
from app.storage.tallies import Tallies

HEARTBEAT_SECONDS = 15.0
"""Silence after which a comment is sent, so that nobody on the way takes the connection for dead."""
_BATCH = 500
_CHUNK = 1 << 18

log = structlog.get_logger("app.jobs")


class Followers:
    """Counts the clients that follow jobs."""

    def __init__(
        self,
        database: Database,
        *,
        poll_s: float,
        most: int,
        most_of_one: int,
        asked: threading.Event | None = None,
        tallies: Tallies | None = None,
    ) -> None:
        """At most `most` clients follow here, `most_of_one` of them of one workspace; `asked` is set when the first one
        does. `tallies` counts those of every process of the service.
        """
        self._asked = asked
        self._database = database
        self._poll_s = poll_s
        self._most = most
        self._most_of_one = most_of_one
        self._tallies = tallies or Tallies.alone()
        self._closing = asyncio.Event()

    def follow(self, workspace: str, job_id: uuid.UUID, after: int) -> StreamingResponse:
        """The job's events after the one of the id `after`, until it has ended or the client leaves.

        Raises OverloadedError where too many follow already, TooManyFollowersError where too many of one workspace do.
        """
        if self._tallies.followers_of(workspace).total >= self._most_of_one:
            raise TooManyFollowersError(
                f"{self._most_of_one} clients of the workspace '{workspace}' follow jobs here already, as many as may "
                "(VISION_MAX_WORKSPACE_FOLLOWERS): end one of those streams, or poll the job."
            )
        if self._tallies.get("followers").total >= self._most:
            raise OverloadedError("Too many clients follow jobs here: try again, or poll the job.")
        if self._asked is not None:
            self._asked.set()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        events = self._events(workspace, job_id, after)
        return HeldStream(events, self._count_follower(workspace), headers=headers)

    @asynccontextmanager
    async def _count_follower(self, workspace: str) -> AsyncIterator[None]:
        listening = self._tallies.get("followers"), self._tallies.followers_of(workspace)
        for tally in listening:
            tally.add(1)
        try:
            yield
        finally:
            for tally in listening:
                tally.add(-1)

    def close(self) -> None:
        """End every stream; clients go on elsewhere, from the last event they saw."""
        self._closing.set()

    async def _events(self, workspace: str, job_id: uuid.UUID, after: int) -> AsyncIterator[str]:
        quiet_since, away = time.monotonic(), False
        yield f"retry: {round(1e3 * max(self._poll_s, 1.0))}\n\n"
        while not self._closing.is_set():
            try:
                async with self._database.session() as session:
                    found = await repository.load_events(
                        session, workspace, job_id, after=after, limit=_BATCH
                    )
            except SQLAlchemyError as error:
                if not away:  # once: it is looked for several times a second, by everybody who follows
                    log.warning("a job's events could not be read", reason=type(error).__name__)
                away = True
            else:
                away = False
                if found is None:
                    return
                state, events = found
                for event in _newest(events):
                    yield _render_event(event)
                    quiet_since = time.monotonic()
                after = events[-1].id if events else after
                if len(events) == _BATCH:
                    continue
                if state in FINISHED:
                    return
            if time.monotonic() - quiet_since > HEARTBEAT_SECONDS:
                yield ": still here\n\n"
                quiet_since = time.monotonic()
            await self._pause()

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._closing.wait(), self._poll_s)
        except TimeoutError:
            return


def _newest(events: Sequence[StoredEvent]) -> list[StoredEvent]:
    """Without progress that later progress among them supersedes: a long job has very many of them."""
    last = max((event.id for event in events if event.kind == "progress"), default=0)
    return [event for event in events if event.kind != "progress" or event.id == last]


def _render_event(event: StoredEvent) -> str:
    # in ASCII: some clients take U+2028 and its like for the end of a line
    data = json.dumps({**event.data, "at": event.at.isoformat()})
    return f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n"


async def download(files: FileStore, artifact: Artifact | FileRef) -> StreamingResponse:
    """A file of the store as an attachment; raises ArtifactNotFoundError where it is gone, StoreUnavailableError."""
    try:
        file = await asyncio.to_thread(files.open, artifact.key)
    except FileNotFoundError:
        raise ArtifactNotFoundError(f"The file '{artifact.name}' is no longer kept.") from None
    name = PurePosixPath(artifact.name).name
    held = AsyncExitStack()
    held.callback(file.close)
    return HeldStream(
        _chunks(file),
        held,
        media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
        headers={
            "Content-Length": str(artifact.size),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "ETag": f'"{artifact.sha256}"',
            "X-Content-Type-Options": "nosniff",
        },
    )


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        yield chunk
