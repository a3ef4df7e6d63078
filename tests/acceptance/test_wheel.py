"""The wheel carries all that the service needs, and works away from the source tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.live import environment

ROOT = Path(__file__).resolve().parents[2]


def list_tracked_files() -> list[str]:
    """Files of the packages, as git knows them."""
    packages = ["app", "migrations", "strategies", "workers"]
    listed = subprocess.run(
        ["git", "ls-files", *packages], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The service's wheel and its client's, built from copies so that nothing is left in the source tree."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    client = subprocess.run(
        ["git", "ls-files", "client"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in [*list_tracked_files(), *client, "pyproject.toml", "README.md"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*pip, str(source), str(source / "client")], check=True, capture_output=True)
    return {wheel.name.partition("-")[0]: wheel for wheel in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def wheel(wheels: dict[str, Path]) -> Path:
    """The service's wheel."""
    return wheels["llamafarm_vision"]


@pytest.mark.slow
def test_every_tracked_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert set(list_tracked_files()) <= packed, sorted(set(list_tracked_files()) - packed)


@pytest.mark.slow
def test_it_migrates_a_database_from_the_wheels_alone(wheels: dict[str, Path], tmp_path: Path) -> None:
    unpacked = tmp_path / "site"
    for wheel in wheels.values():
        zipfile.ZipFile(wheel).extractall(unpacked)
    where = (
        "import app, llamafarm_vision as client, migrations\n"
        "print(app.__file__, client.__file__, migrations.__file__)\n"
        "from app.strategies import Strategies; from app.settings import Settings\n"
        "Strategies.load(Settings()).get('lite_oneshot')\n"
        "from app.page.routes import get_page; from starlette.requests import Request\n"
        "assert b'page/app-' in get_page(Request({'type': 'http', 'headers': []})).body"
    )
    for words in [["-c", where], ["-m", "app.cli", "migrate", "--data-dir", str(tmp_path / "data")]]:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(unpacked)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if words[0] == "-c":
            assert done.stdout.count(str(unpacked)) == 3
        else:
            assert "applied" in done.stderr
