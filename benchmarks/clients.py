"""What the words of other clients cost: `python -m benchmarks.clients` asks the same natively and by each protocol.

Both take turns on one service, so that neighbours on the machine disturb the difference little. CPU time is that of all
processes of the service.
"""

from __future__ import annotations

import argparse
import base64
import json
import struct
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.driving import cpu_seconds
from benchmarks.pictures import write_pictures
from tests import shapes
from tests.live import Live, serving

Send = Callable[[httpx.Client], httpx.Response]
QUESTION = "what color is the shape?"


@dataclass(frozen=True)
class Pair:
    """The same work, asked natively and by another protocol."""

    name: str
    native: Send
    other: Send


def main() -> None:
    """Print a row a protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=40, help="In each turn.")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    table = Table("call", "native, ms", "more CPU ms", "CPU ratio", "more ms", title="medians", box=None)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        picture = sorted(write_pictures(scratch / "pictures", (640, 480)).iterdir())[0].read_bytes()
        extra = {"VISION_LOG_LEVEL": "warning", "VISION_EMBEDDING_CACHE": "false"}
        with serving(scratch / "data", **extra) as live, live.client() as client:
            for label in ("a", "b"):
                path = "/v1/collections/default/examples"
                taught = client.post(path, data={"label": label}, files={"image": picture})
                taught.raise_for_status()
            for pair in list_pairs(picture, shapes.data(sorted(shapes.list_shapes())[0])):
                table.add_row(pair.name, *compare(live, client, pair, options.requests, options.rounds))
    Console(highlight=False, width=120).print(table)


def list_pairs(picture: bytes, shape: bytes) -> list[Pair]:
    """Every protocol beside its native call; pictures travel as base64 where the protocol has it so."""
    text = base64.b64encode(picture).decode()
    uri = f"data:image/png;base64,{base64.b64encode(shape).decode()}"
    photo = f"data:image/jpeg;base64,{text}"
    parts = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": uri}}]
    chat = {"model": "llava-shapes", "messages": [{"role": "user", "content": parts}]}
    label = {
        "model": "collection/default",
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": photo}}]},
        ],
    }
    responses = {
        "model": "llava-shapes",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": QUESTION},
                    {"type": "input_image", "image_url": uri},
                ],
            }
        ],
    }
    classify = _form("/v1/classify", picture)
    ask = _form("/v1/vqa", shape, {"question": QUESTION})
    labels = _form("/v1/classify", picture, {"labels": ["a cat", "a cup"]})
    embed = _form("/v1/embeddings", picture)
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    return [
        Pair("chat completions", ask, _json("/v1/chat/completions", chat)),
        Pair("chat completions, streamed", ask, _json("/v1/chat/completions", {**chat, "stream": True})),
        Pair("responses", ask, _json("/v1/responses", responses)),
        Pair("chat with collection/default", classify, _json("/v1/chat/completions", label)),
        Pair("embeddings of a data: URI", embed, _json("/v1/embeddings", {"input": [photo]})),
        Pair(
            "/hf, raw bytes",
            classify,
            lambda client: client.post("/hf/image-classification", content=picture),
        ),
        Pair("/hf, JSON", classify, _json("/hf/image-classification", {"inputs": text})),
        Pair(
            "/v2, JSON",
            classify,
            _json("/v2/models/default/infer", {"inputs": [{**tensor, "data": [text]}]}),
        ),
        Pair("/v2, binary", classify, _binary(tensor, picture)),
        Pair(
            "LlamaFarm classify",
            labels,
            _json("/v1/vision/classify", {"image": text, "classes": ["a cat", "a cup"]}),
        ),
    ]


def _form(path: str, file: bytes, fields: dict[str, str | list[str]] | None = None) -> Send:
    return lambda client: client.post(path, data=fields or {}, files={"image": file})


def _json(path: str, body: object) -> Send:
    data = json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    return lambda client: client.post(path, content=data, headers=headers)


def _binary(tensor: dict[str, object], file: bytes) -> Send:
    named = {**tensor, "parameters": {"binary_data_size": len(file) + 4}}
    head = json.dumps({"inputs": [named], "parameters": {"binary_data_output": True}}).encode()
    body = head + struct.pack("<I", len(file)) + file
    headers = {"inference-header-content-length": str(len(head))}
    return lambda client: client.post("/v2/models/default/infer", content=body, headers=headers)


def compare(live: Live, client: httpx.Client, pair: Pair, requests: int, rounds: int) -> tuple[str, ...]:
    """The native call's ms, and what the other takes more: CPU ms, their ratio, ms until the answer."""
    cpu: dict[str, list[float]] = defaultdict(list)
    waited: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, send in (("native", pair.native), ("other", pair.other)):
            send(client).raise_for_status()
            spent = cpu_seconds(live)
            for _ in range(requests):
                began = time.perf_counter()
                send(client)
                waited[name].append(1e3 * (time.perf_counter() - began))
            cpu[name].append(1e3 * (cpu_seconds(live) - spent) / requests)
    native, other = median(cpu["native"]), median(cpu["other"])
    least = {name: sorted(times)[len(times) // 4] for name, times in waited.items()}
    return (
        f"{least['native']:.1f}",
        f"{other - native:+.2f}",
        f"{other / native:.2f}",
        f"{least['other'] - least['native']:+.2f}",
    )


if __name__ == "__main__":
    main()
