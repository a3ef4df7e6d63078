"""What happens to keys before the first request: refuse to serve unguarded, or make the first key."""

from __future__ import annotations

from pathlib import Path

import structlog
from sqlalchemy.exc import IntegrityError

from app.access import keys
from app.access.keys import write_private
from app.access.policy import check_bind, needs_key
from app.access.service import KeyRing
from app.settings import Settings
from app.storage.database import DEFAULT_WORKSPACE

log = structlog.get_logger("app.access")


async def admit(settings: Settings, ring: KeyRing) -> Path | None:
    """Make the default workspace and, where keys are needed and there is none, the first key, if the settings
    name a file for it.

    Returns the file that holds that key. Raises `BindRefusedError` when nobody could get in, `SecretError`
    when the file holds something else. A key that stands in the file already is taken over.
    """
    await ring.ensure_workspace(DEFAULT_WORKSPACE)
    if not needs_key(settings):
        return None
    has_keys = await ring.has_usable_key()
    check_bind(settings, has_keys)
    if has_keys or settings.access.bootstrap_key_file is None:
        return None
    path = settings.access.bootstrap_key_file.expanduser()
    # the file comes first: dying in between leaves a key that the next start takes over, never one nobody
    # knows
    write_private(path, f"{keys.new_key()}\n".encode())
    text = path.read_text().strip()
    if not keys.is_well_formed(text):
        raise keys.SecretError(f"{path} does not hold an API key; move it away to have one made.")
    try:
        await ring.create(name="bootstrap", workspace=DEFAULT_WORKSPACE, scopes=["admin"], text=text)
    except IntegrityError:
        log.info("another process made the first key", file=str(path))
    else:
        log.info("the first key is ready", file=str(path))
    return path
