"""Asks a service of its own, beyond loopback and with a real key, whatever its OpenAPI document allows and forbids.

`make fuzz` runs it with the schemathesis of an environment beside the service's. It fails on any status of 500 or more,
any status, header or content that the document does not describe, and any answer without a key.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from PIL import Image

START_SECONDS = 180.0
REQUEST_SECONDS = 20
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,ignored_auth"
)
REVOKE_SECONDS = 20
REVOKE = "/v1/keys/{key_id}"
"""Fuzzed by itself: among all others it would be asked to revoke the key that the run comes in with."""


@dataclass(frozen=True)
class ServiceUnderTest:
    """The service and the key that everything is asked with."""

    url: str
    key: str
    log: Path


def main() -> int:
    """Serve, teach something to ask about, and fuzz; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("schemathesis", help="The program.")
    parser.add_argument("--examples", type=int, default=10, help="Requests of each kind to each call.")
    parser.add_argument("--seconds", type=int, default=300, help="Time for all of it, apart from the start.")
    parser.add_argument("--seed", type=int, default=1, help="The same one asks the same.")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the service would stay
    with tempfile.TemporaryDirectory(prefix="vision-fuzz-") as folder, _serving(Path(folder)) as served:
        (Path(folder) / "schemathesis.toml").write_text(_config(_teach(served)))
        command = [str(Path(options.schemathesis).absolute()), "run", f"{served.url}/openapi.json"]
        command += ["-H", f"Authorization: Bearer {served.key}", "--checks", CHECKS, "--continue-on-failure"]
        command += ["-n", str(options.examples), "--seed", str(options.seed), "--no-shrink"]
        command += ["--request-timeout", str(REQUEST_SECONDS), "--max-time", str(options.seconds)]
        command += ["--phases", "examples,coverage,fuzzing", "--warnings", "off"]
        found = [
            subprocess.run(
                [*command, *chosen], cwd=folder, check=False, timeout=2 * options.seconds + 300
            ).returncode
            for chosen in (
                ("--exclude-path", REVOKE),
                ("--include-path", REVOKE, "--max-time", str(REVOKE_SECONDS)),
            )
        ]
        with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {served.key}"}) as client:
            client.get("/v1/keys").raise_for_status()  # or the requests above were answered with 401
            client.get("/readyz").raise_for_status()
        for line in served.log.read_text().splitlines():
            if '"event": "failed"' in line or '"event": "broke off"' in line:
                print(line)
                found.append(1)
    return int(any(found))


@contextmanager
def _serving(folder: Path) -> Iterator[ServiceUnderTest]:
    """A service on every address of this machine, without a worker: what is queued stays queued."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VISION_")}
    key = folder / "key"
    settings = {
        "BOOTSTRAP_KEY_FILE": str(key),
        "WORKER": "false",
        "ALLOW_DOWNLOADS": "false",
        "LOG_FORMAT": "json",
    }
    command = [sys.executable, "-m", "app.cli", "serve", "--host", "0.0.0.0"]  # noqa: S104
    command += ["--port", str(port), "--data-dir", str(folder / "data")]
    log = folder / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            env=clean | {f"VISION_{name}": value for name, value in settings.items()},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"The service did not start:\n{log.read_text()}")
            time.sleep(0.2)
        yield ServiceUnderTest(url, key.read_text().strip(), log)
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).is_success
    except httpx.HTTPError:
        return False


def _teach(served: ServiceUnderTest) -> dict[str, str]:
    """Something of each kind that calls are about, by the name of the part of the path that names it."""
    with httpx.Client(
        base_url=served.url, headers={"Authorization": f"Bearer {served.key}"}, timeout=120
    ) as client:

        def post(path: str, **request: object) -> dict[str, object]:
            reply = client.post(path, **request)  # type: ignore[arg-type]
            reply.raise_for_status()
            found: dict[str, object] = reply.json()
            return found

        post("/v1/collections", json={"name": "mugs"})
        for label, colour in (("red", "#c03020"), ("blue", "#2040c0")):
            for side in (64, 80, 96):
                image = _picture(colour, side)
                post("/v1/collections/mugs/examples", data={"label": label}, files={"images": image})
        question = {"question": "which colour?", "answer": "red"}
        post("/v1/collections/mugs/answers", data=question, files={"image": _picture("#c03020", 70)})
        dataset = post("/v1/datasets", files={"archive": _archive()})
        wanted = {"strategy": "prototypical_fewshot", "base_model": "lite", "collection": "mugs"}
        job = post("/v1/jobs", json=wanted)["id"]
        post(f"/v1/jobs/{job}/cancel")
        return {"collection": "mugs", "dataset": str(dataset["id"]), "job": str(job), "model": "lite"}


def _picture(colour: str, side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(4):
            archive.writestr(
                f"{'red' if number % 2 else 'blue'}/{number}.png", _picture("#c03020", 64 + number)
            )
    return buffer.getvalue()


def _config(known: dict[str, str]) -> str:
    """schemathesis' settings: what is there to be named in paths."""
    lines = ["[parameters]", *(f'"path.{name}" = {json.dumps(value)}' for name, value in known.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
