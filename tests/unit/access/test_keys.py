"""Keys as text, the secret behind them, and who is let in without one."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from app.access import keys, policy
from app.access.errors import ForeignOriginError
from app.access.scopes import allows
from app.settings import Settings


def test_keys_are_long_random_and_carry_their_checksum() -> None:
    made = {keys.new_key() for _ in range(200)}
    assert len(made) == 200
    for key in made:
        assert key.startswith("vis_")
        assert len(key) == keys.KEY_CHARS
        assert keys.is_well_formed(key)


def test_a_typo_anywhere_is_noticed_without_asking_the_database() -> None:
    key = keys.new_key()
    for at in range(len(key)):
        other = "x" if key[at] != "x" else "y"
        assert not keys.is_well_formed(key[:at] + other + key[at + 1 :])
    for broken in [
        "",
        "vis_",
        key[:-1],
        key + "a",
        key.upper(),
        f" {key}",
        key[:-1] + "é",
        "vis_" + "\0" * 49,
    ]:
        assert not keys.is_well_formed(broken)


def test_a_digest_needs_the_secret() -> None:
    key = keys.new_key()
    assert len(keys.digest(b"s" * 32, key)) == 32
    assert keys.digest(b"s" * 32, key) == keys.digest(b"s" * 32, key)
    assert keys.digest(b"s" * 32, key) != keys.digest(b"t" * 32, key)


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    secret = keys.load_secret(settings)
    assert len(secret) == 32
    assert keys.load_secret(settings) == secret
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def _load(folder: Path) -> bytes:
    return keys.load_secret(Settings(data_dir=folder))


def test_processes_that_start_together_agree_on_the_secret(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert len(set(pool.map(_load, [tmp_path] * 8, chunksize=1))) == 1


def test_a_given_secret_wins_and_must_not_be_short(tmp_path: Path) -> None:
    assert keys.load_secret(Settings(data_dir=tmp_path, secret="x" * 16)) == b"x" * 16
    assert not (tmp_path / "secret").exists()
    with pytest.raises(keys.SecretError):
        keys.load_secret(Settings(data_dir=tmp_path, secret="short"))
    (tmp_path / "secret").write_bytes(b"")
    with pytest.raises(keys.SecretError):
        keys.load_secret(Settings(data_dir=tmp_path))
    assert "x" * 16 not in repr(Settings(data_dir=tmp_path, secret="x" * 16))


def test_admin_may_everything_and_others_what_they_hold() -> None:
    assert allows({"admin"}, "train")
    assert allows({"learn"}, "learn")
    assert not allows({"learn"}, "recognise")
    assert not allows({"learn", "train", "recognise"}, "admin")
    assert not allows([], "recognise")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LocalHost"])
def test_loopback_needs_no_key(host: str) -> None:
    settings = Settings(host=host)
    assert not policy.needs_key(settings)
    policy.check_bind(settings, has_keys=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.4", "example.org", "127.0.0.1.example.org"])
def test_listening_beyond_this_machine_without_keys_is_refused(host: str, tmp_path: Path) -> None:
    with pytest.raises(policy.BindRefusedError, match="--no-auth"):
        policy.check_bind(Settings(host=host), has_keys=False)
    policy.check_bind(Settings(host=host), has_keys=True)
    policy.check_bind(Settings(host=host, no_auth=True), has_keys=False)
    policy.check_bind(Settings(host=host, bootstrap_key_file=tmp_path / "key"), has_keys=False)
    assert policy.needs_key(Settings(host=host))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8000", None),
        ("localhost", None),
        ("[::1]:8000", None),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost:8000", "http://localhost:3000"),
        ("vision.lan:8000", "https://vision.lan"),
    ],
)
def test_this_machines_own_names_are_let_in(host: str, origin: str | None) -> None:
    policy.check_local(Settings(allowed_hosts=" vision.lan, other"), host, origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (None, None),
        ("", None),
        ("evil.example", None),
        ("127.0.0.1.evil.example:8000", None),
        ("evil.example:8000@127.0.0.1:8000", "http://evil.example"),
        ("0.0.0.0:8000", None),
        ("127.0.0.1:8000", "http://evil.example"),
        ("127.0.0.1:8000", "null"),
        ("127.0.0.1:8000", ""),
        ("127.0.0.1:8000", "http://[::bad"),
        ("[::bad", None),
        ("localhost.evil.example", "http://localhost"),
    ],
)
def test_foreign_pages_are_not(host: str | None, origin: str | None) -> None:
    with pytest.raises(ForeignOriginError):
        policy.check_local(Settings(), host, origin)


def test_serving_everybody_still_keeps_other_sites_pages_out() -> None:
    settings = Settings(host="0.0.0.0", no_auth=True)
    policy.check_local(settings, "vision.example:80", None)
    policy.check_local(settings, "vision.example", "http://vision.example")
    with pytest.raises(ForeignOriginError):
        policy.check_local(settings, "vision.example", "http://evil.example")
