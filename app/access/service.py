"""Keys and workspaces as rows: made, listed, revoked and looked up."""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select, tuple_, update

from app.access import keys
from app.access.scopes import Scope
from app.access.tables import ApiKey
from app.access.workspaces import ensure_workspace
from app.storage.database import Database

# Revocation must be seen within a second by every process: half of that is left for the request itself.
REMEMBER_SECONDS = 0.5
_MAX_REMEMBERED = 1024


@dataclass(frozen=True)
class KeyIdentity:
    """The identity and scopes that a valid key carries."""

    key_id: uuid.UUID
    workspace: str
    scopes: frozenset[str]
    expires_at: datetime | None


class KeyRing:
    """The keys of one database, with a memory so short that nobody notices it."""

    def __init__(self, database: Database, secret: bytes) -> None:
        self._database = database
        self._secret = secret
        self._looking: dict[bytes, asyncio.Task[KeyIdentity | None]] = {}
        self._remembered: OrderedDict[bytes, tuple[float, KeyIdentity | None]] = OrderedDict()

    async def find(self, key: str) -> KeyIdentity | None:
        """Whoever holds `key`; None when it is malformed, unknown, revoked or expired."""
        if not keys.is_well_formed(key):
            return None
        digest = keys.digest(self._secret, key)
        now = time.monotonic()
        remembered = self._remembered.get(digest)
        if remembered is None or remembered[0] <= now:
            remembered = (now + REMEMBER_SECONDS, await self._look_up_once(digest))
            self._remembered[digest] = remembered
            self._remembered.move_to_end(digest)
            while len(self._remembered) > _MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        holder = remembered[1]
        if holder is not None and holder.expires_at is not None and holder.expires_at <= datetime.now(UTC):
            return None
        return holder

    async def _look_up_once(self, digest: bytes) -> KeyIdentity | None:
        """Requests that come together share one look; cancelling one does not end it for the others."""
        look = self._looking.get(digest)
        if look is None:
            look = self._looking[digest] = asyncio.create_task(self._look_up(digest))
            look.add_done_callback(lambda _: self._looking.pop(digest, None))
        return await asyncio.shield(look)

    async def _look_up(self, digest: bytes) -> KeyIdentity | None:
        async with self._database.session() as session:
            row = await session.scalar(
                select(ApiKey).where(ApiKey.digest == digest, ApiKey.revoked_at.is_(None))
            )
        if row is None or not hmac.compare_digest(row.digest, digest):
            return None
        return KeyIdentity(row.id, row.workspace, frozenset(row.scopes), row.expires_at)

    async def create(
        self,
        *,
        name: str,
        workspace: str,
        scopes: Sequence[Scope],
        expires_at: datetime | None = None,
        text: str | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its text, which is known only here and now; makes the workspace when it is new."""
        text = text or keys.new_key()
        async with self._database.session() as session:
            await ensure_workspace(session, workspace)
            row = ApiKey(
                workspace=workspace,
                name=name,
                hint=text[: keys.HINT_CHARS],
                digest=keys.digest(self._secret, text),
                scopes=sorted(set(scopes)),
                expires_at=expires_at,
            )
            session.add(row)
            await session.flush()
            await session.refresh(row)
        return row, text

    async def page(self, *, workspace: str | None, limit: int, after: uuid.UUID | None) -> list[ApiKey]:
        """Up to `limit` keys that are not revoked, oldest first, after the key `after`; None means all
        workspaces.
        """
        query = select(ApiKey).where(ApiKey.revoked_at.is_(None))
        if workspace is not None:
            query = query.where(ApiKey.workspace == workspace)
        if after is not None:
            place = select(ApiKey.created_at, ApiKey.id).where(ApiKey.id == after).subquery()
            query = query.where(
                tuple_(ApiKey.created_at, ApiKey.id)
                > select(place.c.created_at, place.c.id).scalar_subquery()
            )
        async with self._database.session() as session:
            rows = await session.scalars(query.order_by(ApiKey.created_at, ApiKey.id).limit(limit))
            return list(rows)

    async def name_of(self, key_id: uuid.UUID) -> str | None:
        """What a key is called, also one that was revoked; None where it is gone."""
        async with self._database.session() as session:
            return await session.scalar(select(ApiKey.name).where(ApiKey.id == key_id))

    async def revoke(self, key_id: uuid.UUID, *, workspace: str | None) -> bool:
        """End a key for good; False when there is no such key in `workspace` (None: in any)."""
        ended = (
            update(ApiKey)
            .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
            .values(revoked_at=func.now())
        )
        if workspace is not None:
            ended = ended.where(ApiKey.workspace == workspace)
        async with self._database.session() as session:
            found = (await session.scalars(ended.returning(ApiKey.id))).first()
        self._remembered.clear()
        return found is not None

    async def has_usable_key(self) -> bool:
        """Whether one key exists that is neither revoked nor expired."""
        usable = select(ApiKey.id).where(
            ApiKey.revoked_at.is_(None), (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > func.now())
        )
        async with self._database.session() as session:
            return (await session.scalar(usable.limit(1))) is not None

    async def ensure_workspace(self, name: str) -> None:
        """Make the workspace `name` when it is missing."""
        async with self._database.session() as session:
            await ensure_workspace(session, name)
