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

server, key = os.environ.get("VISION_SERVER", "http://127.0.0.1:8000"), os.environ.get("VISION_API_KEY")
headers = {"Authorization": f"Bearer {key}"} if key else {}
client = httpx.Client(base_url=f"{server}/v1", headers=headers, timeout=120)

try:
    path, question = sys.argv[1:]
    files = {"image": Path(path).read_bytes()}
    with client.stream("POST", "/vqa", data={"question": question, "stream": "true"}, files=files) as reply:
        if reply.is_error:  # what is wrong, before the connection closes
            sys.exit(json.loads(reply.read())["detail"])
        for line in reply.iter_lines():
            if line.startswith("data:"):
                sys.stdout.write(json.loads(line.removeprefix("data:")).get("text", ""))
                sys.stdout.flush()
    sys.stdout.write("\n")
except httpx.TransportError as error:
    sys.exit(f"No service answers at {server} ({error}): start it with make serve")
except OSError as error:
    sys.exit(f"{error.filename}: {error.strerror}")
