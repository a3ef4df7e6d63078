"""What happens when a question is asked: examples chosen, the model lent, the answer handed on as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass

from PIL import Image

from app.answers import repository
from app.answers.domains import Domains, DomainWarning
from app.answers.errors import ImageRequiredError
from app.answers.renewal import AnswerRenewal
from app.answers.repository import NearAnswer, count_stored_bytes, find_shown_images, images_of
from app.answers.repository import count_by_collection as count_answers
from app.collections import vectors
from app.collections.embedding import ImageEmbedder
from app.collections.service import Recognition
from app.errors import OutsideDomainError, VisionError
from app.http.spool import Entry
from app.inference.engine.interface import Engine, ServedVlm
from app.inference.errors import ModelTaskError
from app.inference.fair_semaphore import FairSemaphore
from app.inference.prompts import Answer, AnswerExample, Prompt, Sampling, Task
from app.inference.sources import EncoderConfig
from app.media import images
from app.media.images import ImageLimits
from app.models.resolver import ModelResolver
from app.models.service import ModelRecord, TrainedModels
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.database import Database

__all__ = [
    "Answering",
    "AskRequest",
    "AskResult",
    "EarlierTurn",
    "count_answers",
    "count_stored_bytes",
    "find_shown_images",
    "images_of",
]

DETAIL = 512
"""Pixels that decoding leaves a shorter side to spare: at least twice this many are kept of a larger image, more
than these models look at, and many questions about huge images then take little memory."""
_NO_IMAGE = Image.new("RGB", (1, 1))
"""Stands in a prompt that is without an image."""


@dataclass(frozen=True)
class EarlierTurn:
    """A question and its answer from earlier in a conversation; without words, another image of the question."""

    question: str
    answer: str
    image: Entry | None = None


@dataclass(frozen=True)
class AskRequest:
    """What a client wants to know of one image."""

    text: str
    task: Task
    model: str | None
    max_new_tokens: int
    sampling: Sampling
    collection: str | None = None
    shots: int | None = None
    """How many answer examples to show; None: as many as the setting says, and none to a trained model, which was
    never shown any while it learned (llava-shapes with an adapter then answers none of its questions right)."""
    earlier: tuple[EarlierTurn, ...] = ()
    """What was said before, the latest first; shown to the model in the place of answer examples."""
    strict: bool = False
    """Whether a picture outside what the model knows is an error, not a warning."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""


@dataclass(frozen=True)
class AskResult:
    """The answer, by whom, which examples the model saw, and where the time went in milliseconds."""

    answer: Answer
    model: str
    examples: tuple[NearAnswer, ...]
    decode_ms: float
    examples_ms: float
    generate_ms: float
    total_ms: float
    warnings: tuple[DomainWarning, ...] = ()


@dataclass(eq=False)
class Answering:
    """Asks the vision-language models of one process."""

    settings: Settings
    database: Database
    registry: Engine
    recognition: Recognition
    renewal: AnswerRenewal
    embedder: ImageEmbedder
    blobs: BlobStore
    limits: ImageLimits
    pool: ThreadPoolExecutor
    models: ModelResolver
    trained: TrainedModels
    places: FairSemaphore
    """Who is answered now; workspaces take turns."""

    def __post_init__(self) -> None:
        self._domains = Domains(self.registry, self.embedder, EncoderConfig.from_settings(self.settings))

    async def ask(
        self,
        workspace: str,
        entry: Entry | None,
        asked: AskRequest,
        on_text: Callable[[str], None] | None = None,
    ) -> AskResult:
        """The answer; `on_text` gets each piece of it as it comes, in the event loop.

        Without an image (`entry` is None) only a model answers that takes text alone; others raise
        ImageRequiredError. Raises ModelNotFoundError, ModelTaskError, QuestionTooLongError, CollectionNotFoundError,
        NotReadyError while examples are embedded again, what reading the image raises, what the model raises, and where
        the question is `strict` OutsideDomainError and what comparing the picture raises.
        """
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        image = None if entry is None else await loop.run_in_executor(self.pool, self._decode_entry, entry)
        decoded = time.perf_counter()
        word, is_trained = await self._choose_model(workspace, asked)
        shots = asked.shots
        if shots is None:
            shots = 0 if is_trained else self.settings.answers.answer_examples
        if asked.strict and entry is not None:
            for warned in await self._domains.judge(workspace, word, asked.task, entry, is_asked=False):
                raise OutsideDomainError(warned.sentence)
        near = [] if entry is None else await self._examples(workspace, entry, asked, shots)
        found = time.perf_counter()
        async with AsyncExitStack() as stack:
            judging = (
                None  # a strict question got past its judging above, so that there is nothing to warn of
            )
            if not asked.strict and entry is not None:
                judging = await stack.enter_async_context(
                    self._domains.judge_meanwhile(workspace, word, asked.task, entry)
                )
            live = await stack.enter_async_context(self.registry.vlm(word))
            answer, used = await self._generate(workspace, live, image, asked, near, on_text)
            ended = time.perf_counter()
            return AskResult(
                answer=answer,
                model=live.name,
                examples=() if asked.earlier else tuple(near[index] for index in used),
                decode_ms=1e3 * (decoded - began),
                examples_ms=1e3 * (found - decoded),
                generate_ms=1e3 * (ended - found),
                total_ms=1e3 * (ended - began),
                warnings=() if judging is None else await judging,
            )

    async def _generate(
        self,
        workspace: str,
        live: ServedVlm,
        image: Image.Image | None,
        asked: AskRequest,
        near: Sequence[NearAnswer],
        on_text: Callable[[str], None] | None,
    ) -> tuple[Answer, tuple[int, ...]]:
        """What the model says, and the indices of the examples that it saw."""
        if asked.task not in live.tasks:
            verb = "answer questions" if asked.task == "vqa" else "write captions"
            raise ModelTaskError(f"The model '{live.name}' does not {verb}.")
        if image is None and not live.takes_text_alone:
            raise ImageRequiredError(param="messages")
        deadline = time.monotonic() + self.settings.answers.vlm_deadline_s
        async with self.places.hold(workspace, deadline=deadline):
            # not before its turn: what waits would hold the pixels of all of its pictures
            if asked.earlier:
                examples = await self._read_earlier(asked.earlier, with_images=live.several_images)
            else:
                examples = await self._read_examples(near, with_images=live.several_images)
            prompt = Prompt(
                _NO_IMAGE if image is None else image,
                asked.text,
                asked.task,
                asked.max_new_tokens,
                examples,
                asked.sampling,
                stop=asked.stop,
                is_text_only=image is None,
            )
            return await live.answer(
                prompt, deadline_s=max(0.0, deadline - time.monotonic()), on_text=on_text
            )

    async def _choose_model(self, workspace: str, asked: AskRequest) -> tuple[str, bool]:
        """The model to ask, as a word that the registry takes, and whether it was trained here."""
        if asked.model is None:
            return self.models.default_vlm(asked.task), False
        found = await self.models.find(workspace, asked.model)
        if isinstance(found, ModelRecord):
            return await self.trained.vlm(workspace, found), True
        if found.kind != "vlm":
            raise ModelTaskError(f"'{found.name}' compares images and texts; it does not answer.")
        return self.models.word_of(found), False

    async def _examples(
        self, workspace: str, entry: Entry, asked: AskRequest, shots: int
    ) -> list[NearAnswer]:
        """The answer examples nearest to image and question (RICES, Yang et al. 2022, section 3.2)."""
        if asked.collection is None or not shots or asked.task != "vqa":
            return []
        known = await self.recognition.resolve_collection(workspace, asked.collection)
        async with self.database.session() as session:
            if not await repository.count(session, known.id):
                return []
        async with self.registry.encoder(known.encoder) as live:
            image_vector = (await self.embedder.embed(workspace, live, [entry])).vectors[0]
            deadline_s = self.settings.batching.deadline_s
            question_vector = (await live.embed_questions([asked.text], deadline_s=deadline_s))[0]
            key = live.key
        await self.renewal.check(known, key)
        async with self.database.session() as session:
            return await repository.nearest(
                session,
                known.id,
                key,
                vectors.to_sql(image_vector),
                vectors.to_sql(question_vector),
                shots,
            )

    async def _read_examples(
        self, near: Sequence[NearAnswer], *, with_images: bool
    ) -> tuple[AnswerExample, ...]:
        """The examples as a model takes them; one whose image cannot be had any more is shown as text."""
        if not with_images:
            return tuple(AnswerExample(None, example.question, example.answer) for example in near)
        pictures = await asyncio.gather(*[self._picture(example.image_sha256) for example in near])
        return tuple(
            AnswerExample(picture, example.question, example.answer)
            for example, picture in zip(near, pictures, strict=True)
        )

    async def _read_earlier(
        self, turns: Sequence[EarlierTurn], *, with_images: bool
    ) -> tuple[AnswerExample, ...]:
        """Earlier turns as a model takes them; raises what reading an image raises."""
        loop = asyncio.get_running_loop()
        read = []
        for turn in turns:
            picture = None
            if turn.image is not None and with_images:
                picture = await loop.run_in_executor(self.pool, self._decode_entry, turn.image)
            if picture is not None or turn.question or turn.answer:
                read.append(AnswerExample(picture, turn.question, turn.answer))
        return tuple(read)

    def _decode_entry(self, entry: Entry) -> Image.Image:
        return self._decode(entry.read())

    def _decode(self, data: bytes) -> Image.Image:
        return images.decode(data, self.limits, input_size=DETAIL)

    async def _picture(self, sha256: str) -> Image.Image | None:
        try:
            data = await self.blobs.get(sha256)
            return await asyncio.get_running_loop().run_in_executor(self.pool, self._decode, data)
        except (FileNotFoundError, VisionError):
            return None
