"""The two clients: the same verbs, waited for or awaited."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from llamafarm_vision.groups import jobs, recognition, service
from llamafarm_vision.groups.collections import Answers, Collections, Examples
from llamafarm_vision.groups.datasets import Datasets
from llamafarm_vision.groups.jobs import Jobs
from llamafarm_vision.groups.models import Models
from llamafarm_vision.groups.review import Review, give_feedback
from llamafarm_vision.groups.service import Keys, Strategies
from llamafarm_vision.transports import DEFAULT_TIMEOUT_SECONDS, AsyncTransport, Transport
from llamafarm_vision.verbs import Carrier, Group, Listing, Verb

DEFAULT_URL = "http://127.0.0.1:8000"


class Verbs(Group[Carrier]):
    """What a client does itself, and its groups of verbs."""

    classify = Verb(recognition.classify)
    classify_many = Listing(recognition.classify_many)
    learn = Verb(recognition.learn)
    forget = Verb(recognition.forget)
    feedback = Verb(give_feedback)
    search = Verb(recognition.search)
    embed = Verb(recognition.embed)
    ask = Verb(recognition.ask)
    ask_stream = Listing(recognition.ask_stream)
    caption = Verb(recognition.caption)
    caption_stream = Listing(recognition.caption_stream)
    augment = Verb(recognition.augment)
    train = Verb(jobs.train)
    check_training = Verb(jobs.check_training)
    check_configuration = Verb(jobs.check_configuration)
    hardware = Verb(service.get_hardware)
    storage = Verb(service.get_storage)

    def __init__(self, transport: Carrier) -> None:
        super().__init__(transport)
        self.collections = Collections(transport)
        self.examples = Examples(transport)
        self.answers = Answers(transport)
        self.review = Review(transport)
        self.datasets = Datasets(transport)
        self.jobs = Jobs(transport)
        self.models = Models(transport)
        self.strategies = Strategies(transport)
        self.keys = Keys(transport)

    @property
    def url(self) -> str:
        """Where the service answers."""
        return self._transport.url


class Vision(Verbs[Transport]):
    """A client that waits; safe to share between threads. As a context it closes its connections at the end."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_SECONDS,
        trust_env: bool = False,
    ) -> None:
        """
        Args:
            url: Where the service answers; `VISION_SERVER`, or port 8000 of this machine, if empty.
            api_key: `VISION_API_KEY` if empty; a service on this machine may need none.
            timeout_s: Seconds that a reply may keep silent; the first one may have to load a model.
            trust_env: Whether to go through a proxy that the environment names, which then sees the key.
        """
        super().__init__(Transport(**_choose(url, api_key), timeout_s=timeout_s, trust_env=trust_env))

    def __enter__(self) -> Vision:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class AsyncVision(Verbs[AsyncTransport]):
    """The same client for an event loop: its verbs are awaited, its lists are iterated with `async for`."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_SECONDS,
        trust_env: bool = False,
    ) -> None:
        """The arguments are those of `Vision`."""
        super().__init__(AsyncTransport(**_choose(url, api_key), timeout_s=timeout_s, trust_env=trust_env))

    async def __aenter__(self) -> AsyncVision:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()


def _choose(url: str | None, api_key: str | None) -> dict[str, Any]:
    address = url or os.environ.get("VISION_SERVER") or DEFAULT_URL
    if "://" not in address:
        address = f"http://{address}"
    return {"url": address.rstrip("/"), "api_key": api_key or os.environ.get("VISION_API_KEY")}
