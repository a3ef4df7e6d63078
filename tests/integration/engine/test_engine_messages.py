"""What travels between a front end and an engine: facts, vectors, answers and failures."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from app.errors import OverloadedError, VisionError, list_errors
from app.families import FAMILIES
from app.inference.engine import messages as wire
from app.inference.errors import (
    DeadlineExceededError,
    ModelNotFoundError,
    ModelReplacedError,
    ModelTaskError,
)
from app.inference.prompts import AnswerExample, Prompt
from app.inference.registry import ModelRegistry
from app.settings import Settings
from tests.engines import (
    Squares,
    SquaresFamily,
    count_taken_bytes,
    number,
    serve_registry,
    square,
    squares,
    until,
)


async def test_facts_and_lists_are_those_of_the_registry(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", encoder="clip-tiny", optimisation="none")
    registry = ModelRegistry(settings, FAMILIES, pool=pool)
    async with serve_registry(registry, settings, pool) as (_, client):
        assert client.list_models() == registry.list_models()
        assert client.live() == []
        with pytest.raises(ModelNotFoundError, match="There is no encoder 'nothing'"):
            async with client.encoder("nothing"):
                pass
        async with client.encoder() as live, registry.encoder() as own:
            for fact in (
                *("name", "family", "key", "dim", "input_size", "temperature"),
                *("fingerprint", "runtime", "reads_texts", "reads_jpeg", "min_decoded_side"),
            ):
                assert getattr(live, fact) == getattr(own, fact), fact
            picture = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
            for images in ([picture], [picture, Image.fromarray(picture[:, :, ::-1].copy())]):
                ours = await live.embed_images(images, deadline_s=30)
                theirs = await own.embed_images(images, deadline_s=30)
                np.testing.assert_allclose(ours, theirs, atol=1e-6)
            np.testing.assert_array_equal(
                await live.embed_questions(["a cat"], deadline_s=30),
                await own.embed_questions(["a cat"], deadline_s=30),
            )
        [info], [(location, own_info)] = client.live(), registry.list_located()
        assert (info.name, info.dim, info.memory_bytes) == (
            own_info.name,
            own_info.dim,
            own_info.memory_bytes,
        )
        assert client.live_at(location) == info
        assert client.live_at("elsewhere") is None
        for name in ("default", "clip", "clip-tiny", "lite", "anything else"):
            assert client.is_taken(name) == registry.is_taken(name), name
        await client.forget(location)
        await until(lambda: client.live() == [])
        assert registry.live() == []
    await registry.close()


async def test_an_encoder_that_reads_images_only_says_so(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", encoder="dinov2-tiny", optimisation="none")
    registry = ModelRegistry(settings, FAMILIES, pool=pool)
    async with (
        serve_registry(registry, settings, pool) as (_, client),
        client.encoder() as live,
        registry.encoder() as own,
    ):
        told = []
        for model in (live, own):
            with pytest.raises(ModelTaskError) as refused:
                await model.embed_texts(["a cat"], deadline_s=5)
            told.append(refused.value.detail)
        assert told[0] == told[1]
        assert (await live.embed_texts([], deadline_s=5)).shape == (0, own.dim)
        questions = await live.embed_questions(["what?", "why?"], deadline_s=5)
        np.testing.assert_array_equal(questions, await own.embed_questions(["what?", "why?"], deadline_s=5))
    await registry.close()


async def test_answers_stream_through_the_socket_as_they_come(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu")
    registry = ModelRegistry(settings, FAMILIES, pool=pool)
    red = Image.new("RGB", (64, 64), "red")
    blue = Image.new("RGB", (64, 64), "blue")
    prompts = [
        Prompt(red, "what is in the image?", "vqa", 16),
        Prompt(blue, "what colour is it?", "vqa", 16, (AnswerExample(red, "what colour is it?", "red"),)),
        Prompt(blue, "what colour is it?", "vqa", 16, (AnswerExample(None, "which colour?", "red"),)),
    ]
    async with serve_registry(registry, settings, pool) as (server, client):
        async with client.vlm("llava-shapes") as live, registry.vlm("llava-shapes") as own:
            assert (live.tasks, live.several_images) == (own.tasks, own.several_images)
            for prompt in prompts:
                pieces: list[str] = []
                answer, used = await live.answer(prompt, deadline_s=300, on_text=pieces.append)
                assert (answer, used) == await own.answer(prompt, deadline_s=300)
                assert "".join(pieces) == answer.text
            long = Prompt(red, "what is in the image?", "vqa", 512)
            asking = asyncio.create_task(live.answer(long, deadline_s=300, on_text=lambda _: asking.cancel()))
            await asyncio.gather(asking, return_exceptions=True)
            await until(lambda: server.sessions[0].held[0] == 0)
            with pytest.raises(DeadlineExceededError):
                await live.answer(prompts[0], deadline_s=0)
        await until(lambda: count_taken_bytes(client) == 0)
        with pytest.raises(ModelNotFoundError):
            async with client.vlm("nothing"):
                pass
    await registry.close()


@pytest.mark.parametrize("place", list_errors())
def test_every_failure_reads_the_same_on_the_other_side(place: str) -> None:
    kind = list_errors()[place]
    for error in (kind(), kind("A sentence.", retry_after_s=7)):
        there = wire.to_exception(msgspec.msgpack.decode(wire.encode(wire.fail(error)), type=wire.Failure))
        assert type(there) is kind
        assert (there.detail, there.retry_after_s, str(there)) == (
            error.detail,
            error.retry_after_s,
            str(error),
        )
        assert (there.status, there.code, there.title) == (error.status, error.code, error.title)


def test_a_failure_of_a_class_that_only_the_engine_has_tells_clients_the_same() -> None:
    class TeapotError(OverloadedError):
        status, code, title = 418, "teapot", "Teapot"

    there = wire.to_exception(wire.fail(TeapotError("Short and stout.", retry_after_s=3)))
    assert isinstance(there, OverloadedError)
    assert (there.status, there.code, there.title) == (418, "teapot", "Teapot")
    assert (there.detail, there.retry_after_s) == ("Short and stout.", 3)
    hidden = wire.to_exception(wire.fail(RuntimeError("a secret path")))
    assert (type(hidden), hidden.status, hidden.code) == (VisionError, 500, "internal_error")
    assert "secret" not in hidden.detail


async def test_vectors_of_a_model_that_was_replaced_are_not_used(
    settings: Settings, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """Its files changed and it was loaded again, while a request had the facts of the one before."""
    encoder = Squares(square)
    registry = ModelRegistry(settings, SquaresFamily(encoder), pool=pool)
    async with serve_registry(registry, settings, pool) as (server, client):
        async with client.encoder() as live:
            encoder.is_warm = True
            assert live.key.endswith("@" + "0" * 16)
            # as after an engine's restart: the loan is a new one
            server.sessions[0].link.abort()
            await until(lambda: not server.sessions)
            encoder.fingerprint = "1" * 16
            await registry.forget("")
            await until(lambda: not registry.live() and bool(client.connected))
            with pytest.raises(ModelReplacedError):
                await live.embed_images([number(2)], deadline_s=30)
            with pytest.raises(ModelReplacedError):
                await live.embed_texts(["2"], deadline_s=30)
        async with client.encoder() as live:
            assert live.key.endswith("@" + "1" * 16)
            assert (await live.embed_images([number(2)], deadline_s=30))[0, 0] == 4
    await registry.close()


async def test_a_long_list_of_texts_goes_in_several_messages_in_order(
    settings: Settings, pool: ThreadPoolExecutor
) -> None:
    texts = [str(n % 2_000) for n in range(3 * wire.MAX_TEXTS)]
    async with squares(settings, pool) as (_, client), client.encoder() as live:
        rows = await live.embed_texts(texts, deadline_s=300)
        assert rows[:, 0].tolist() == [int(text) ** 2 for text in texts]
        long = "x" * (wire.MAX_TEXTS_BYTES // 4)
        assert (await live.embed_texts([long, "5", long * 2, "6"], deadline_s=300))[:, 0].tolist() == [
            0,
            25,
            0,
            36,
        ]


async def test_a_listener_that_fails_ends_no_connection(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu")
    registry = ModelRegistry(settings, FAMILIES, pool=pool)
    said: list[str] = []

    def listen(text: str) -> None:
        said.append(text)
        raise RuntimeError("a listener's own problem")

    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    try:
        async with (
            serve_registry(registry, settings, pool) as (server, client),
            client.vlm("llava-shapes") as live,
        ):
            prompt = Prompt(Image.new("RGB", (64, 64), "red"), "what colour is it?", "vqa", 16)
            answer, _ = await live.answer(prompt, deadline_s=300, on_text=listen)
            assert "".join(said) == answer.text
            assert len(server.sessions) == 1
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
        await registry.close()
    assert {str(error) for error in errors} == {"a listener's own problem"}
