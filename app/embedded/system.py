"""What root prepares in /var/lib/llamafarm-vision: a user for the servers, copies of the programs, clusters."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.embedded.errors import AccountError, FolderError
from app.embedded.folders import Account, sync_folder, write_private

SYSTEM = Path("/var/lib/llamafarm-vision")
CLUSTERS = SYSTEM / "clusters"
USER = "llamafarm-vision"
OWNER_NOTE = "data-folder"
# Headers and static libraries serve only those who compile against PostgreSQL.
NEEDED = ("bin", "lib/postgresql", "share")
NOT_NEEDED = shutil.ignore_patterns("*.a", "pkgconfig", "pgxs", "__pycache__")


def account() -> Account:
    """The unprivileged system user, made with useradd if missing; raises AccountError."""
    with suppress(KeyError):
        return _lookup()
    with _lock():
        with suppress(KeyError):
            return _lookup()
        problem = _useradd()
        try:
            return _lookup()
        except KeyError:
            raise AccountError(
                f"PostgreSQL refuses to run as root and the user '{USER}' could not be made ({problem}): "
                "make it, start as an ordinary user, or set VISION_DATABASE_URL and VISION_REDIS_URL."
            ) from None


def programs(install: Path, valkey: Path) -> tuple[Path, Path]:
    """Copies that every user may run of PostgreSQL's folder `install` and the file `valkey`.

    Copied once for each content, to a name that holds its hash; complete or not there at all. The wheel's
    libraries keep their place relative to the programs, which look for them there.
    """
    package = install.parent
    libraries = package.with_name(f"{package.name}.libs")
    sources = [install / part for part in NEEDED] + [libraries, valkey]
    target = SYSTEM / f"pg-{_digest(sources)}"
    if not target.is_dir():
        with _lock():
            for leftover in SYSTEM.glob("pg.new-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            if not target.is_dir():
                fresh = Path(tempfile.mkdtemp(prefix="pg.new-", dir=SYSTEM))
                for source in sources:
                    _copy(
                        source,
                        fresh / source.relative_to(package.parent)
                        if source != valkey
                        else fresh / valkey.name,
                    )
                _open_to_all(fresh)
                os.sync()
                fresh.rename(target)
                sync_folder(SYSTEM)
    return target / package.name / install.name, target / valkey.name


def cluster_home(name: str, data_dir: Path) -> Path:
    """The folder that holds the cluster `name` of `data_dir`, made if missing; raises FolderError.

    A copied data folder would share its original's database, so the home remembers whose it is; a moved one
    takes its home along.
    """
    with _lock():
        _root_folder(CLUSTERS, 0o711)
        home = _root_folder(CLUSTERS / name, 0o711)
        note = home / OWNER_NOTE
        with suppress(FileNotFoundError):
            noted = Path(note.read_text(encoding="utf-8").rstrip("\n"))
            if noted == data_dir:
                return home
            if _same_cluster(noted, data_dir):
                raise FolderError(
                    f"{data_dir} is a copy of {noted}, whose database it would share: remove "
                    f"{data_dir}/embedded to start the copy with an empty database."
                )
        write_private(note, f"{data_dir}\n")
        return home


def _same_cluster(one: Path, other: Path) -> bool:
    """Whether two different data folders note the same cluster."""
    try:
        first, second = (folder / "embedded" / "cluster" for folder in (one, other))
        return not first.samefile(second) and first.read_text() == second.read_text()
    except OSError:
        return False


def _lookup() -> Account:
    entry = pwd.getpwnam(USER)
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _useradd() -> str:
    """Make the user; what went wrong, if anything did."""
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return "there is no useradd"
    options = ["--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    made = subprocess.run([program, *options, USER], capture_output=True, text=True, check=False, timeout=60)
    return made.stderr.strip()


def _digest(sources: list[Path]) -> str:
    """16 hex digits over the names and contents of all files."""
    digest = hashlib.sha256()
    for source in sources:
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file() and not NOT_NEEDED(str(path.parent), [path.name]):
                digest.update(f"{path.relative_to(source.parent)}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=NOT_NEEDED, symlinks=True)
    elif source.is_file():
        shutil.copyfile(source, target)
        shutil.copymode(source, target)


def _open_to_all(tree: Path) -> None:
    """Let everybody read and run a tree that we have just made, whatever the umask was."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


@contextmanager
def _lock() -> Iterator[None]:
    """One root process at a time changes what is below SYSTEM."""
    _root_folder(SYSTEM, 0o755)
    handle = os.open(SYSTEM / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _root_folder(path: Path, mode: int) -> Path:
    """`path` as root's own folder that nobody else can write but all can pass; raises FolderError."""
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        found = path.lstat()
        if (
            not stat.S_ISDIR(found.st_mode)
            or found.st_uid != 0
            or found.st_mode & 0o022
            or not found.st_mode & 0o001
        ):
            raise FolderError(
                f"{path} must be root's own folder, writable by nobody else, passable by all (mode {mode:o})."
            ) from None
    except OSError as error:
        raise FolderError(f"The folder {path} cannot be made: {error.strerror}.") from error
    else:
        path.chmod(mode)
    return path
