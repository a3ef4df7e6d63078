"""One front end at an engine: what it has borrowed, what it waits for, and the memory that it shares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import OverloadedError
from app.inference.engine import messages as wire
from app.inference.engine.interface import ServedEncoder, ServedVlm
from app.inference.engine.link import Body, BrokenFrameError, Link
from app.inference.prompts import AnswerExample, Prompt, Sampling
from app.inference.protocols import Rgb, Vectors
from app.inference.registry import ModelRegistry
from app.inference.sources import Kind
from app.media.encoded import EncodedJpeg

log = logging.getLogger(__name__)

_Model = ServedEncoder | ServedVlm


@dataclass(frozen=True)
class SessionLimits:
    """What one front end may have under way."""

    max_requests: int
    max_inline_bytes: int


@dataclass(eq=False)
class _Loan:
    kind: Kind
    model: asyncio.Future[_Model]
    ended: asyncio.Event
    task: asyncio.Task[None] | None = None


class Session:
    """Carries out what one front end asks; whatever it holds is given back when its connection ends."""

    def __init__(
        self,
        registry: ModelRegistry,
        arena: NDArray[np.uint8],
        limits: SessionLimits,
        *,
        catalog: Callable[[], wire.Catalog],
        on_end: Callable[[Session], None],
    ) -> None:
        """`arena` is the memory that it shares, uint8[n]; `catalog` gives what is known at the moment."""
        self._registry = registry
        self._arena = arena
        self._limits = limits
        self._catalog = catalog
        self._on_end = on_end
        self._loans: dict[int, _Loan] = {}
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._returning: set[asyncio.Task[None]] = set()
        self._inline_bytes = 0
        self._has_news = True
        self.link: Link[wire.Request] = Link(
            wire.Request,
            max_body_bytes=limits.max_inline_bytes,
            on_frame=self._take,
            on_lost=self._lose,
        )

    @property
    def held(self) -> tuple[int, int]:
        """Requests under way, and models lent."""
        return len(self._requests), len(self._loans)

    def tell_news(self) -> None:
        """A model came or went: the front end is told before anything else."""
        if not self._has_news:
            self._has_news = True
            asyncio.get_running_loop().call_soon(self.send_news)

    def reply(self, reply: wire.Reply, *parts: memoryview) -> None:
        """Send it, behind the news if there are any."""
        self.send_news()
        self.link.send(reply, *parts)

    async def settle(self) -> None:
        """Wait until everything under way has ended, after the connection has."""
        tasks = {*self._requests.values(), *self._returning}
        await asyncio.gather(*tasks, return_exceptions=True)

    def send_news(self) -> None:
        """What is known, unless it was sent since it last changed."""
        if self._has_news:
            self._has_news = False
            self.link.send(self._catalog())

    def _lose(self, error: Exception | None) -> None:
        if isinstance(error, BrokenFrameError):
            log.warning("the connection of a front end was closed: %s", error)
        # even an empty part of it would keep it: the memory goes with the last request that reads it
        self._arena = np.empty(0, np.uint8)
        for task in self._requests.values():
            task.cancel()
        for number in list(self._loans):
            self._end_loan(number)
        self._on_end(self)

    # --- what comes in

    def _take(self, received: Sequence[wire.Request], data: memoryview) -> None:
        body = Body(data)
        for message in received:
            match message:
                case wire.EmbedImage():
                    image = self._image(message.picture, body)
                    loan = self._loan(message.loan, "encoder")
                    self._begin(message.request, self._embed_image(message, loan, image), [message.picture])
                case wire.EmbedTexts():
                    loan = self._loan(message.loan, "encoder")
                    self._begin(message.request, self._embed_texts(message, loan))
                case wire.Borrow():
                    self._lend(message)
                case wire.Return():
                    self._end_loan(message.loan)
                case wire.Cancel():
                    if task := self._requests.get(message.request):
                        task.cancel()
                case wire.Ask():
                    pictures = [self._pixels(picture, body) for picture in message.pictures]
                    loan = self._loan(message.loan, "vlm")
                    self._begin(message.request, self._answer(message, loan, pictures), message.pictures)
                case wire.Forget():
                    self._begin(message.request, self._forget(message))
                case wire.AskStats():
                    self.reply(wire.Stats(message.request, self._registry.live()))
        body.end()

    def _image(self, picture: wire.Picture, body: Body) -> Rgb | EncodedJpeg:
        """Pixels, or a file, which always lies in the body: it is small."""
        if not picture.file_bytes:
            return self._pixels(picture, body)
        if picture.offset != wire.INLINE or picture.file_bytes < 0 or picture.turn not in range(1, 9):
            raise BrokenFrameError("a file that is none")
        file = bytes(body.take(picture.file_bytes))
        return EncodedJpeg(file, picture.width, picture.height, picture.turn)

    def _pixels(self, picture: wire.Picture, body: Body) -> Rgb:
        if picture.file_bytes:
            raise BrokenFrameError("a file where pixels are expected")
        size = picture.size
        if picture.height < 1 or picture.width < 1:
            raise BrokenFrameError("a picture without pixels")
        if picture.offset == wire.INLINE:
            flat = np.frombuffer(body.take(size), np.uint8)
        elif 0 <= picture.offset <= len(self._arena) - size:
            flat = self._arena[picture.offset : picture.offset + size]
        else:
            raise BrokenFrameError("a picture outside of the shared memory")
        return flat.reshape(picture.height, picture.width, 3)

    def _begin(
        self, number: int, work: Coroutine[Any, Any, None], pictures: Sequence[wire.Picture] = ()
    ) -> None:
        if number in self._requests:
            work.close()
            raise BrokenFrameError("two requests of one number")
        if len(self._requests) >= self._limits.max_requests:
            work.close()
            self.reply(wire.FailureReply(number, wire.fail(OverloadedError())))
            return
        task = self._requests[number] = asyncio.create_task(self._carry_out(number, work))
        inline = sum(picture.size for picture in pictures if picture.offset == wire.INLINE)
        task.add_done_callback(lambda done: self._end(number, inline, work, done))
        self._inline_bytes += inline
        if self._inline_bytes > self._limits.max_inline_bytes // 2:
            self.link.pause_reading()

    async def _carry_out(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self.reply(wire.FailureReply(number, wire.fail(error)))

    def _end(
        self, number: int, inline: int, work: Coroutine[Any, Any, None], task: asyncio.Task[None]
    ) -> None:
        work.close()  # it may have been cancelled before it began
        del self._requests[number]
        if inline:
            self._inline_bytes -= inline
            if self._inline_bytes <= self._limits.max_inline_bytes // 2:
                self.link.resume_reading()
        if task.cancelled():
            self.reply(wire.Done(number))

    # --- requests

    async def _embed_image(self, message: wire.EmbedImage, loan: _Loan, image: Rgb | EncodedJpeg) -> None:
        encoder = cast(ServedEncoder, await _ready(loan))
        vectors = await encoder.embed_images([image], deadline_s=message.remaining_s)
        self._send_vectors(message.request, encoder.key, vectors)

    async def _embed_texts(self, message: wire.EmbedTexts, loan: _Loan) -> None:
        encoder = cast(ServedEncoder, await _ready(loan))
        embed = encoder.embed_questions if message.are_questions else encoder.embed_texts
        vectors = await embed(message.texts, deadline_s=message.remaining_s)
        self._send_vectors(message.request, encoder.key, vectors)

    def _send_vectors(self, request: int, key: str, vectors: Vectors) -> None:
        rows = np.ascontiguousarray(vectors, np.float32)
        self.reply(wire.EmbedReply(request, key, *rows.shape), rows.reshape(-1).view(np.uint8).data)

    async def _answer(self, message: wire.Ask, loan: _Loan, pictures: list[Rgb]) -> None:
        vlm = cast(ServedVlm, await _ready(loan))
        prompt = await asyncio.to_thread(_prompt, message, pictures)
        answer, used = await vlm.answer(
            prompt,
            deadline_s=message.remaining_s,
            on_text=(lambda text: self.reply(wire.Piece(message.request, text)))
            if message.is_streamed
            else None,
        )
        self.reply(wire.WholeAnswer(message.request, answer, used))

    async def _forget(self, message: wire.Forget) -> None:
        await self._registry.forget(message.location)
        self.reply(wire.Done(message.request))

    # --- loans

    def _loan(self, number: int, kind: Kind) -> _Loan:
        loan = self._loans.get(number)
        if loan is None or loan.kind != kind:
            raise BrokenFrameError(f"no loan of that number and kind ({kind})")
        return loan

    def _lend(self, message: wire.Borrow) -> None:
        if message.loan in self._loans:
            raise BrokenFrameError("two loans of one number")
        loan = _Loan(message.kind, asyncio.get_running_loop().create_future(), asyncio.Event())
        self._loans[message.loan] = loan
        loan.task = asyncio.create_task(self._hold(message, loan))

    async def _hold(self, message: wire.Borrow, loan: _Loan) -> None:
        """Have the model lent until the loan ends."""
        model: _Model
        try:
            if len(self._loans) > self._limits.max_requests:
                raise OverloadedError
            if message.kind == "encoder":
                async with self._registry.encoder(message.name) as model:
                    await self._confirm_loan(message.loan, loan, model, _encoder_card(model))
            else:
                async with self._registry.vlm(message.name) as model:
                    await self._confirm_loan(message.loan, loan, model, _vlm_card(model))
        except Exception as error:
            failure = wire.fail(error)
            if not loan.model.done():
                loan.model.set_exception(wire.to_exception(failure))
                loan.model.exception()  # seen here: the requests that need the loan raise it too
            self.reply(wire.FailureReply(message.loan, failure))
        finally:
            loan.model.cancel()

    async def _confirm_loan(self, number: int, loan: _Loan, model: _Model, card: wire.Card) -> None:
        loan.model.set_result(model)
        self.reply(wire.LoanReply(number, card))
        await loan.ended.wait()

    def _end_loan(self, number: int) -> None:
        loan = self._loans.pop(number, None)
        if loan is None or loan.task is None:
            raise BrokenFrameError("a loan that there is not")
        loan.ended.set()
        if not loan.model.done():
            loan.task.cancel()  # the load goes on for others
        self._returning.add(loan.task)
        loan.task.add_done_callback(self._returning.discard)


async def _ready(loan: _Loan) -> _Model:
    return loan.model.result() if loan.model.done() else await asyncio.shield(loan.model)


def _encoder_card(encoder: ServedEncoder) -> wire.EncoderCard:
    return wire.EncoderCard(
        name=encoder.name,
        family=encoder.family,
        key=encoder.key,
        dim=encoder.dim,
        input_size=encoder.input_size,
        min_decoded_side=encoder.min_decoded_side,
        temperature=encoder.temperature,
        fingerprint=encoder.fingerprint,
        runtime=encoder.runtime,
        reads_texts=encoder.reads_texts,
        reads_jpeg=encoder.reads_jpeg,
    )


def _vlm_card(vlm: ServedVlm) -> wire.VlmCard:
    return wire.VlmCard(
        name=vlm.name,
        family=vlm.family,
        runtime=vlm.runtime,
        tasks=tuple(sorted(vlm.tasks)),
        several_images=vlm.several_images,
        takes_text_alone=vlm.takes_text_alone,
    )


def _prompt(message: wire.Ask, pictures: list[Rgb]) -> Prompt:
    """Blocks: the pixels are copied. Raises ValueError where pictures are missing."""
    first, *rest = (Image.fromarray(pixels) for pixels in pictures)
    images = iter(rest)
    return Prompt(
        image=first,
        text=message.text,
        task=message.task,
        max_new_tokens=message.max_new_tokens,
        examples=tuple(
            AnswerExample(next(images) if has_image else None, question, answer)
            for question, answer, has_image in message.examples
        ),
        sampling=Sampling(message.temperature, message.top_p),
        stop=message.stop,
        is_text_only=message.is_text_only,
    )
