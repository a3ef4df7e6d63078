"""The HTTP calls of one service: retries while it is busy, pages, event streams, downloads, failures as exceptions.

Imports nothing of the command line, so that another program can use it as it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

_TRIES = 4
_LONGEST_PAUSE_S = 5.0
_TIMEOUT = httpx.Timeout(180.0, connect=5.0)  # the first request may load a model
_FOLLOW_TIMEOUT = httpx.Timeout(60.0, connect=5.0)  # a followed job is heard of several times a minute


class RefusedError(Exception):
    """The service answered with an error; `str()` is its sentence."""

    def __init__(self, status: int, detail: str, retry_after_s: float | None = None) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class UnreachableError(Exception):
    """No service answered."""


def quoted(name: str) -> str:
    """`name` as one segment of a path; dots alone would lead to another one."""
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")


def drop_none(**values: Any) -> dict[str, Any]:
    """Those of the values that were given."""
    return {name: value for name, value in values.items() if value is not None}


def form_fields(**values: Any) -> dict[str, str]:
    """Those of the values that were given, as the text fields of a form."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in drop_none(**values).items()
    }


class Service:
    """One reachable service; safe to share between threads."""

    def __init__(self, url: str, api_key: str | None) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.url = url
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=False)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The JSON object at `path`; repeats and raises as `call(again=True)`."""
        found: dict[str, Any] = self.call("GET", path, params=drop_none(**query), again=True)
        return found

    def send(self, path: str, form: dict[str, str], **images: Path) -> dict[str, Any]:
        """The reply to a form with the named images; repeats and raises as `call(again=True)`, and OSError for a file
        that cannot be read.
        """
        # a name need not be text, but must be to be sent
        files = {
            field: (image.name.encode("utf-8", "replace").decode(), image.read_bytes())
            for field, image in images.items()
        }
        reply: dict[str, Any] = self.call("POST", path, data=form, files=files, again=True)
        return reply

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
            page = self.get(path, **query)
            yield from page["data"]
            if not page.get("next"):
                return
            query["cursor"] = page["next"]

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


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
