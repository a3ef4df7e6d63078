"""The service over HTTP, as a client meets it: images a second, latency, use of processor and GPU, memory."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.embedded import purge
from benchmarks.checkpoints import random_clip
from benchmarks.driving import describe_lost, measure_serving, memory_mb, teach
from benchmarks.gpu.decoding import SIZES
from benchmarks.gpu.plan import Plan, Recorder
from benchmarks.gpu.watching import Watch
from benchmarks.pictures import write_pictures
from tests.live import Live, launch

CLIENTS = (1, 32, 256)
TINY_CLIENTS = (1, 8)
REPEATS = 3
"""Rounds of the heaviest load, after each of which memory is looked at."""
MAX_GROWTH = 1.05
"""How many times its memory after the first round a service may hold after the last."""
START_SECONDS = 100.0


@contextmanager
def service(plan: Plan, encoder: Path, data_dir: Path, **extra: str) -> Iterator[tuple[Live, float]]:
    """A ready service and the seconds until it was; limits wide enough for 256 clients."""
    settings = {
        "VISION_DEVICE": plan.device,
        "VISION_ENCODER": str(encoder),
        "VISION_EMBEDDING_CACHE": "false",
        "VISION_LOG_LEVEL": "warning",
        "VISION_MAX_UPLOADS": "1024",
        "VISION_MAX_QUEUE": "4096",
        "VISION_DEADLINE_S": "120",
        "VISION_ANNOUNCE": "false",
    }
    if plan.tiny:
        settings["VISION_FRONT_ENDS"] = "2"  # what a CPU would do without
    begun = time.perf_counter()
    live = launch(data_dir, **(settings | extra))
    try:
        wait_until_ready(live)
        yield live, time.perf_counter() - begun
    finally:
        if live.process.poll() is None:
            live.stop()


def wait_until_ready(live: Live) -> None:
    """Poll `/readyz`; raises with the log's warnings at the deadline, and at once where the model cannot be loaded."""
    deadline = time.monotonic() + START_SECONDS
    state = ""
    with live.client() as client:
        while (
            time.monotonic() < deadline and live.process.poll() is None and "could not be loaded" not in state
        ):
            try:
                reply = client.get("/readyz", timeout=5)
                if reply.is_success:
                    return
                state = reply.text
            except httpx.HTTPError as error:
                state = str(error)
            time.sleep(0.05)
    lines = live.log.read_text(encoding="utf-8", errors="replace").splitlines()
    told = [line[:2_000] for line in lines if "not_ready" not in line]
    raise RuntimeError("\n".join([f"the service was not ready: {state}", *told[-8:]]))


def load_at(
    plan: Plan,
    recorder: Recorder,
    live: Live,
    name: str,
    folder: Path,
    clients: int,
    least: float | None = None,
) -> float:
    """One load and its figures; images a second."""
    with Watch(live) as watch:
        found = measure_serving(live, folder, clients, plan.seconds)
    what = f"{name}, {clients} clients"
    if unanswered := describe_lost(found):
        recorder.failure(f"{what}: {unanswered}")
    cores, client_cores = (cpu_s / found["wall_s"] for cpu_s in (watch.cpu_s, found["cpu_s"]))
    note = f"{cores:.1f} cores, client {client_cores:.1f} ({found['generator']})"
    if watch.gpu_percent is not None:
        note += f", GPU {watch.gpu_percent:.0f}%"
    recorder.figure(what, found["rate"], "images/s", least=least, note=note)
    if clients == 1:
        # the bound is one of ViT-B/32 with pictures of 640 x 480
        most = 6 if name == "served 640x480" else None
        recorder.figure(f"{name}, a lone client's median", 1e3 * found["median_s"], "ms", most=most)
    return float(found["rate"])


def measure(plan: Plan, recorder: Recorder) -> None:
    """CLIP ViT-B/32, JPEGs decoded on the CPU, both sizes of picture."""
    name = "clip-vit-b-32"
    encoder = checkpoint(plan, name)
    data_dir = plan.scratch / "served"
    off = {"VISION_GPU_DECODE": "off"}
    try:
        with service(plan, encoder, data_dir, **off) as (_, first_s):
            recorder.figure("ready after, first start ever", first_s, "s")
        with service(plan, encoder, data_dir, **off) as (live, start_s):
            recorder.figure("ready after set-up", start_s, "s", most=8)
            teach(live)
            heaviest = 0.0
            for size in SIZES:
                folder = write_pictures(plan.scratch / f"{size[0]}x{size[1]}", size)
                measure_serving(live, folder, max(clients_of(plan)), plan.seconds)  # warm
                for clients in clients_of(plan):
                    least = {(640, 480): 4_000.0, (256, 256): 6_000.0}[size] if clients == 256 else None
                    rate = load_at(
                        plan, recorder, live, f"served {size[0]}x{size[1]}", folder, clients, least
                    )
                    if size == SIZES[0]:
                        heaviest = max(heaviest, rate)
            over_parts(plan, recorder, name, heaviest)
            memory_over_repeats(plan, recorder, live)
    finally:
        purge(data_dir)


def over_parts(plan: Plan, recorder: Recorder, name: str, rate: float) -> None:
    """Served images a second over the lesser of what the model and decoding alone can do."""
    forward = [plan.earlier[key] for key in plan.earlier if key.startswith(f"{name} forward alone")]
    decode = plan.earlier.get("decode alone, 640x480")
    if forward and decode:
        lesser = min(max(forward), decode)
        recorder.figure(
            "served 640x480 over the lesser of decode and forward alone", rate / lesser, least=0.4
        )
    else:
        recorder.skip("served over decode and forward alone: the sections that measure these did not")


def memory_over_repeats(plan: Plan, recorder: Recorder, live: Live) -> None:
    """Whether the same load again takes more memory."""
    folder = plan.scratch / "640x480"
    held = []
    for _ in range(REPEATS):
        measure_serving(live, folder, max(clients_of(plan)), plan.seconds / 2)
        held.append(memory_mb(live))
    note = ", ".join(f"{value:.0f}" for value in held) + " MB"
    recorder.figure(
        "memory after repeats over memory before them", held[-1] / held[0], most=MAX_GROWTH, note=note
    )


def measure_gpu_decoding(plan: Plan, recorder: Recorder) -> None:
    """The same at the heaviest load with JPEGs decoded on the GPU, where a library for it is installed."""
    libraries = [name for name in ("torchcodec", "torchvision") if importlib.util.find_spec(name)]
    if not plan.device.startswith("cuda") or not libraries:
        recorder.skip("decoding on the GPU: it takes CUDA and torchcodec or torchvision")
        return
    data_dir = plan.scratch / "gpu-decode"
    folder = write_pictures(plan.scratch / "640x480", (640, 480))
    try:
        with service(plan, checkpoint(plan, "clip-vit-b-32"), data_dir, VISION_GPU_DECODE="auto") as (
            live,
            _,
        ):
            teach(live)
            measure_serving(live, folder, max(clients_of(plan)), plan.seconds)  # warm
            for clients in clients_of(plan)[1:]:
                least = 8_000 if clients == 256 else None
                load_at(plan, recorder, live, "served 640x480, decoded on the GPU", folder, clients, least)
    finally:
        purge(data_dir)


def measure_large(plan: Plan, recorder: Recorder) -> None:
    """CLIP ViT-L/14, where the model and not what feeds it should be the limit."""
    name = "clip-vit-l-14"
    data_dir = plan.scratch / "served-large"
    folder = write_pictures(plan.scratch / "256x256", (256, 256))
    try:
        with service(plan, checkpoint(plan, name), data_dir) as (live, _):
            teach(live)
            measure_serving(live, folder, max(clients_of(plan)), plan.seconds)  # warm
            rate = load_at(plan, recorder, live, "ViT-L/14 served 256x256", folder, max(clients_of(plan)))
            forward = [plan.earlier[key] for key in plan.earlier if key.startswith(f"{name} forward alone")]
            if forward:
                recorder.figure("ViT-L/14 served over forward alone", rate / max(forward), least=0.9)
            else:
                recorder.skip("ViT-L/14 served over forward alone: the section `forward` did not measure it")
    finally:
        purge(data_dir)


def checkpoint(plan: Plan, name: str) -> Path:
    """The checkpoint that the section `forward` made, or made now where it did not run."""
    folder = plan.scratch / name
    if not (folder / "preprocessor_config.json").exists():
        random_clip(folder, "clip-small" if plan.tiny else name)
    return folder


def clients_of(plan: Plan) -> tuple[int, ...]:
    """How many clients load the service, one after the other."""
    return TINY_CLIENTS if plan.tiny else CLIENTS
