"""More clients than a service can serve: `python -m benchmarks.overload --clients 256 --seconds 60`.

One workspace floods, another asks with a few clients. Prints what each was answered, the share of the few, and the
memory of the service over time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.service import pictures
from tests.live import Live, run, serving
from tests.split import processes

PAUSE_SECONDS = 0.1
"""How long a refused client of the flood waits, however long it was told to."""
FEW = 24
"""Clients of the workspace that does not flood: enough to use half of the service."""
_MIB = 1 << 20

Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]
"""One connection to the service."""


@dataclass
class Tally:
    """What one workspace was answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Refusals without a time to come back, and connections that broke."""
    slowest_s: float = 0.0


@dataclass
class Overload:
    """What a run came to."""

    seconds: float
    flood: Tally
    few: Tally
    memory: list[int]
    """Bytes of the service and all it started (PSS), sampled twice a second."""

    @property
    def share(self) -> float:
        """Part of all answers of 200 that went to the few."""
        served = self.few.statuses[200] + self.flood.statuses[200]
        return self.few.statuses[200] / max(1, served)

    @property
    def growth_mb(self) -> float:
        """By how much the last third of the time needs more memory than the first."""
        third = max(1, len(self.memory) // 3)
        return (max(self.memory[-third:]) - max(self.memory[:third])) / _MIB


def make_key(live: Live, workspace: str) -> str:
    """A key of a workspace of that name."""
    words = ("keys", "create", workspace, "--workspace", workspace, "--json")
    done = run(*words, "--server", live.url, VISION_DATA_DIR=str(live.data_dir))
    if done.returncode:
        raise RuntimeError(done.stderr)
    return str(json.loads(done.stdout)["key"])


async def overload(
    live: Live, *, clients: int, few: int, seconds: float, few_at_one: bool = False
) -> Overload:
    """Let `clients` flood and `few` of another workspace ask beside them.

    `few_at_one` connects the few to one front end of several: the kernel deals connections out, and a client library
    that keeps few of them, or a balancer in between, may have all of its own at one.
    """
    bodies = pictures(16)
    keys = {name: await asyncio.to_thread(make_key, live, name) for name in ("flood", "few")}
    tallies = {name: Tally() for name in keys}
    for key in keys.values():  # labels are embedded once
        await _ask(await _connect(live), live, key, bodies[0], Tally(), time.monotonic() + 0.001)
    links = {
        "few": await (_connect_at_one(live, few) if few_at_one else _connect_all(live, few)),
        "flood": await _connect_all(live, clients),
    }
    end = time.monotonic() + seconds
    found = Overload(seconds, tallies["flood"], tallies["few"], [])
    watcher = asyncio.create_task(_watch(live, found))
    asking = [
        _ask(link, live, keys[name], bodies[index % len(bodies)], tallies[name], end)
        for name in ("flood", "few")
        for index, link in enumerate(links[name])
    ]
    await asyncio.gather(*asking)
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    return found


async def _connect(live: Live) -> Link:
    return await asyncio.open_connection("127.0.0.1", live.port)


async def _connect_all(live: Live, count: int) -> list[Link]:
    return [await _connect(live) for _ in range(count)]


async def _connect_at_one(live: Live, count: int) -> list[Link]:
    """Connections that one and the same front end holds; those that others took are closed again."""
    held: dict[str, list[Link]] = {}
    while max((len(links) for links in held.values()), default=0) < count:
        opened = {link[1].get_extra_info("sockname")[1]: link for link in await _connect_all(live, count)}
        await asyncio.sleep(PAUSE_SECONDS)  # until they are accepted
        for name, process in processes(live, "front-end").items():
            ports = {net.raddr.port for net in process.net_connections("tcp") if net.raddr}
            held.setdefault(name, []).extend(link for port, link in opened.items() if port in ports)
    chosen = max(held.values(), key=len)[:count]
    for link in (link for links in held.values() for link in links if link not in chosen):
        link[1].close()
    return chosen


async def _ask(link: Link, live: Live, key: str, body: bytes, tally: Tally, end: float) -> None:
    """One client on one connection, which comes again at once, or after a pause where it was refused."""
    head = (
        f"POST /v1/classify?labels=cat,dog HTTP/1.1\r\nHost: 127.0.0.1:{live.port}\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    reader, writer = link
    while (begun := time.monotonic()) < end:
        writer.write(request)
        try:
            answer = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in answer.split(b"\r\n")[1:] if b": " in line)
            await reader.readexactly(int(fields[b"content-length"]))
        except (OSError, EOFError) as error:
            tally.wrong.append(repr(error))
            return
        status = int(answer.split(b" ", 2)[1])
        tally.statuses[status] += 1
        tally.slowest_s = max(tally.slowest_s, time.monotonic() - begun)
        if status == 503:
            if b"retry-after" not in fields:
                tally.wrong.append("503 without Retry-After")
            await asyncio.sleep(PAUSE_SECONDS)
    writer.close()


async def _watch(live: Live, found: Overload) -> None:
    """Sample the memory twice a second."""
    while True:
        found.memory.append(await asyncio.to_thread(_memory, live))
        await asyncio.sleep(0.5)


def _memory(live: Live) -> int:
    total = 0
    for pid in live.family():
        try:
            total += psutil.Process(pid).memory_full_info().pss
        except psutil.Error:
            continue
    return total


def main() -> None:
    """Print what a run came to."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--clients", type=int, default=256)
    words.add_argument("--few", type=int, default=FEW)
    words.add_argument("--seconds", type=float, default=60.0)
    words.add_argument("--encoder", default="clip-tiny")
    words.add_argument("--max-queue", type=int, default=64)
    words.add_argument("--front-ends", default="auto", help="as VISION_FRONT_ENDS")
    words.add_argument(
        "--few-at-one", action="store_true", help="all of the few are connected to one and the same front end"
    )
    chosen = words.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(
            Path(folder) / "data",
            VISION_ENCODER=chosen.encoder,
            VISION_EMBEDDING_CACHE="false",
            VISION_LOG_LEVEL="error",
            VISION_MAX_QUEUE=str(chosen.max_queue),
            VISION_FRONT_ENDS=chosen.front_ends,
        ) as live,
    ):
        found = asyncio.run(
            overload(
                live,
                clients=chosen.clients,
                few=chosen.few,
                seconds=chosen.seconds,
                few_at_one=chosen.few_at_one,
            )
        )
    for name, tally in (("flood", found.flood), ("few", found.few)):
        print(f"{name}: {dict(tally.statuses)}, slowest {tally.slowest_s:.2f} s, wrong {tally.wrong[:3]}")
    print(
        f"share of the few {found.share:.2f}; memory {found.memory[0] >> 20} MB, grew {found.growth_mb:.0f} MB"
    )


if __name__ == "__main__":
    main()
