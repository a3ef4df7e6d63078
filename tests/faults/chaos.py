"""Forty clients that behave well, badly and not at all, against one service for a bounded time.

Knows what each kind of request may be answered; knows nothing of how the service works.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import psutil

from tests.live import Live
from tests.photos import TAUGHT, damage_photo, encode_photo, photo

BUSY = {503}
MAX_WAIT_SECONDS = 45.0
"""No request may take longer: the service's own deadline of 30 s, and a margin."""
_MIB = 1024 * 1024


@dataclass
class Report:
    """What happened."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """Resident bytes of the service process, sampled twice a second."""
    slowest_s: float = 0.0


class Chaos:
    """One run; `await run(clients, seconds)` and read `report`."""

    def __init__(self, live: Live, seed: int = 0) -> None:
        self.report = Report()
        self._live = live
        self._random = random.Random(seed)
        self._good = {label: list(damage_photo(photo(name)).values()) for label, name in TAUGHT.items()}
        whole = encode_photo(photo("chelsea"))
        self._broken = [
            b"",
            b"not an image",
            whole[: len(whole) // 2],
            bytes(range(256)) * 40,
            b"GIF89a" + b"\0" * 50,
        ]
        self._bomb = encoded_bomb()
        self._process = psutil.Process(live.process.pid)

    async def run(self, clients: int, seconds: float) -> Report:
        """Let `clients` act until the time is up, then wait for every request to end."""
        end = time.monotonic() + seconds
        # idle ones go before the service closes them: a request on one that is just being closed fails
        limits = httpx.Limits(max_connections=clients * 2, keepalive_expiry=2)
        async with httpx.AsyncClient(
            base_url=self._live.url, timeout=MAX_WAIT_SECONDS, limits=limits
        ) as http:
            watcher = asyncio.create_task(self._watch(http))
            await asyncio.gather(*(self._client(http, end) for _ in range(clients)))
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        return self.report

    async def _client(self, http: httpx.AsyncClient, end: float) -> None:
        kinds: list[tuple[Callable[[httpx.AsyncClient], Awaitable[None]], int]] = [
            (self._classify, 12), (self._zero_shot, 3), (self._refused_image, 5), (self._bombed, 1),
            (self._huge, 1), (self._slow, 2), (self._cancelled, 4), (self._abandoned, 2),
            (self._malformed, 2), (self._nowhere, 2),
        ]  # fmt: skip
        acts, weights = zip(*kinds, strict=True)
        while time.monotonic() < end:
            act = self._random.choices(acts, weights)[0]
            begun = time.monotonic()
            try:
                await act(http)
            except httpx.HTTPError as error:
                self.report.wrong.append(f"{act.__name__}: {error!r}")
            self.report.slowest_s = max(self.report.slowest_s, time.monotonic() - begun)

    def _note(self, kind: str, reply: httpx.Response, allowed: set[int]) -> bool:
        """Count an answer; True when it is a 200 whose content is worth a look."""
        self.report.answers[kind, reply.status_code] += 1
        if reply.status_code not in allowed | BUSY:
            self.report.wrong.append(f"{kind}: {reply.status_code} {reply.text[:200]}")
        elif reply.status_code == 503 and "Retry-After" not in reply.headers:
            self.report.wrong.append(f"{kind}: 503 without Retry-After")
        elif not reply.is_success and reply.headers["content-type"] != "application/problem+json":
            self.report.wrong.append(f"{kind}: an error of type {reply.headers['content-type']}")
        return reply.status_code == 200

    async def _classify(self, http: httpx.AsyncClient) -> None:
        label = self._random.choice(list(self._good))
        image = self._random.choice(self._good[label])
        reply = await http.post("/v1/classify", files={"image": image})
        if self._note("good", reply, {200}) and reply.json()["scores"][0]["label"] != label:
            self.report.wrong.append(f"good: {label} came back as {reply.json()['scores'][0]}")

    async def _zero_shot(self, http: httpx.AsyncClient) -> None:
        image = self._random.choice(self._good["cat"])
        reply = await http.post("/v1/classify", data={"labels": "cat,dog,rocket"}, files={"image": image})
        if self._note("zero-shot", reply, {200}) and reply.json()["scores"][0]["label"] not in ("cat", "dog"):
            self.report.wrong.append(f"zero-shot: cat came back as {reply.json()['scores'][0]}")

    async def _refused_image(self, http: httpx.AsyncClient) -> None:
        reply = await http.post("/v1/classify", files={"image": ("x", self._random.choice(self._broken))})
        self._note("broken", reply, {400, 422})

    async def _bombed(self, http: httpx.AsyncClient) -> None:
        self._note("bomb", await http.post("/v1/classify", files={"image": self._bomb}), {413, 422})

    async def _huge(self, http: httpx.AsyncClient) -> None:
        """A little too much is told so; one who goes on and on may be cut off in the middle of it."""
        megabytes = self._random.choice([24, 80])

        async def body() -> AsyncIterator[bytes]:
            for _ in range(megabytes):
                yield b"\xff" * _MIB

        try:
            reply = await http.post("/v1/classify", content=body(), headers={"Content-Type": "image/jpeg"})
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            if megabytes == 24:
                raise
            self.report.answers["cut off", 0] += 1
            return
        self._note("huge", reply, {413})

    async def _slow(self, http: httpx.AsyncClient) -> None:
        image = self._good["rocket"][0]

        async def body() -> AsyncIterator[bytes]:
            for start in range(0, len(image), len(image) // 4 + 1):
                await asyncio.sleep(0.3)
                yield image[start : start + len(image) // 4 + 1]

        reply = await http.post("/v1/classify", content=body(), headers={"Content-Type": "image/jpeg"})
        if self._note("slow", reply, {200}) and reply.json()["scores"][0]["label"] != "rocket":
            self.report.wrong.append(f"slow: rocket came back as {reply.json()['scores'][0]}")

    async def _cancelled(self, http: httpx.AsyncClient) -> None:
        task = asyncio.create_task(http.post("/v1/classify", files={"image": self._good["camera"][0]}))
        await asyncio.sleep(self._random.uniform(0, 0.1))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
            await task
        self.report.answers["cancelled", 0] += 1

    async def _abandoned(self, _: httpx.AsyncClient) -> None:
        """Announces a body, sends a part of it and hangs up."""
        _reader, writer = await asyncio.open_connection("127.0.0.1", self._live.port)
        head = (
            f"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1:{self._live.port}\r\nContent-Type: image/jpeg\r\n"
        )
        with contextlib.suppress(OSError):
            writer.write(f"{head}Content-Length: 90000\r\n\r\n".encode() + b"\xff\xd8" * 1000)
            await writer.drain()
            await asyncio.sleep(self._random.uniform(0, 0.3))
            writer.close()
            await writer.wait_closed()
        self.report.answers["abandoned", 0] += 1

    async def _malformed(self, http: httpx.AsyncClient) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        reply = await http.post("/v1/classify", content=b"--y\r\nnonsense", headers=headers)
        self._note("malformed", reply, {400, 422})

    async def _nowhere(self, http: httpx.AsyncClient) -> None:
        reply = await http.post(
            "/v1/classify", params={"collection": "nowhere"}, files={"image": self._good["cat"][0]}
        )
        self._note("nowhere", reply, {404})

    async def _watch(self, http: httpx.AsyncClient) -> None:
        while True:
            self.report.memory.append(self._process.memory_info().rss)
            with contextlib.suppress(httpx.HTTPError):
                self.report.depths.append(queue_depth((await http.get("/metrics")).text))
            await asyncio.sleep(0.5)


def queue_depth(metrics: str) -> int:
    """Items waiting for any model, from the text of /metrics."""
    return sum(
        int(float(value)) for value in re.findall(r"^vision_queue_depth\{.*\} (\S+)$", metrics, re.MULTILINE)
    )


def encoded_bomb() -> bytes:
    """A PNG of a few hundred KB that says it is 60,000 pixels wide and high."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 50_000_000))
        + chunk(b"IEND", b"")
    )
