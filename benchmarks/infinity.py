"""Images a second against infinity, on the same CLIP in one run: `python -m benchmarks.infinity --venv FOLDER`.

infinity (github.com/michaelfeil/infinity) needs an older transformers than this project, so it gets an environment of
its own with the same torch. Both answer the same images as OpenAI's clients send them, one data: URI a request.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from app.embedded import purge
from benchmarks.checkpoints import random_clip
from benchmarks.driving import describe_lost, processes_cpu_seconds
from benchmarks.pictures import pictures
from tests.live import free_port, launch

PACKAGE = "infinity-emb[server,torch,vision,optimum]==0.0.78"
START_SECONDS = 300.0
CLIENTS = 32
OWN = {"this service, float32": {"VISION_OPTIMISATION": "basic"}, "this service, auto": {}}
"""Row -> settings; the factor over infinity that is to hold."""
TO_HOLD = {"this service, float32": 1.5, "this service, auto": 5.0}
THEIRS = "infinity, float32"
out = Console(highlight=False, width=110)


def make_environment(folder: Path) -> Path:
    """infinity in a virtual environment with this environment's torch; its Python. Kept for the next run."""
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip"]
        torch = version("torch").partition("+")[0]
        subprocess.run([*pip, "install", "--quiet", PACKAGE, f"torch=={torch}", "aiohttp"], check=True)
        # pip brings one built for CUDA, which does not import beside a torch without; images need none
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", "torchvision"], check=True)
        (folder / ".ready").touch()
    return python


def write_bodies(folder: Path, **extra: str) -> Path:
    """A JSON body an image, as OpenAI's clients send it."""
    folder.mkdir()
    for index, data in enumerate(pictures()):
        uri = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        (folder / f"{index:03}.json").write_text(json.dumps({"input": [uri], **extra}), encoding="utf-8")
    return folder


@contextmanager
def serving_infinity(python: Path, checkpoint: Path, log: Path) -> Iterator[tuple[str, int, int]]:
    """(path, port, process id) of a ready infinity with the checkpoint in float32."""
    port = free_port()
    command = [
        str(python.with_name("infinity_emb")),
        "v2",
        "--model-id",
        str(checkpoint),
        "--port",
        str(port),
    ]
    command += ["--host", "127.0.0.1", "--engine", "torch", "--device", "cpu", "--dtype", "float32"]
    command += ["--no-bettertransformer", "--served-model-name", "clip", "--log-level", "warning"]
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=os.environ | quiet, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"infinity did not start:\n{log.read_text()[-3000:]}")
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield "/embeddings", port, process.pid
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def serving_own(checkpoint: Path, data_dir: Path, settings: dict[str, str]) -> Iterator[tuple[str, int, int]]:
    """(path, port, process id) of this service with the checkpoint."""
    fixed = {
        "VISION_ENCODER": str(checkpoint),
        "VISION_EMBEDDING_CACHE": "false",
        "VISION_LOG_LEVEL": "warning",
    }
    live = launch(data_dir, **fixed, **settings)
    try:
        live.wait_until_ready(START_SECONDS)
        yield "/v1/embeddings", live.port, live.process.pid
    finally:
        live.stop()
        purge(data_dir)


def measure(path: str, port: int, pid: int, bodies: Path, seconds: float) -> tuple[float, float]:
    """(images a second, CPU ms an image of all processes)."""
    words = ["127.0.0.1", str(port), path, str(bodies), str(CLIENTS), str(seconds)]
    command = [sys.executable, "-m", "benchmarks.load", *words, "--content-type", "application/json"]
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    spent = processes_cpu_seconds(family)
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    spent = processes_cpu_seconds(family) - spent
    if unanswered := describe_lost(found):
        raise RuntimeError(f"{path}: {unanswered}")
    return found["rate"], 1e3 * spent / found["count"]


def same_vectors(servers: dict[str, tuple[str, int, int]], bodies: dict[str, Path]) -> dict[str, float]:
    """The least cosine of each server's vectors to infinity's, over a few images: they run the same model."""
    found: dict[str, list[list[float]]] = {}
    for name, (path, port, _) in servers.items():
        vectors = []
        for file in sorted(bodies[name].iterdir())[:8]:
            headers = {"Content-Type": "application/json"}
            reply = httpx.post(
                f"http://127.0.0.1:{port}{path}", content=file.read_bytes(), headers=headers, timeout=120
            )
            reply.raise_for_status()
            vectors.append(reply.json()["data"][0]["embedding"])
        found[name] = vectors

    def cosine(a: list[float], b: list[float]) -> float:
        return (
            sum(x * y for x, y in zip(a, b, strict=True))
            / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
        )

    return {name: min(map(cosine, vectors, found[THEIRS])) for name, vectors in found.items()}


def main() -> None:
    """Rounds in which all take turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--venv", type=Path, required=True, help="folder for infinity's environment, kept afterwards"
    )
    parser.add_argument("--seconds", type=float, default=6, help="length of a turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    args = parser.parse_args()
    python = make_environment(args.venv.resolve())
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        checkpoint = random_clip(folder / "clip-vit-b-32")
        own = write_bodies(folder / "own")
        bodies = {THEIRS: write_bodies(folder / "theirs", model="clip", modality="image")} | dict.fromkeys(
            OWN, own
        )
        servers = {THEIRS: stack.enter_context(serving_infinity(python, checkpoint, folder / "infinity.log"))}
        for number, (name, settings) in enumerate(OWN.items()):
            servers[name] = stack.enter_context(serving_own(checkpoint, folder / f"data-{number}", settings))
        cosines = same_vectors(servers, bodies)
        for name, server in servers.items():
            measure(*server, bodies[name], 2)  # warm
        turns: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
        for _ in range(args.rounds):
            for name, server in servers.items():
                turns[name].append(measure(*server, bodies[name], args.seconds))
        table = Table(
            "CLIP ViT-B/32, 32 clients", "images/s", "times", "CPU ms an image", "least cosine", "to hold"
        )
        for name, values in turns.items():
            ratio = median(mine[0] / theirs[0] for mine, theirs in zip(values, turns[THEIRS], strict=True))
            held = f">= {TO_HOLD[name]:g} x" if name in TO_HOLD else ""
            rate, cost = (median(column) for column in zip(*values, strict=True))
            table.add_row(name, f"{rate:.1f}", f"{ratio:.2f}", f"{cost:.1f}", f"{cosines[name]:.4f}", held)
        out.print(table)


if __name__ == "__main__":
    main()
