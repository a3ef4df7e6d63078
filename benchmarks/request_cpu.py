"""What a request costs before and after a change, in one run: `python -m benchmarks.request_cpu --before CHECKOUT`.

Two services, one of each checkout, take turns of a few seconds; CPU time is that of all their processes. Neighbours on
the machine disturb the ratio of such turns little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from app.embedded import purge
from benchmarks.checkpoints import random_clip
from benchmarks.driving import cpu_seconds, describe_lost, measure_serving, teach
from benchmarks.pictures import write_pictures
from tests.live import Live, environment, free_port

ROOT = Path(__file__).resolve().parents[1]
ENCODERS = ("clip-tiny", "preprocessing", "lite")
STARTS = 3
_BARE = """
import json, sys, time
from pathlib import Path
from app.settings import Settings
from benchmarks.bare import BareLoop
images = [file.read_bytes() for file in sorted(Path(sys.argv[2]).iterdir())]
bare = BareLoop(Settings(data_dir=Path(sys.argv[1])), images)
spent = time.process_time()
rate = bare.rate(float(sys.argv[3]))
spent = time.process_time() - spent
print(json.dumps([rate, 1e3 * spent / (rate * float(sys.argv[3])), bare.single_s(float(sys.argv[3]) / 2)]))
"""
out = Console(highlight=False, width=120)


@dataclass(frozen=True)
class Checkout:
    """One state of the code and the interpreter that runs it."""

    name: str
    folder: Path
    python: str

    @property
    def environment(self) -> dict[str, str]:
        """What lets its interpreter find its code before any other."""
        return {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}

    @contextmanager
    def serving(self, data_dir: Path, encoder: str) -> Iterator[Live]:
        """A ready service of this code."""
        data_dir.mkdir(parents=True, exist_ok=True)
        port = free_port()
        log = data_dir.parent / f"{data_dir.name}.{port}.log"
        settings = {
            "VISION_ENCODER": encoder,
            "VISION_EMBEDDING_CACHE": "false",
            "VISION_LOG_LEVEL": "warning",
        }
        with log.open("ab") as sink:
            process = subprocess.Popen(
                [self.python, "-m", "app.cli", "serve", "--port", str(port), "--data-dir", str(data_dir)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=self.folder,
                env=environment(**settings, **self.environment),
                start_new_session=True,
            )
        live = Live(data_dir, log, port, process)
        try:
            live.wait_until_ready(180)
            yield live
        finally:
            if process.poll() is None:
                live.stop()

    def bare(self, data_dir: Path, folder: Path, seconds: float) -> tuple[float, float, float]:
        """(images a second, CPU ms an image, seconds of a single image) of its own bare loop on its own decoding."""
        command = [self.python, "-c", _BARE, str(data_dir), str(folder), str(seconds)]
        env = os.environ | self.environment
        done = subprocess.run(
            command, cwd=self.folder, env=env, check=True, stdout=subprocess.PIPE, text=True
        )
        rate, image_ms, single_s = json.loads(done.stdout.splitlines()[-1])
        return float(rate), float(image_ms), float(single_s)


def request_ms(live: Live, folder: Path, clients: int, seconds: float) -> tuple[float, dict[str, float]]:
    """(CPU ms a request of all processes, what the load generator measured)."""
    spent = cpu_seconds(live)
    found = measure_serving(live, folder, clients, seconds)
    spent = cpu_seconds(live) - spent
    if unanswered := describe_lost(found):
        raise RuntimeError(f"at {clients} clients: {unanswered}")
    return 1e3 * spent / found["count"], found


class Comparison:
    """Both checkouts, their data folders and the table of what was found."""

    def __init__(self, checkouts: list[Checkout], scratch: Path, seconds: float, rounds: int) -> None:
        self.checkouts, self.scratch = checkouts, scratch
        self.seconds, self.rounds = seconds, rounds
        self.folder = write_pictures(scratch / "pictures", (640, 480))
        names = [checkout.name for checkout in checkouts]
        self.table = Table("what", *names, "ratio", "to hold", title="before and after, medians", box=None)

    def row(self, what: str, values: list[list[float]], unit: str, held: str = "", digits: int = 2) -> None:
        """Medians of each checkout's turns, and the median of the turns' ratios."""
        cells = [f"{median(turns):.{digits}f} {unit}" for turns in values]
        ratio = median(after / before for before, after in zip(*values, strict=True))
        self.table.add_row(what, *cells, f"{ratio:.2f}", held)

    def data_dir(self, checkout: Checkout) -> Path:
        """Its own databases, which no other code has seen."""
        return self.scratch / checkout.name

    def costs(self, what: str, encoder: str, held: str) -> None:
        """CPU ms of one classify, a lone client and eight."""
        with ExitStack() as stack:
            lives = []
            for checkout in self.checkouts:
                live = stack.enter_context(checkout.serving(self.data_dir(checkout), encoder))
                rebind(live)
                measure_serving(live, self.folder, 8, 2)  # warm
                lives.append(live)
            for clients, bound in ((1, held), (8, "")):
                turns: list[list[float]] = [[] for _ in lives]
                for _ in range(self.rounds):
                    for live, values in zip(lives, turns, strict=True):
                        values.append(request_ms(live, self.folder, clients, self.seconds)[0])
                self.row(f"CPU of a classify, {what}, {clients} clients", turns, "ms", bound)

    def over_bare(self) -> None:
        """`lite`: served at 32 clients over the bare loop, and a lone client's median over a bare image."""
        ratios: list[list[float]] = [[] for _ in self.checkouts]
        of_cpu: list[list[float]] = [[] for _ in self.checkouts]
        over: list[list[float]] = [[] for _ in self.checkouts]
        with ExitStack() as stack:
            lives = []
            for checkout in self.checkouts:
                live = stack.enter_context(checkout.serving(self.data_dir(checkout), "lite"))
                rebind(live)
                measure_serving(live, self.folder, 32, 2)  # warm
                lives.append(live)
            for _ in range(self.rounds):
                for place, (checkout, live) in enumerate(zip(self.checkouts, lives, strict=True)):
                    rate, image_ms, single_s = checkout.bare(
                        self.data_dir(checkout), self.folder, self.seconds
                    )
                    served_ms, found = request_ms(live, self.folder, 32, self.seconds)
                    ratios[place].append(found["rate"] / rate)
                    of_cpu[place].append(image_ms / served_ms)
                    lone = request_ms(live, self.folder, 1, self.seconds)[1]["median_s"]
                    over[place].append(1e3 * (lone - single_s))
        self.row("served over the bare loop, lite, 32 clients", ratios, "", ">= 0.97")
        self.row("the same by CPU time an image, which neighbours disturb less", of_cpu, "", ">= 0.97")
        cells = [f"{median(values):+.1f} ms" for values in over]
        self.table.add_row("a lone client over a bare image, lite", *cells, "", "<= +2 ms")

    def starts(self) -> None:
        """Seconds until ready, of a data folder that is set up."""
        turns: list[list[float]] = [[] for _ in self.checkouts]
        for _ in range(STARTS):
            for checkout, values in zip(self.checkouts, turns, strict=True):
                begun = time.perf_counter()
                with checkout.serving(self.data_dir(checkout), "lite"):
                    values.append(time.perf_counter() - begun)
        self.row("ready after set-up", turns, "s", "<= 5 s", digits=1)


def rebind(live: Live) -> None:
    """A taught default collection of the encoder that is served now."""
    with live.client() as client:
        client.delete("/v1/collections/default")
    teach(live)


def main() -> None:
    """The CPU table of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--before", type=Path, required=True, help="a checkout of the code before, as by git worktree"
    )
    parser.add_argument("--before-python", help="its interpreter; CHECKOUT/.venv/bin/python, else this one")
    parser.add_argument("--seconds", type=float, default=4, help="length of a turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--only", nargs="+", choices=(*ENCODERS, "start"), help="parts to measure")
    args = parser.parse_args()
    before = args.before.resolve()
    own = before / ".venv" / "bin" / "python"
    python = args.before_python or (str(own) if own.exists() else sys.executable)
    checkouts = [Checkout("before", before, python), Checkout("after", ROOT, sys.executable)]
    wanted = args.only or (*ENCODERS, "start")
    with tempfile.TemporaryDirectory() as scratch:
        compared = Comparison(checkouts, Path(scratch), args.seconds, args.rounds)
        try:
            if "clip-tiny" in wanted:
                compared.costs("clip-tiny (64 px)", "clip-tiny", "<= 0.45 x before")
            if "preprocessing" in wanted:
                folder = random_clip(Path(scratch) / "clip-preprocessing", "clip-preprocessing")
                compared.costs("ViT-B/32's preprocessing, hardly a tower", str(folder), "<= 0.45 x before")
            if "lite" in wanted:
                compared.over_bare()
            if "start" in wanted:
                compared.starts()
        finally:
            for checkout in checkouts:
                purge(compared.data_dir(checkout))
            out.print(compared.table)


if __name__ == "__main__":
    main()
