"""What the processes of a job find in their environment, and what they are told in confidence instead."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.embedded import Addresses
from app.jobs.spec import JobSpec
from app.settings import Settings
from tests.integration.embedded.test_embedded import eventually, has_ended
from workers.shared.store import LeasedJob
from workers.worker import handover, launching

PASSWORD = "swordfish"
ADDRESSES = Addresses(
    f"postgresql://vision:{PASSWORD}@127.0.0.1:1/vision", f"redis://:{PASSWORD}@127.0.0.1:1/0"
)
SECRETS = {
    "VISION_API_KEY": f"key-{PASSWORD}",
    "VISION_SECRET": f"secret-{PASSWORD}-1234567890",
    "VISION_DATABASE_URL": ADDRESSES.database_url,
    "VISION_REDIS_URL": ADDRESSES.redis_url,
    "VISION_REMOTE_API_KEY": PASSWORD,
    "HF_TOKEN": f"hf_{PASSWORD}",
    "AWS_SECRET_ACCESS_KEY": PASSWORD,
    "OPENAI_API_KEY": PASSWORD,
    "PGPASSWORD": PASSWORD,
    "HTTPS_PROXY": f"http://me:{PASSWORD}@proxy.example:3128",
    "SOMETHING_ELSE": PASSWORD,
}


def claim_job(kind: str = "train", **params: int) -> LeasedJob:
    """A job whose process would do nothing much."""
    spec = JobSpec.model_validate({"kind": kind, "task": "classification", "params": params})
    return LeasedJob(uuid.uuid4(), 1, 1, 1, "default", spec, None)


@contextlib.contextmanager
def start_attempt(job: LeasedJob, settings: Settings, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process of an attempt at the job, which waits for its task until the end of the block, as its ranks do."""
    folder.mkdir()
    task = folder / "task.json"
    os.mkfifo(task)
    child, output = launching.start(job, settings, ADDRESSES, task)
    below: list[int] = []
    try:
        yield child
        below = [process.pid for process in psutil.Process(child.pid).children(recursive=True)]
    finally:
        launching.kill(child)
        output.close()
        # ranks, which have sessions of their own, find an empty task, or none where they come to it only now
        writer = os.open(task, os.O_RDWR | os.O_NONBLOCK)
        task.unlink()
        os.close(writer)
        eventually(lambda: all(has_ended(pid) for pid in below))


def environments(child: subprocess.Popen[bytes], ranks: int) -> list[dict[str, str]]:
    """Those of the process and of that many below it, once they are there."""
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline, "its ranks never came up"
        found = []
        with contextlib.suppress(psutil.Error):
            me = psutil.Process(child.pid)
            for process in (me, *me.children(recursive=True)):
                if "workers.worker.trainer" in process.cmdline():
                    found.append(process.environ())
            if len(found) > ranks and all(found):
                return found
        time.sleep(0.01)


@pytest.mark.parametrize("ranks", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_no_process_of_a_job_has_a_secret_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: int
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings = Settings(data_dir=tmp_path / "data", threads=3)
    job = claim_job(**({"processes": ranks} if ranks else {}))
    with start_attempt(job, settings, tmp_path / "attempt") as child:
        for environment in environments(child, ranks):
            told = {name for name, value in environment.items() if PASSWORD in value}
            assert not told
            assert environment["VISION_THREADS"] == "3"
            assert environment["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
            assert environment["PATH"] == os.environ["PATH"]
    file = tmp_path / "attempt" / handover.FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["settings"]["database_url"] == ADDRESSES.database_url


def test_only_what_the_job_needs_is_confided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def confided(kind: str, **settings: object) -> set[str]:
        used = Settings(data_dir=tmp_path, **settings)
        handover.confide(tmp_path, claim_job(kind).spec, used, ADDRESSES.database_url, SECRETS)
        return set(json.loads((tmp_path / handover.FILE).read_text())["environment"])

    assert confided("train") == {"HF_TOKEN", "HTTPS_PROXY"}
    assert confided("train", allow_downloads=False) == set()
    assert confided("prepare") == set(), "it opens what clients sent"
    assert confided("prepare", blob_url="memory://images") == {"AWS_SECRET_ACCESS_KEY"}
    monkeypatch.delenv("VISION_DATABASE_URL", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    taken = handover.take(tmp_path)
    assert (taken.server.database_url, taken.server.blob_url) == (ADDRESSES.database_url, "memory://images")
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == PASSWORD
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def test_further_variables_are_named_in_the_settings(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, job_environment="SOMETHING_*, OTHER")
    assert handover.public_environment(settings, SECRETS | {"OTHER": "1"}).keys() >= {
        "SOMETHING_ELSE",
        "OTHER",
    }
    assert not handover.public_environment(settings, {"FURTHER": "1"}).keys() & {"FURTHER"}
