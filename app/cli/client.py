"""Finds the service a command talks to, or starts one for the command's duration, and makes its HTTP calls.

Knows the address, the key and how failures read; knows nothing of what is asked.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.cli import output
from app.cli.options import load_settings
from app.cli.temporary import StartError, temporary_service
from app.cli.wording import in_flags

_TRIES = 4
_LONGEST_PAUSE_S = 5.0
_TIMEOUT = httpx.Timeout(180.0, connect=5.0)  # the first request may load a model
_FOLLOW_TIMEOUT = httpx.Timeout(60.0, connect=5.0)  # a followed job is heard of several times a minute


class RefusedError(Exception):
    """The service answered with an error; `str()` is its sentence."""

    def __init__(self, status: int, detail: str, retry_after_s: float | None = None) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(in_flags(detail))


class UnreachableError(Exception):
    """No service answered."""


class Service:
    """One reachable service, as commands use it; safe to share between threads."""

    def __init__(
        self, url: str, api_key: str | None, *, temporary: bool = False, flags: Sequence[str] = ()
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.url = url
        self.temporary = temporary
        """Whether it goes when the command ends."""
        self.flags = tuple(flags)
        """What leads another command to the same service, where the environment does not."""
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=False)

    def call(self, method: str, path: str, *, again: bool = False, **request: Any) -> Any:
        """The reply's JSON (None when it has no body).

        `again` repeats a call that the service was too busy for, as long as it asks to; only for calls that
        may safely happen twice. Raises `RefusedError` on an error reply and `UnreachableError` without one.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                return self._call_once(method, path, **request)
            except RefusedError as error:
                if not again or error.retry_after_s is None or attempt == _TRIES:
                    raise
                time.sleep(min(error.retry_after_s * attempt, _LONGEST_PAUSE_S))
        raise AssertionError("unreachable")

    def _call_once(self, method: str, path: str, **request: Any) -> Any:
        try:
            reply = self._http.request(method, path, **request)
        except httpx.TimeoutException as error:
            raise UnreachableError(f"{self.url} did not answer in time") from error
        except httpx.HTTPError as error:
            raise UnreachableError(f"no service answers at {self.url} ({error})") from error
        if reply.is_success:
            return reply.json() if reply.content else None
        raise _refusal(reply)

    def events(self, path: str, **request: Any) -> Iterator[tuple[str, Any]]:
        """Server-sent events of a POST as (name, JSON), while they come; repeats and raises as `call(again=True)`."""
        for attempt in range(1, _TRIES + 1):
            try:
                yield from self._events_once(path, **request)
                return
            except RefusedError as error:  # before the first event, or there would be a stream
                if error.retry_after_s is None or attempt == _TRIES:
                    raise
                time.sleep(min(error.retry_after_s * attempt, _LONGEST_PAUSE_S))

    def _events_once(self, path: str, **request: Any) -> Iterator[tuple[str, Any]]:
        for _, name, data in self._stream("POST", path, **request):
            yield name, data

    def follow(
        self, path: str, after: str | None, heard: Callable[[], None]
    ) -> Iterator[tuple[str, str, Any]]:
        """Server-sent events of a GET as (id, name, JSON), those after the one of the id `after`, until they end;
        `heard` is called for each line, those that mean nothing included.

        Raises `RefusedError`, and `UnreachableError` where the connection breaks: call again with the last id.
        """
        headers = {} if after is None else {"Last-Event-ID": after}
        yield from self._stream("GET", path, heard, headers=headers, timeout=_FOLLOW_TIMEOUT)

    def save(self, path: str, target: Path, *, method: str = "GET", **request: Any) -> None:
        """Download a file, chunk by chunk; raises as `call`, before it touches `target` where the service refuses."""
        try:
            with self._http.stream(method, path, **request) as reply:
                if not reply.is_success:
                    reply.read()
                    raise _refusal(reply)
                with target.open("wb") as file:
                    for chunk in reply.iter_bytes():
                        file.write(chunk)
        except httpx.HTTPError as error:
            raise UnreachableError(f"{self.url} ended its answer early ({error})") from error

    def _stream(
        self, method: str, path: str, heard: Callable[[], None] = lambda: None, **request: Any
    ) -> Iterator[tuple[str, str, Any]]:
        try:
            with self._http.stream(method, path, **request) as reply:
                if not reply.is_success:
                    reply.read()
                    raise _refusal(reply)
                number, name = "", "message"
                for line in reply.iter_lines():
                    heard()
                    kind, _, value = line.partition(": ")
                    if kind == "id":
                        number = value
                    elif kind == "event":
                        name = value
                    elif kind == "data":
                        yield number, name, json.loads(value)
        except httpx.TimeoutException as error:
            raise UnreachableError(f"{self.url} did not answer in time") from error
        except (httpx.HTTPError, ValueError) as error:
            raise UnreachableError(f"{self.url} ended its answer early ({error})") from error

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every row of a paged list, page after page."""
        while True:
            page = self.call(
                "GET", path, params={k: v for k, v in query.items() if v is not None}, again=True
            )
            yield from page["data"]
            if not page.get("next"):
                return
            query["cursor"] = page["next"]

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


@contextmanager
def connect(server: str | None, api_key: str | None, data_dir: Path | None) -> Iterator[Service]:
    """The service to talk to: the named one, a running one, or one that lives as long as the block.

    Ends the command with a sentence and an exit code when the service refuses or none can be reached.
    """
    with ExitStack() as stack:
        try:
            url = _address(server) if server else find_service(data_dir)
            temporary = url is None
            if url is None:
                url = stack.enter_context(temporary_service(data_dir))
            flags = _flags(server, api_key, data_dir)
            service = Service(url, api_key, temporary=temporary, flags=flags)
            stack.callback(service.close)
            yield service
        except RefusedError as error:
            output.fail(str(error), output.REFUSED)
        except (UnreachableError, StartError) as error:
            output.fail(str(error), output.NO_SERVICE)


def _flags(server: str | None, api_key: str | None, data_dir: Path | None) -> list[str]:
    """Those options that were given as flags; a key is not repeated, only that one is needed."""
    given = {"--server": (server, "VISION_SERVER"), "--data-dir": (data_dir, "VISION_DATA_DIR")}
    flags: list[str] = []
    for flag, (value, variable) in given.items():
        if value is not None and str(value) != os.environ.get(variable):
            flags += [flag, shlex.quote(str(value))]
    if api_key is not None and api_key != os.environ.get("VISION_API_KEY"):
        flags += ["--api-key", "KEY"]
    return flags


def _address(server: str) -> str:
    """A --server as a URL; `host:port` will do. Ends the command where it can be none."""
    url = server if "://" in server else f"http://{server}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        output.fail(f"{server!r} is no address of a service, such as http://127.0.0.1:8000", output.USAGE)
    return url.rstrip("/")


def find_service(data_dir: Path | None) -> str | None:
    """Address of the data folder's running service; without a named folder also one on the default port."""
    from app.embedded.running import running_server

    settings = load_settings(data_dir=data_dir)
    url = running_server(settings.data_dir)
    if url is not None or data_dir is not None:
        return url  # a service on the default port keeps another folder than the one that was named
    default = f"http://127.0.0.1:{settings.port or 8000}"
    try:
        reply = httpx.get(f"{default}/healthz", timeout=2.0, trust_env=False)
        ours = reply.is_success and reply.json().get("service") == "llamafarm-vision"
    except (httpx.HTTPError, ValueError, AttributeError):
        return None
    return default if ours else None


def _refusal(reply: httpx.Response) -> RefusedError:
    try:
        problem = reply.json()
        detail = str(problem.get("detail") or problem.get("title") or "")
    except (ValueError, AttributeError):
        detail = ""
    retry = reply.headers.get("Retry-After", "")
    return RefusedError(
        reply.status_code,
        detail or f"the service answered {reply.status_code} {reply.reason_phrase}",
        float(retry) if retry.isdigit() else None,
    )
