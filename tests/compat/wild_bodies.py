"""Requests to the routes of other clients that are almost right, and what every answer to them must be.

`python -m tests.compat.wild_bodies --count 10000` sends them to a service of its own and counts the statuses.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import struct
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP8z4APMOGVHbHSAEEsAROxCnMTAAAAAElFTkSuQmCC"
URI = f"data:image/png;base64,{PNG}"
PICTURE = {"type": "image_url", "image_url": {"url": URI}}
WORDS = {"type": "text", "text": "what color is the shape?"}
TENSOR = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [PNG]}
CHAT: dict[str, Any] = {
    "model": "llava-shapes",
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [WORDS, PICTURE]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "and now?"},
    ],
    "stream": False,
    "stream_options": {"include_usage": True},
    "max_tokens": 4,
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": ["a"],
    "n": 1,
    "tool_choice": "auto",
    "response_format": {"type": "text"},
}
RIGHT: list[tuple[str, Any]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "model": "collection/default", "stream": True}),
    (
        "/v1/responses",
        {
            "model": "",
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "hi"},
                        {"type": "input_image", "image_url": URI},
                    ],
                }
            ],
            "instructions": "Be short.",
            "max_output_tokens": 4,
            "text": {"format": {"type": "text"}},
        },
    ),
    ("/v1/embeddings", {"model": "lite", "input": ["a", URI, {"image": PNG}, {"text": "b"}]}),
    ("/embeddings", {"input": [PNG], "modality": "image", "encoding_format": "base64", "dimensions": 0}),
    ("/embeddings_image", {"input": PNG}),
    ("/v1/embeddings", {"messages": [{"role": "user", "content": [PICTURE]}], "model": "lite-embed"}),
    ("/v1/vision/classify", {"image": PNG, "classes": ["a", "b"], "top_k": 2, "include_none": True}),
    ("/v1/vision/embed", {"images": [PNG], "texts": ["a"], "model": "lite"}),
    (
        "/v1/vision/review/decide",
        {"id": "3f2a6a0e-7a51-4a8c-9d0e-0c6f5a4c2b1d", "decision": "wrong", "corrected_class": "a"},
    ),
    ("/hf/zero-shot-image-classification", {"inputs": PNG, "parameters": {"candidate_labels": ["a", "b"]}}),
    ("/hf/image-classification", {"inputs": PNG, "parameters": {"top_k": 1}}),
    ("/hf/visual-question-answering", {"inputs": PNG, "image": PNG, "question": "hi?", "parameters": {}}),
    ("/hf/feature-extraction/lite", {"inputs": ["a", "b"], "normalize": True}),
    (
        "/v2/models/lite/infer",
        {"id": "1", "inputs": [TENSOR], "outputs": [{"name": "embedding"}], "parameters": {"top_k": 1}},
    ),
    ("/v2/models/collection/default/infer", {"inputs": [TENSOR]}),
]
JUNK: list[Any] = [
    None, True, 0, -1, 2**70, 1.5, 1e308, "", " ", "\0", "\ud800", "x" * 3000, [], {}, [[]], [None], [[1]], {"": None},
    "https://example.org/a.png", "data:image/png;base64,", "data:,x", "data:image/png;base64,%%%", "file:///etc/passwd",
    PNG[:-9], URI, "collection/", "collection/../x", "collection/nowhere", "../..", "lite", "remote",
    "blip-shapes-caption", float("nan"), float("inf"), {"url": None}, {"type": "image_url"},
    [PNG] * 70, "json_object", "\u202e", "🦙" * 50,
]  # fmt: skip
PATHS = [
    "/v1/chat/completions",
    "/hf/",
    "/hf/image-to-text",
    "/hf/x/y/z",
    "/v2/models//infer",
    "/v2/models/a/b/c",
]
TYPES = [
    None,
    "",
    "text/plain",
    "image/png",
    "application/json; charset=utf-16",
    "multipart/form-data",
    "x" * 300,
]
ENCODINGS = ["gzip", "deflate", "br", "identity", "x"]


@dataclass(frozen=True)
class Wild:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"


def make_request(seed: int) -> Wild:
    """The request of that number, always the same."""
    drawn = random.Random(seed)
    if drawn.random() < 0.05:
        return _make_page_request(drawn)
    path, right = drawn.choice(RIGHT)
    body = copy.deepcopy(right)
    for _ in range(drawn.choice([0, 1, 1, 2, 4])):
        body = _spoil(drawn, body)
    data = json.dumps(body, ensure_ascii=True).encode()
    headers = {"content-type": "application/json"}
    if drawn.random() < 0.15:
        data = _damage(drawn, data)
    if drawn.random() < 0.08:
        kind = drawn.choice(TYPES)
        headers = {} if kind is None else {"content-type": kind}
    if path.startswith("/v2") and drawn.random() < 0.3:
        headers |= {
            "inference-header-content-length": drawn.choice([str(len(data)), "0", "-1", "9" * 30, "x"])
        }
        data += drawn.choice([b"", struct.pack("<I", 4) + b"abcd", struct.pack("<I", 2**32 - 1), b"\0"])
    if drawn.random() < 0.05:
        headers |= {"content-encoding": drawn.choice(ENCODINGS)}
    if drawn.random() < 0.05:
        path = drawn.choice(PATHS)
    return Wild(path, headers, data)


def _make_page_request(drawn: random.Random) -> Wild:
    """A page of the Designer's review screen, one of its numbers wild."""
    query = {"page": "1", "page_size": "10"}
    query[drawn.choice(list(query))] = str(drawn.choice(JUNK)).encode("utf-8", "replace").decode()[:1_000]
    return Wild(f"/v1/vision/review/pending?{urlencode(query)}", {}, b"", "GET")


def _spoil(drawn: random.Random, body: Any) -> Any:
    """The body with one of its values, at any depth, replaced, removed, doubled or added."""
    if not isinstance(body, dict | list) or not body or drawn.random() < 0.15:
        return copy.deepcopy(drawn.choice(JUNK))
    places = list(body) if isinstance(body, dict) else list(range(len(body)))
    place = drawn.choice(places)
    match drawn.choice(["deeper", "deeper", "replace", "remove", "add"]):
        case "deeper":
            body[place] = _spoil(drawn, body[place])
        case "replace":
            body[place] = copy.deepcopy(drawn.choice(JUNK))
        case "remove":
            del body[place]
        case _ if isinstance(body, dict):
            body[drawn.choice(["extra", "seed", "logprobs", "\0"])] = copy.deepcopy(drawn.choice(JUNK))
        case _:
            body.append(copy.deepcopy(body[place]))
    return body


def _damage(drawn: random.Random, data: bytes) -> bytes:
    place = drawn.randrange(len(data) + 1)
    return drawn.choice(
        [
            data[:place],
            data[:place] + b"\xff" + data[place:],
            drawn.randbytes(50),
            b"",
            b"[" * 5000,
            data + data,
        ]
    )


def find_fault(wild: Wild, reply: httpx.Response) -> str | None:
    """What is wrong with the answer; None where it is right."""
    if reply.status_code >= 500:
        return f"status {reply.status_code}"
    if "x-request-id" not in reply.headers:
        return "no x-request-id"
    if reply.status_code < 400:
        return None
    try:
        error = reply.json()["error"]
    except (ValueError, KeyError, TypeError):
        return f"no error in {reply.text[:200]!r}"
    kind = reply.headers["content-type"]
    if wild.path.startswith(("/hf/", "/v2")):
        return None if isinstance(error, str) and kind == "application/json" else f"not a text: {error!r}"
    if set(error) != {"message", "type", "param", "code"} or not all(
        isinstance(error[name], str) for name in ("message", "type", "code")
    ):
        return f"not OpenAI's error: {error!r}"
    return None


def main() -> int:
    """Serve, ask, count; 1 where an answer was wrong."""
    from tests.live import serving

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    statuses: Counter[int] = Counter()
    faults: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data") as live,
        live.client() as client,
        ThreadPoolExecutor(4) as pool,
    ):

        def ask(seed: int) -> None:
            wild = make_request(seed)
            reply = client.request(wild.method, wild.path, headers=wild.headers, content=wild.body)
            statuses[reply.status_code] += 1
            if fault := find_fault(wild, reply):
                faults.append(f"{seed}: {wild.method} {wild.path}: {fault}")

        list(pool.map(ask, range(options.seed, options.seed + options.count)))
    print(dict(sorted(statuses.items())), f"{len(faults)} faults", *faults[:40], sep="\n")  # noqa: T201
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
