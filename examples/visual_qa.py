"""Ask a running service about a picture, and read the answer while it comes.

    make serve                                     # in another terminal
    python examples/visual_qa.py photo.jpg "what color is the shape?"

Set VISION_API_KEY and VISION_SERVER for a service that is not on this machine.
"""

import json
import os
import sys
from pathlib import Path

import httpx

if len(sys.argv) != 3:
    sys.exit(__doc__)

key = os.environ.get("VISION_API_KEY")
client = httpx.Client(
    base_url=os.environ.get("VISION_SERVER", "http://127.0.0.1:8000") + "/v1",
    headers={"Authorization": f"Bearer {key}"} if key else {},
    timeout=120,
)

try:
    path, question = sys.argv[1:]
    files = {"image": Path(path).read_bytes()}
    with client.stream("POST", "/vqa", data={"question": question, "stream": "true"}, files=files) as reply:
        if reply.is_error:
            reply.read()  # what is wrong, before the connection closes
        reply.raise_for_status()
        for line in reply.iter_lines():
            if line.startswith("data:"):
                sys.stdout.write(json.loads(line.removeprefix("data:")).get("text", ""))
                sys.stdout.flush()
    sys.stdout.write("\n")
except OSError as error:
    sys.exit(f"{error.filename}: {error.strerror}")
except httpx.HTTPStatusError as error:
    sys.exit(error.response.json()["detail"])
except httpx.TransportError as error:
    sys.exit(f"No service answers at {client.base_url} ({error}): start it with make serve")
