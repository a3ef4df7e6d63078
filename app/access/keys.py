"""What a key looks like and how it is remembered: random text with a checksum, kept only as a keyed digest."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import zlib
from pathlib import Path

from app.settings import Settings

PREFIX = "vis_"
HINT_CHARS = len(PREFIX) + 6

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_CHARS = 43  # 62^43 > 2^256
_CHECK_CHARS = 6  # 62^6 > 2^32
KEY_CHARS = len(PREFIX) + _RANDOM_CHARS + _CHECK_CHARS

_SECRET_FILE = "secret"  # noqa: S105 - a file's name
_SECRET_BYTES = 32
_MIN_SECRET_BYTES = 16


class SecretError(Exception):
    """The secret that API keys are hashed with cannot be used."""


def new_key() -> str:
    """A fresh key: `vis_`, 43 base62 digits of 256 random bits, 6 digits of their CRC-32."""
    body = _base62(int.from_bytes(secrets.token_bytes(32), "big"), _RANDOM_CHARS)
    return PREFIX + body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether `key` has the shape and checksum of a key; a typo is recognised without a query."""
    if len(key) != KEY_CHARS or not key.startswith(PREFIX) or not key.isascii() or not key[4:].isalnum():
        return False
    body = key[len(PREFIX) : -_CHECK_CHARS]
    return hmac.compare_digest(_checksum(body), key[-_CHECK_CHARS:])


def digest(secret: bytes, key: str) -> bytes:
    """HMAC-SHA256 of the whole key: without the secret, a stolen table cannot even be checked against
    guesses.
    """
    return hmac.digest(secret, key.encode(), hashlib.sha256)


def load_secret(settings: Settings) -> bytes:
    """`VISION_SECRET`, or the data folder's own secret, made on first use and readable by its owner only.

    Raises `SecretError` when a given secret is too short or the file was tampered with.
    """
    if settings.access.secret is not None:
        given = settings.access.secret.get_secret_value().encode()
        if len(given) < _MIN_SECRET_BYTES:
            raise SecretError(f"VISION_SECRET is shorter than {_MIN_SECRET_BYTES} characters.")
        return given
    path = settings.server.data_dir.expanduser() / _SECRET_FILE
    if not path.exists():
        write_private(path, secrets.token_bytes(_SECRET_BYTES))
    secret = path.read_bytes()
    if len(secret) < _MIN_SECRET_BYTES:
        raise SecretError(
            f"The file {path} does not hold a secret; remove it to make a new one (all keys end)."
        )
    return secret


def write_private(path: Path, data: bytes) -> bool:
    """Write `data` to a new file that only its owner reads, all or nothing; False when the file exists
    already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # fails where two processes start at once: the first one wins
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_CHARS)


def _base62(number: int, chars: int) -> str:
    digits = []
    for _ in range(chars):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
