"""Have a running service describe pictures.

    make serve                                     # in another terminal
    python examples/image_captioning.py photo.jpg another.jpg

Set VISION_API_KEY and VISION_SERVER for a service that is not on this machine.
"""

import os
import sys
from pathlib import Path

import httpx

if len(sys.argv) < 2:
    sys.exit(__doc__)

key = os.environ.get("VISION_API_KEY")
client = httpx.Client(
    base_url=os.environ.get("VISION_SERVER", "http://127.0.0.1:8000") + "/v1",
    headers={"Authorization": f"Bearer {key}"} if key else {},
    timeout=120,
)

try:
    for path in sys.argv[1:]:
        reply = client.post("/caption", files={"image": Path(path).read_bytes()}).raise_for_status().json()
        sys.stdout.write(f"{path}: {reply['caption']}\n")
except OSError as error:
    sys.exit(f"{error.filename}: {error.strerror}")
except httpx.HTTPStatusError as error:
    sys.exit(error.response.json()["detail"])
except httpx.TransportError as error:
    sys.exit(f"No service answers at {client.base_url} ({error}): start it with make serve")
