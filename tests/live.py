"""A real `vision` command and a real service as processes, the way a user meets them.

Knows flags, ports and signals; imports nothing of the service.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.commands import run_forked
from tests.forks import wait_for_forks
from tests.made_engines import share_engines

# Services started from a run under nohup, or from one that a shell put in the background, would ignore these too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

VISION = os.environ.get("TEST_VISION") or str(Path(sys.executable).parent / "vision")
"""The command; tests of a copy of the project name that of the copy."""
_FORKING = Path(__file__).parent / "forking"
START_S = 180.0
STOP_S = 60.0
_SLICE = 1_000
"""So many ports each of the run's processes takes from, below those that systems give to outgoing connections."""
_first = 20_000 + _SLICE * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 12)
_turn = itertools.count(random.SystemRandom().randrange(_SLICE))


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without any setting of the service, plus `extra`.

    No worker runs beside a service unless `VISION_WORKER="true"` asks for it, and none compares what it trained with
    the closed-form head, which takes seconds each time, unless `VISION_COMPARE_IMAGES` asks for it. Nothing is computed
    in int8, which is the fastest engine on some machines and now and then on others. `TEST_FRONT_ENDS=2`
    runs every test over a split service that does not say itself how it is split.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VISION_")}
    return (
        clean
        | {"VISION_DEVICE": os.environ.get("VISION_DEVICE", "cpu")}
        | {"NO_COLOR": "1", "COLUMNS": "160", "VISION_WORKER": "false", "VISION_COMPARE_IMAGES": "0"}
        | {"VISION_INT8": "false"}
        | {"VISION_FRONT_ENDS": os.environ.get("TEST_FRONT_ENDS", "auto")}
        | extra
    )


def run(
    *words: str | Path, timeout: float = 240, cwd: Path | None = None, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run `vision WORDS` to its end, in the folder `cwd`."""
    command, env = [VISION, *map(str, words)], environment(**extra)
    if not {"TEST_VISION", "PYTHONPATH"} & env.keys():  # which say where modules come from
        return run_forked(command[1:], env, cwd, timeout)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, cwd=cwd, env=env, check=False
    )


def free_port() -> int:
    """A loopback port that nothing listens on, and that no other process of the run is told of.

    One that the system picks might be given to somebody's outgoing connection before the service listens there.
    """
    for number in itertools.islice(_turn, _SLICE):
        port = _first + number % _SLICE
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port
    raise RuntimeError(f"no port is free between {_first} and {_first + _SLICE}")


@dataclass
class Live:
    """One `vision serve` process."""

    data_dir: Path
    log: Path
    port: int
    process: subprocess.Popen[bytes]
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self, deadline_s: float = START_S) -> None:
        """Poll /readyz; raises with the log when the process ends or the deadline passes."""
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"vision serve ended with {self.process.returncode}:\n{self.log.read_text()}"
                )
            try:
                if httpx.get(f"{self.url}/readyz", timeout=20).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"vision serve was not ready in {deadline_s} s:\n{self.log.read_text()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code; raises when the process outlives the deadline."""
        self.process.send_signal(how)
        return self.process.wait(STOP_S)

    def end(self) -> None:
        """Wait for a service that was told to stop; kill it past the deadline."""
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def forget_everything(self) -> None:
        """Empty the default collection."""
        with self.client() as client:
            for taught in ("examples", "answers"):
                path = f"/v1/collections/default/{taught}"
                while examples := client.get(path).raise_for_status().json()["data"]:
                    for example in examples:
                        client.delete(f"{path}/{example['id']}").raise_for_status()

    def client(self, keep_s: float = 2) -> httpx.Client:
        """A client of this service with a deadline no healthy request misses.

        It keeps idle connections for less time than the service does: a request on one that is just being closed fails.
        """
        limits = httpx.Limits(keepalive_expiry=keep_s)
        return httpx.Client(base_url=self.url, timeout=120, limits=limits)

    def family(self) -> list[int]:
        """Process ids of the service and of everything it started, its embedded servers included."""
        me = psutil.Process(self.process.pid)
        return [me.pid, *(child.pid for child in me.children(recursive=True))]


def launch(data_dir: Path, *, port: int | None = None, **extra: str) -> Live:
    """Start `vision serve` and return at once; a new data folder takes the run's engines.

    Its jobs are forks of a process that has their libraries, but in tests/faults and where modules come from elsewhere.
    """
    share_engines(data_dir)
    env = environment(**extra)
    is_plain = not {"TEST_VISION", "PYTHONPATH"} & env.keys()
    if (
        is_plain
        and env["VISION_WORKER"] == "true"
        and "faults/" not in os.environ.get("PYTEST_CURRENT_TEST", "faults/")
    ):
        # not only started: a job that waits for it while its lease runs would be lost
        env |= {"TEST_FORKS": str(wait_for_forks("job", environment())), "PYTHONPATH": str(_FORKING)}
    port = port or free_port()
    log = data_dir.parent / f"{data_dir.name}.{port}.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [VISION, "serve", "--port", str(port), "--data-dir", str(data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=env,
            start_new_session=True,
        )
    return Live(data_dir, log, port, process, extra)


@contextmanager
def serving(data_dir: Path, **extra: str) -> Iterator[Live]:
    """A ready service for a block."""
    live = launch(data_dir, **extra)
    try:
        live.wait_until_ready()
        yield live
    finally:
        if live.process.poll() is None:
            live.process.terminate()
        live.end()
