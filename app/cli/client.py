"""The service as commands see it: replies as the service wrote them, over the transport of `llamafarm_vision`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llamafarm_vision.errors import RefusedError, UnreachableError
from llamafarm_vision.flows import JobReader, Progress, ServerEvent, download, list_rows, send
from llamafarm_vision.groups.datasets import UPLOAD_TIMEOUT
from llamafarm_vision.groups.recognition import stream_answer
from llamafarm_vision.packing import pack_folder
from llamafarm_vision.steps import Call, Flow, drop_none, form_fields
from llamafarm_vision.steps import quote_segment as quoted
from llamafarm_vision.transports import Transport

__all__ = [
    "RefusedError",
    "ServerEvent",
    "Service",
    "UnreachableError",
    "drop_none",
    "form_fields",
    "quoted",
]


class Service:
    """One reachable service; safe to share between threads.

    Every method raises `RefusedError` on an error reply and `UnreachableError` without one. Calls that may safely
    happen twice are sent again for as long as the service is too busy for them and says when to come back.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self.url = url
        self._transport = Transport(url, api_key)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The JSON object at `path`."""
        found: dict[str, Any] = self.call("GET", path, params=drop_none(**query), again=True)
        return found

    def send(self, path: str, form: dict[str, str], **images: Path) -> dict[str, Any]:
        """The reply to a form with the named images; raises OSError for a file that cannot be read."""
        call = Call("POST", path, form=form, images=tuple(images.items()), is_repeatable=True)
        reply: dict[str, Any] = self._transport.run(send(call))
        return reply

    def call(self, method: str, path: str, *, again: bool = False, **request: Any) -> Any:
        """The reply's JSON (None when it has no body); `again` is for calls that may safely happen twice."""
        return self._transport.run(send(Call(method, path, is_repeatable=again, **request)))

    def stream_answer(self, path: str, form: dict[str, str], image: Path) -> Iterator[ServerEvent]:
        """The events `token` and `done` of a streamed answer; one that fails midway or ends early raises too."""
        return self._transport.iterate(stream_answer(path, form, image, lambda event: event))

    def follow(
        self, path: str, on_event: Callable[[ServerEvent], None], on_broken: Callable[[], None]
    ) -> dict[str, Any]:
        """The job once it has ended, across broken connections; hears of each of its events and of each break."""

        def read() -> Flow[dict[str, Any]]:
            reader = JobReader(path, on_broken=on_broken)
            while (event := (yield from reader.read())) is not None:
                on_event(event)
            return reader.job

        return self._transport.run(read())

    def upload(
        self, path: str, folder: Path, files: list[Path], progress: Progress, **query: str
    ) -> dict[str, Any]:
        """The reply to the files of a folder, sent as one tar; raises OSError for one that cannot be read."""
        upload = pack_folder(folder, files)
        call = Call(
            "POST",
            path,
            params=query,
            body=upload.report(progress),
            headers={"Content-Type": upload.content_type},
            timeout=UPLOAD_TIMEOUT,
            is_repeatable=True,
        )
        reply: dict[str, Any] = self._transport.run(send(call))
        return reply

    def save(
        self, path: str, target: Path, *, form: dict[str, str] | None = None, image: Path | None = None
    ) -> None:
        """Download a file, chunk by chunk, or what is made of an image; leaves `target` alone where it is refused."""
        images = () if image is None else (("image", image),)
        method = "GET" if image is None else "POST"
        call = Call(method, path, form=form, images=images, is_repeatable=True)
        self._transport.run(download(call, target))

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every row of a paged list, page after page."""
        return self._transport.iterate(list_rows(path, dict, **query))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()
