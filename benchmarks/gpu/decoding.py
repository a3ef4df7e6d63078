"""JPEG decoding alone, as a front end does it: by threads of one process, and by processes."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor

from app.media import images
from app.media.images import ImageLimits
from benchmarks.gpu.plan import Plan, Recorder
from benchmarks.pictures import pictures

SIZES = ((640, 480), (256, 256))


def decode(data: bytes) -> None:
    """What happens to one upload before its pixels leave for the model."""
    # the side of the inputs that ViT-B/32 takes: what is decoded at a reduced scale depends on it
    images.decode(data, ImageLimits(), input_size=224)


def thread_rate(files: list[bytes], threads: int, seconds: float) -> float:
    """Images a second of one process."""

    def work(first: int) -> int:
        done = 0
        while time.perf_counter() < end:
            decode(files[(first + done) % len(files)])
            done += 1
        return done

    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        end = begun + seconds
        done = sum(pool.map(work, range(threads)))
    return done / (time.perf_counter() - begun)


def _serve(files: list[bytes], seconds: float, ready: object, answers: object) -> None:
    ready.wait()  # type: ignore[attr-defined]
    answers.put(thread_rate(files, 1, seconds))  # type: ignore[attr-defined]


def process_rate(files: list[bytes], processes: int, seconds: float) -> float:
    """Images a second of so many processes, one thread each."""
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=_serve, args=(files, seconds, ready, answers)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    rates = [answers.get(timeout=seconds + 60) for _ in workers]
    for worker in workers:
        worker.join()
    return float(sum(rates))


def measure(plan: Plan, recorder: Recorder) -> None:
    """One thread, all cores' threads, all cores' processes, for each size of picture."""
    cores = os.cpu_count() or 1
    for width, height in SIZES:
        files = pictures(24, (width, height))
        size = f"{width}x{height}"
        for threads in sorted({1, 4, cores} if cores >= 4 else {1, cores}):
            rate = thread_rate(files, threads, plan.seconds / 2)
            recorder.figure(f"decode alone, {size}, {threads} threads", rate, "images/s")
        rate = process_rate(files, cores, plan.seconds / 2)
        recorder.figure(f"decode alone, {size}", rate, "images/s", note=f"{cores} processes")
    recorder.figure("bytes of a 640x480 JPEG", _mean_bytes((640, 480)), "bytes")


def _mean_bytes(size: tuple[int, int]) -> float:
    files = pictures(24, size)
    return sum(map(len, files)) / len(files)
