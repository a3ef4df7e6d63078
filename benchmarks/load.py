"""A load generator that costs little: requests built once, answers counted and timed, its own CPU time measured.

Run as a process of its own; prints one JSON line. `load.c` does the work where a C compiler is found, asyncio else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


async def client(
    host: str, port: int, requests: list[bytes], first: int, end: float, refused: list[float]
) -> list[float]:
    """Send requests one after the other over one connection until `end`; seconds each 200 took."""
    reader, writer = await asyncio.open_connection(host, port)
    took: list[float] = []
    turn = first
    while (begun := time.perf_counter()) < end:
        writer.write(requests[turn % len(requests)])
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        if head.startswith(b"http/1.1 200"):
            took.append(time.perf_counter() - begun)
        elif head.startswith(b"http/1.1 503"):
            refused.append(begun)
        else:
            raise RuntimeError(head.decode())
        if b"\nconnection: close" in head:
            writer.close()
            reader, writer = await asyncio.open_connection(host, port)
        turn += 1
    writer.close()
    return took


async def load(host: str, port: int, requests: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """What `load.c` prints, with so many clients."""
    begun = time.perf_counter()
    refused: list[float] = []
    firsts = [index * len(requests) // clients for index in range(clients)]
    sending = [client(host, port, requests, first, begun + seconds, refused) for first in firsts]
    took = await asyncio.gather(*sending)
    wall = time.perf_counter() - begun
    every = sorted(seconds for list_ in took for seconds in list_)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "rate": len(every) / wall,
        "median_s": every[len(every) // 2] if every else 0.0,
        "p99_s": every[len(every) * 99 // 100] if every else 0.0,
        "count": len(every),
        "refused": len(refused),
        "failed": 0,
        "unanswered": 0,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": wall,
    }


def compile_generator(folder: Path) -> Path | None:
    """The compiled load generator, or None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    program = folder / "load"
    done = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(SOURCE)], capture_output=True, check=False
    )
    return program if done.returncode == 0 else None


def main() -> None:
    """`python -m benchmarks.load HOST PORT PATH FOLDER CLIENTS SECONDS`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("folder", type=Path)
    parser.add_argument("clients", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--content-type", default="image/jpeg", help="of the folder's files")
    parser.add_argument("--asyncio", action="store_true", help="do without the compiled generator")
    args = parser.parse_args()
    requests = []
    for file in sorted(args.folder.iterdir()):
        body = file.read_bytes()
        head = f"POST {args.path} HTTP/1.1\r\nHost: {args.host}:{args.port}\r\n"
        head += f"Content-Type: {args.content_type}\r\n"
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    with tempfile.TemporaryDirectory() as scratch:
        program = None if args.asyncio else compile_generator(Path(scratch))
        if program is None:
            found = asyncio.run(load(args.host, args.port, requests, args.clients, args.seconds))
            print(json.dumps({**found, "generator": "asyncio"}))
            return
        files = [Path(scratch) / f"{index:05}.request" for index in range(len(requests))]
        for file, request in zip(files, requests, strict=True):
            file.write_bytes(request)
        words = [args.host, str(args.port), str(args.clients), str(args.seconds)]
        done = subprocess.run([program, *words, *files], check=True, stdout=subprocess.PIPE, text=True)
        print(json.dumps({**json.loads(done.stdout), "generator": "compiled"}))


if __name__ == "__main__":
    main()
