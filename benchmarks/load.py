"""A load generator that costs little: asyncio sockets, requests built once, answers read and timed.

Run as a process of its own; prints one JSON line. Knows just enough HTTP/1.1 and nothing of the service.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path


async def client(host: str, port: int, requests: list[bytes], first: int, end: float) -> list[float]:
    """Send requests one after the other over one connection until `end`; seconds each took."""
    reader, writer = await asyncio.open_connection(host, port)
    took: list[float] = []
    turn = first
    while (begun := time.perf_counter()) < end:
        writer.write(requests[turn % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        took.append(time.perf_counter() - begun)
        turn += 1
    writer.close()
    return took


async def load(host: str, port: int, requests: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Requests a second and the median seconds of one, with so many clients."""
    begun = time.perf_counter()
    took = await asyncio.gather(
        *(
            client(host, port, requests, index * len(requests) // clients, begun + seconds)
            for index in range(clients)
        )
    )
    wall = time.perf_counter() - begun
    every = sorted(one for list_ in took for one in list_)
    return {"rate": len(every) / wall, "median_s": every[len(every) // 2], "count": len(every)}


def main() -> None:
    """`python -m benchmarks.load HOST PORT PATH FOLDER CLIENTS SECONDS`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("folder", type=Path)
    parser.add_argument("clients", type=int)
    parser.add_argument("seconds", type=float)
    args = parser.parse_args()
    requests = []
    for file in sorted(args.folder.iterdir()):
        body = file.read_bytes()
        head = f"POST {args.path} HTTP/1.1\r\nHost: {args.host}:{args.port}\r\nContent-Type: image/jpeg\r\n"
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    print(json.dumps(asyncio.run(load(args.host, args.port, requests, args.clients, args.seconds))))


if __name__ == "__main__":
    main()
