"""Teach a running service what your pictures show, then ask it about another one.

    make serve                                     # in another terminal
    python examples/image_classification.py cat=cat.jpg coffee=cup.jpg -- unknown.jpg

Set VISION_API_KEY and VISION_SERVER for a service that is not on this machine.
"""

import os
import sys
from pathlib import Path

import httpx

if "--" not in sys.argv[2:-1]:
    sys.exit(__doc__)

server, key = os.environ.get("VISION_SERVER", "http://127.0.0.1:8000"), os.environ.get("VISION_API_KEY")
headers = {"Authorization": f"Bearer {key}"} if key else {}
client = httpx.Client(base_url=f"{server}/v1", headers=headers, timeout=60)

try:
    examples, images = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    for example in examples:
        label, _, path = example.partition("=")
        files = {"images": Path(path).read_bytes()}
        client.post("/collections/default/examples", data={"label": label}, files=files).raise_for_status()

    for path in images:
        answer = client.post("/classify", files={"image": Path(path).read_bytes()}).raise_for_status().json()
        scores = ", ".join(f"{score['label']} {score['score']:.2f}" for score in answer["scores"][:3])
        label = answer["label"] or "none of these"
        sys.stdout.write(f"{path}: {label} ({scores}, none {answer['none']:.2f})\n")
except httpx.HTTPStatusError as error:
    sys.exit(error.response.json()["detail"])
except httpx.TransportError as error:
    sys.exit(f"No service answers at {server} ({error}): start it with make serve")
except OSError as error:
    sys.exit(f"{error.filename}: {error.strerror}")
