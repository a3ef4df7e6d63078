"""What a process that answers requests loads: nothing of a deep learning library before it opens a model itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.embedded import Addresses

ROOT = Path(__file__).resolve().parents[3]
HEAVY = (
    "torch",
    "transformers",
    "peft",
    "onnx",
    "onnxruntime",
    "sklearn",
    "scipy",
    "celery",
    "jinja2",
    "alembic",
)
OPENED = """
import asyncio, pathlib, sys, time
import httpx
import app.runtime.serve
from app.operations import part
from app.embedded import Addresses
from app.main import create_app
from app.settings import Settings

async def load_nothing(engine): ...

part.load_default = load_nothing

async def main(folder, database_url, redis_url):
    app = create_app(Settings(data_dir=pathlib.Path(folder), log_level="error"), Addresses(database_url, redis_url))
    app.openapi()
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            deadline = time.monotonic() + 60
            while (ready := await client.get("readyz")).status_code != 200:
                # each check has two seconds, which a busy machine may not keep
                assert time.monotonic() < deadline, ready.text
                await asyncio.sleep(0.1)
            for path in ("metrics", "v1/models", "v1/strategies", "v1/hardware", "v1/jobs", "v1/collections"):
                assert (await client.get(path)).status_code == 200, path
            image = {"image": b"no image"}
            refused = await client.post("/v1/classify", data={"labels": "a,b", "model": "unknown-model"}, files=image)
            assert refused.status_code == 404, refused.text

asyncio.run(main(*sys.argv[1:4]))
print(*(name for name in sys.argv[4:] if name in sys.modules))
"""


def test_every_service_opens_and_answers_without_a_deep_learning_library(
    addresses: Addresses, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", OPENED, str(tmp_path), addresses.database_url, addresses.redis_url, *HEAVY]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


JOBS = "workers.worker.trainer", "workers.training.job", "workers.evaluation.job", "workers.exporting.job"


@pytest.mark.slow
@pytest.mark.parametrize("more", ["workers.methods.head.method", "workers.exporting.encoder_export"])
def test_a_job_about_an_encoder_imports_no_library_of_vision_language_models_or_of_the_web(more: str) -> None:
    """They take seconds, and every job starts a process."""
    heavy = ("transformers", "peft", "sklearn", "scipy.stats", "fastapi")
    code = (
        f"import sys, {', '.join((*JOBS, more))}\nprint(*(name for name in {heavy} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
