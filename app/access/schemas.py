"""Requests and replies of `/keys`.

A key's text is only ever part of the one answer that made it.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.access.scopes import Scope
from app.http.bodies import Page, RequestBody

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
_MAX_LIFE = timedelta(days=36_500)


class KeyRequest(RequestBody):
    """A key to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "shop camera", "scopes": ["recognise"], "expires_in_days": 90}]
        },
    )

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] = Field(
        description="What the key is for."
    )
    scopes: list[Scope] = Field(
        ["recognise", "learn"], min_length=1, max_length=8, description="What it may do; `admin` means all."
    )
    workspace: Slug | None = Field(None, description="Workspace it belongs to, made if new; yours if empty.")
    expires_in_days: int | None = Field(None, ge=1, le=36_500, description="Days until it ends.")
    expires_at: AwareDatetime | None = Field(None, description="When it ends, instead of `expires_in_days`.")

    @model_validator(mode="after")
    def _check_end(self) -> KeyRequest:
        if any(ord(letter) < 32 for letter in self.name):
            raise ValueError("name holds control characters")
        if self.expires_in_days is not None and self.expires_at is not None:
            raise ValueError("expires_in_days and expires_at cannot both be given")
        if self.expires_at is not None and not (
            datetime.now(UTC) < self.expires_at < datetime.now(UTC) + _MAX_LIFE
        ):
            raise ValueError("expires_at must lie in the future")
        return self

    def end(self) -> datetime | None:
        """When the key ends; None for never."""
        if self.expires_in_days is not None:
            return datetime.now(UTC) + timedelta(days=self.expires_in_days)
        return self.expires_at


class Key(BaseModel):
    """A key as it is listed."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    name: str
    hint: str = Field(description="Its first characters, to tell keys apart.", examples=["vis_h3Qz1a"])
    workspace: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None


class NewKey(Key):
    """A key just made; `key` is shown this once."""

    key: str = Field(examples=["vis_" + "h3Qz1a" * 8 + "0"])


class KeyList(Page[Key]):
    """A page of keys, oldest first."""


class Access(BaseModel):
    """Who is calling, and what they may do."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "workspace": "default",
                    "scopes": ["learn", "recognise"],
                    "key_id": None,
                    "key_needed": False,
                }
            ]
        }
    )

    workspace: str
    scopes: list[Scope] = Field(description="By name; `admin` means all.")
    key_id: uuid.UUID | None = Field(description="The key that was used; null without one.")
    key_needed: bool = Field(description="Whether requests without a key are refused.")


class Storage(BaseModel):
    """What a workspace stores: examples, answers, pictures kept for review, datasets and trained models."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"workspace": "default", "used_bytes": 52_428_800, "max_bytes": 107_374_182_400}]
        }
    )

    workspace: str
    used_bytes: int
    max_bytes: int = Field(description="Beyond it nothing more is taken in (`VISION_MAX_WORKSPACE_MB`).")
