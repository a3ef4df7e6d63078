"""Models of an engine while a front end has them: the facts, and the work as messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Protocol

import numpy as np

from app.inference.engine import messages as wire
from app.inference.engine.arena import Ticket
from app.inference.engine.channel import Channel, Loan
from app.inference.errors import DeadlineExceededError, ModelReplacedError, ModelTaskError
from app.inference.prompts import Answer, Prompt
from app.inference.protocols import ImageOrMaker, Vectors, same_for_all
from app.inference.sources import Kind


class Channels(Protocol):
    """Where a piece of work may go."""

    async def find_channel(self, kind: Kind, word: str) -> Channel:
        """The connection to an engine that serves the model; raises EngineUnavailableError."""


class RemoteEncoder:
    """An `app.inference.engine.interface.ServedEncoder`. Each image may go to another engine."""

    def __init__(
        self, channels: Channels, word: str, card: wire.EncoderCard, pool: ThreadPoolExecutor
    ) -> None:
        self.name = card.name
        self.family = card.family
        self.key = card.key
        self.dim = card.dim
        self.input_size, self.min_decoded_side = card.input_size, card.min_decoded_side
        self.temperature = card.temperature
        self.fingerprint = card.fingerprint
        self.runtime = card.runtime
        self.reads_texts = card.reads_texts
        self.reads_jpeg = card.reads_jpeg
        self._channels = channels
        self._word = word
        self._pool = pool

    async def embed_images(self, images: Sequence[ImageOrMaker], *, deadline_s: float) -> Vectors:
        """See `ServedEncoder`; raises ModelReplacedError where the model is another one by now."""
        if not images:
            return np.zeros((0, self.dim), np.float32)
        deadline = time.monotonic() + deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                if len(images) == 1:
                    return await self._embed_image(images[0], deadline)
                tasks = [asyncio.create_task(self._embed_image(image, deadline)) for image in images]
                try:
                    return np.concatenate(await asyncio.gather(*tasks))
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        except TimeoutError:
            raise DeadlineExceededError from None

    async def embed_texts(self, texts: Sequence[str], *, deadline_s: float) -> Vectors:
        """See `ServedEncoder`."""
        if texts and not self.reads_texts:
            raise ModelTaskError.images_only(self.name)
        return await self._embed_texts(texts, deadline_s, are_questions=False)

    async def embed_questions(self, questions: Sequence[str], *, deadline_s: float) -> Vectors:
        """See `ServedEncoder`."""
        if not self.reads_texts:
            return same_for_all(len(questions), self.dim)
        return await self._embed_texts(questions, deadline_s, are_questions=True)

    async def _embed_image(self, image: ImageOrMaker, deadline: float) -> Vectors:
        channel = await self._channels.find_channel("encoder", self._word)
        loan = channel.borrow("encoder", self._word)
        try:
            ticket = Ticket(channel.arena)
            channel.preparing += 1
            try:
                loop = asyncio.get_running_loop()
                picture, inline = await loop.run_in_executor(self._pool, ticket.fill, image, deadline)
            except BaseException:
                ticket.close()
                raise
            finally:
                channel.preparing -= 1
            reply, body = await channel.call(
                lambda number: wire.EmbedImage(number, loan.number, deadline - time.monotonic(), picture),
                tickets=(ticket,),
                parts=() if inline is None else (inline,),
            )
            return self._vectors(reply, body, 1)
        finally:
            channel.give_back(loan)

    async def _embed_texts(self, texts: Sequence[str], deadline_s: float, *, are_questions: bool) -> Vectors:
        deadline = time.monotonic() + deadline_s
        parts = [np.zeros((0, self.dim), np.float32)]
        try:
            async with asyncio.timeout(deadline_s):
                for chunk in _chunks(texts):
                    parts.append(await self._embed_chunk(chunk, deadline, are_questions))
        except TimeoutError:
            raise DeadlineExceededError from None
        return np.concatenate(parts)

    async def _embed_chunk(self, texts: list[str], deadline: float, are_questions: bool) -> Vectors:
        channel = await self._channels.find_channel("encoder", self._word)
        loan = channel.borrow("encoder", self._word)
        try:
            reply, body = await channel.call(
                lambda number: wire.EmbedTexts(
                    number, loan.number, deadline - time.monotonic(), texts, are_questions
                )
            )
            return self._vectors(reply, body, len(texts))
        finally:
            channel.give_back(loan)

    def _vectors(self, reply: wire.Reply, body: memoryview, count: int) -> Vectors:
        if not isinstance(reply, wire.EmbedReply) or reply.key != self.key:
            raise ModelReplacedError
        if (reply.count, reply.dim) != (count, self.dim):
            raise RuntimeError("the engine's vectors have another shape")
        return np.frombuffer(body, np.float32).reshape(count, self.dim)


class RemoteVlm:
    """An `app.inference.engine.interface.ServedVlm`."""

    def __init__(self, channel: Channel, loan: Loan, card: wire.VlmCard, pool: ThreadPoolExecutor) -> None:
        self.name = card.name
        self.family = card.family
        self.runtime = card.runtime
        self.tasks = frozenset(card.tasks)
        self.several_images = card.several_images
        self.takes_text_alone = card.takes_text_alone
        self._channel = channel
        self._loan = loan
        self._pool = pool

    async def answer(
        self, prompt: Prompt, *, deadline_s: float, on_text: Callable[[str], None] | None = None
    ) -> tuple[Answer, tuple[int, ...]]:
        """See `ServedVlm`."""
        deadline = time.monotonic() + deadline_s
        images = [prompt.image, *(example.image for example in prompt.examples if example.image is not None)]
        tickets: list[Ticket] = []
        for _ in images:
            tickets.append(Ticket(self._channel.arena, tuple(tickets)))
        try:
            async with asyncio.timeout(deadline_s):
                placed = await self._place(tickets, images, deadline)
                reply, _ = await self._channel.call(
                    lambda number: _ask(
                        number, self._loan.number, deadline, prompt, placed, on_text is not None
                    ),
                    tickets=tickets,
                    parts=[inline for _, inline in placed if inline is not None],
                    on_text=on_text,
                )
        except TimeoutError:
            raise DeadlineExceededError from None
        if not isinstance(reply, wire.WholeAnswer):
            raise RuntimeError("the engine did not answer the question")
        return reply.answer, reply.used

    async def _place(
        self, tickets: Sequence[Ticket], images: Sequence[ImageOrMaker], deadline: float
    ) -> list[tuple[wire.Picture, memoryview | None]]:
        loop = asyncio.get_running_loop()

        def place() -> list[tuple[wire.Picture, memoryview | None]]:
            return [ticket.fill(image, deadline) for ticket, image in zip(tickets, images, strict=True)]

        self._channel.preparing += 1
        try:
            async with self._channel.placing if len(images) > 1 else nullcontext():
                return await loop.run_in_executor(self._pool, place)
        except BaseException:
            for ticket in tickets:
                ticket.close()
            raise
        finally:
            self._channel.preparing -= 1


def _ask(
    number: int,
    loan: int,
    deadline: float,
    prompt: Prompt,
    placed: Sequence[tuple[wire.Picture, memoryview | None]],
    is_streamed: bool,
) -> wire.Ask:
    return wire.Ask(
        request=number,
        loan=loan,
        remaining_s=deadline - time.monotonic(),
        text=prompt.text,
        task=prompt.task,
        max_new_tokens=prompt.max_new_tokens,
        temperature=prompt.sampling.temperature,
        top_p=prompt.sampling.top_p,
        examples=[
            (example.question, example.answer, example.image is not None) for example in prompt.examples
        ],
        pictures=[picture for picture, _ in placed],
        is_streamed=is_streamed,
        stop=prompt.stop,
        is_text_only=prompt.is_text_only,
    )


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in order, in parts that one message holds; a longer text is a part of its own."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        bytes_of_text = 4 * len(text)  # at most
        if len(chunk) == wire.MAX_TEXTS or (chunk and size + bytes_of_text > wire.MAX_TEXTS_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += bytes_of_text
    if chunk:
        yield chunk
