"""`make bench`: what the running service costs over doing without it, in one run on one machine.

Prints a table. Knows the service from outside, by command and HTTP, and the bare loop it is compared with.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from app.embedded import purge
from app.settings import Settings
from benchmarks.bare import BareLoop
from benchmarks.driving import describe_lost, measure_serving, memory_mb, teach
from benchmarks.pictures import pictures, write_pictures
from benchmarks.stages import stage_costs, stage_table
from benchmarks.stored import classify_against_stored, head_fit_s
from tests.live import Live, launch

CLIENTS = (1, 8, 32)
out = Console(highlight=False)


@contextmanager
def start(data_dir: Path, **extra: str) -> Iterator[tuple[Live, float]]:
    """A service without an embedding cache, and the seconds until it was ready."""
    begun = time.perf_counter()
    live = launch(data_dir, VISION_EMBEDDING_CACHE="false", VISION_LOG_LEVEL="warning", **extra)
    try:
        live.wait_until_ready()
        yield live, time.perf_counter() - begun
    finally:
        live.stop()


def throughput(live: Live, bare: BareLoop, folder: Path, seconds: float, rounds: int, table: Table) -> None:
    """Rounds of bare and served side by side, so that whatever else the machine does meets both."""
    bare_rates, singles = [], []
    rates: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    lone: list[float] = []
    generator: list[float] = []
    measure_serving(live, folder, 32, 2)  # warm
    for _ in range(rounds):
        bare_rates.append(bare.rate(seconds))
        singles.append(bare.single_s(seconds / 2))
        for clients in CLIENTS:
            result = measure_serving(live, folder, clients, seconds)
            if unanswered := describe_lost(result):
                raise RuntimeError(f"at {clients} clients: {unanswered}")
            rates[clients].append(result["rate"])
            generator.append(result["cpu_s"] / result["wall_s"])
            if clients == 1:
                lone.append(result["median_s"])
    table.add_row("bare loop, largest batch", f"{median(bare_rates):.1f} images/s", "")
    table.add_row("bare single image", f"{median(singles) * 1000:.1f} ms", "")
    for clients in CLIENTS:
        ratio = median(rate / bare_rate for rate, bare_rate in zip(rates[clients], bare_rates, strict=True))
        held = ">= 0.97 of bare" if clients == 32 else ""
        table.add_row(
            f"served, {clients} clients", f"{median(rates[clients]):.1f} images/s = {ratio:.2f} of bare", held
        )
    over = median(served - single for served, single in zip(lone, singles, strict=True))
    table.add_row(
        "a lone client, median",
        f"{median(lone) * 1000:.1f} ms = bare + {over * 1000:.1f} ms",
        "<= bare + 2 ms",
    )
    table.add_row("the load generator's own CPU", f"{max(generator):.2f} cores at most", "")


def main() -> None:
    """Everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="times each is repeated; medians are printed")
    parser.add_argument("--stored", type=int, default=100_000, help="examples of the large collection")
    args = parser.parse_args()

    table = Table("what", "measured", "to hold", title="llamafarm-vision, default encoder", box=None)
    images = pictures()
    with tempfile.TemporaryDirectory() as scratch:
        data_dir, folder = Path(scratch) / "data", Path(scratch) / "images"
        write_pictures(folder, (640, 480))
        try:
            with start(data_dir) as (_, first_s):
                table.add_row("ready after, first start ever", f"{first_s:.1f} s", "<= 15 s")
            with start(data_dir) as (live, start_s):
                table.add_row("ready after, later starts", f"{start_s:.1f} s", "<= 5 s")
                time.sleep(2)
                table.add_row("memory, idle, with databases", f"{memory_mb(live):.0f} MB", "<= 1500 MB")
                teach(live)
                bare = BareLoop(Settings(data_dir=data_dir), images)
                table.add_row("runtime", bare.encoder.runtime, "")
                throughput(live, bare, folder, args.seconds, args.rounds, table)
                table.add_row("memory, after that load", f"{memory_mb(live):.0f} MB", "")
                few, many, loaded_s = classify_against_stored(live, images, args.stored)
                table.add_row("classify, 10 stored examples", f"{few * 1000:.1f} ms", "")
                table.add_row(
                    f"classify, {args.stored:,} of 100 labels",
                    f"{many * 1000:.1f} ms = {many / few:.2f} x",
                    "<= 1.2 x",
                )
                table.add_row(f"first look at {args.stored:,}", f"{loaded_s:.1f} s", "")
            with start(data_dir, VISION_THREADS="1", VISION_STAGE_CPU="true") as (live, _):
                measure_serving(live, folder, 8, 2)  # warm
                costs = {clients: stage_costs(live, folder, clients, args.seconds) for clients in (1, 32)}
            table.add_row(
                "head of 100 labels x 10 shots", f"{head_fit_s(bare.encoder) * 1000:.0f} ms", "<= 1000 ms"
            )
        finally:
            purge(data_dir)
    out.print(table)
    out.print(stage_table(costs))


if __name__ == "__main__":
    main()
