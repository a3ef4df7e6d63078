"""Whether a model was made for the picture that it is asked about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from app.collections.embedding import ImageEmbedder
from app.families import FAMILIES
from app.families.changed import is_adapter
from app.families.encoders import domain_encoder
from app.http.spool import Entry
from app.inference.domain import Domain, domain_of
from app.inference.engine.interface import Engine
from app.inference.prompts import Task
from app.inference.sources import EncoderConfig, EncoderSource

_LARGER: dict[Task, str] = {
    "vqa": "VISION_VLM=llava-hf/llava-1.5-7b-hf",
    "caption": "VISION_CAPTIONER=Salesforce/blip-image-captioning-base",
}
"""The setting that brings a general model, as docs/answering.md names it."""

log = structlog.get_logger("app.answers")


@dataclass(frozen=True)
class DomainWarning:
    """What a client should know of an answer before believing it."""

    code: Literal["outside_domain"]
    sentence: str


@dataclass(eq=False)
class Domains:
    """Compares pictures with what the models of one process know."""

    registry: Engine
    embedder: ImageEmbedder
    config: EncoderConfig

    @asynccontextmanager
    async def judge_meanwhile(
        self, workspace: str, word: str, task: Task, entry: Entry
    ) -> AsyncIterator[Awaitable[tuple[DomainWarning, ...]]]:
        """`judge`, beside what the block does; it has nothing to say where the encoder cannot be had, since an
        answer must not fail over a warning.
        """
        judged = asyncio.create_task(self._judge_or_ignore(workspace, word, task, entry))
        try:
            yield judged
        finally:
            judged.cancel()

    async def _judge_or_ignore(
        self, workspace: str, word: str, task: Task, entry: Entry
    ) -> tuple[DomainWarning, ...]:
        try:
            return await self.judge(workspace, word, task, entry)
        except Exception as error:
            log.warning("a picture was not compared with what its model knows", reason=type(error).__name__)
            return ()

    async def judge(
        self, workspace: str, word: str, task: Task, entry: Entry, *, is_asked: bool = True
    ) -> tuple[DomainWarning, ...]:
        """The warning about the picture for a client of the model that the registry calls `word`; without `is_asked`
        there will be no answer to warn of.

        Nothing of a model that carries no domain, which costs nothing. Raises what resolving the model and embedding
        the picture raise.
        """
        if FAMILIES.is_connected(word):
            return ()
        source = FAMILIES.resolve("vlm", word)
        domain, base = _find_domain(source)
        if domain is None:
            return ()
        encoder = domain_encoder(domain, self.config)
        if encoder is None:  # no version of it that is here: its vectors say nothing
            return ()
        async with self.registry.encoder(encoder) as live:
            vectors = (await self.embedder.embed(workspace, live, [entry])).vectors
        if domain.rows.shape[1] != vectors.shape[1]:  # an upload may hold anything
            return ()
        if domain.covers(vectors)[0]:
            return ()
        return (DomainWarning("outside_domain", _sentence(source, base, domain, task, is_asked)),)


def _find_domain(source: EncoderSource) -> tuple[Domain | None, EncoderSource | None]:
    """A model's domain, or that of the base it lies over, and then the base."""
    domain = domain_of(source)
    if domain is not None or not is_adapter(source):
        return domain, None
    base = FAMILIES.adapter_source(Path(source.location))
    return domain_of(base), base


def _sentence(
    source: EncoderSource, base: EncoderSource | None, domain: Domain, task: Task, is_asked: bool
) -> str:
    if base is None:
        known = f"'{source.name}' knows only {domain.knows}, and this picture is unlike them"
    else:
        known = (
            f"'{source.name}' lies over '{base.name}', which knows only {domain.knows}; this picture is unlike them, "
            "and what else it was taught is not recorded"
        )
    guess = "answer" if task == "vqa" else "caption"
    end = f"take the {guess} for a guess" if is_asked else f"a strict question gets no {guess}"
    return f"{known}: {end}. {_LARGER[task]} brings a general model."
