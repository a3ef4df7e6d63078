"""The real `openai` client against a served instance: what CLIENTS' acceptance list of chats and embeddings asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.compat.conftest import COLOUR, FORM, Pictures
from tests.live import Live

KEYS = ("EMPTY", "universal", "hf_AbCdEfGhIjKlMnOpQrStUvWxYz")
NAMED_TOOL = {"type": "function", "function": {"name": "f"}}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}


@pytest.fixture(scope="module")
def client(served: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="EMPTY") as made:
        yield made


def user(text: str, *images: str) -> Any:
    parts: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def test_an_answer_has_text_reason_and_exact_usage(client: openai.OpenAI, pictures: Pictures) -> None:
    shape = user("what color is the shape?", pictures.uri("shape.png"))
    made = client.chat.completions.create(model="llava-shapes", messages=[shape])
    assert made.choices[0].message.content == COLOUR
    assert made.choices[0].finish_reason == "stop"
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens


@pytest.mark.parametrize("with_usage", [True, False])
def test_a_stream_of_two_images(client: openai.OpenAI, pictures: Pictures, with_usage: bool) -> None:
    messages = [user("what color is the shape?", pictures.uri("cat.jpg"), pictures.uri("shape.png"))]
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if with_usage else {}
    chunks = list(
        client.chat.completions.create(model="", messages=messages, stream=True, temperature=0, **more)
    )
    assert {(chunk.id, chunk.created, chunk.model) for chunk in chunks} == {
        (chunks[0].id, chunks[0].created, chunks[0].model)
    }
    told = [chunk for chunk in chunks if chunk.choices]
    assert told[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in told] == [None] * (len(told) - 1) + ["stop"]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in told)
    whole = client.chat.completions.create(model="", messages=messages, temperature=0)
    assert text == whole.choices[0].message.content == COLOUR
    assert len(chunks) - len(told) == with_usage
    if with_usage:
        assert chunks[-1].usage is not None
        assert whole.usage is not None
        assert chunks[-1].usage.model_dump() == whole.usage.model_dump()


def test_a_text_after_an_image_means_that_image(client: openai.OpenAI, pictures: Pictures) -> None:
    earlier = [
        user("what color is the shape?", pictures.uri("shape.png")),
        {"role": "assistant", "content": COLOUR},
    ]
    silent: Any = {"role": "assistant", "content": None, "tool_calls": []}
    others: Any = [{"role": "tool", "tool_call_id": "1", "content": "sunny"}]
    asked: Any = {"role": "user", "content": "what shape is shown?"}
    made = client.chat.completions.create(model="llava-shapes", messages=[*earlier, silent, *others, asked])
    assert made.choices[0].message.content == FORM


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_an_answer_that_is_cut_says_so(client: openai.OpenAI, pictures: Pictures, field: str) -> None:
    parts = user("", pictures.uri("shape.png"))["content"][:1]
    asked: Any = {"model": "llava-shapes", "messages": [{"role": "user", "content": parts}], field: 1}
    made = client.chat.completions.create(**asked)
    assert made.choices[0].finish_reason == "length"
    assert made.usage is not None
    assert made.usage.completion_tokens == 1
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_stop_word_ends_the_answer_and_what_is_counted(client: openai.OpenAI, pictures: Pictures) -> None:
    asked: Any = {
        "model": "llava-shapes",
        "messages": [{"role": "user", "content": user("", pictures.uri("shape.png"))["content"][:1]}],
    }
    whole = client.chat.completions.create(**asked)
    cut = client.chat.completions.create(**asked, stop=[f" {COLOUR}"])
    words = whole.choices[0].message.content
    assert words == f"a {COLOUR} {FORM}"
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("a", "stop")
    assert cut.usage is not None
    assert whole.usage is not None
    assert cut.usage.completion_tokens < whole.usage.completion_tokens
    streamed = client.chat.completions.create(**asked, stop=f" {COLOUR}", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == "a"


@pytest.mark.parametrize(
    ("asked", "kind", "code", "param"),
    [
        ({"model": "nope"}, openai.NotFoundError, "model_not_found", None),
        ({"n": 2}, openai.BadRequestError, "not_supported", "n"),
        ({"tool_choice": "required"}, openai.BadRequestError, "not_supported", "tool_choice"),
        ({"tool_choice": NAMED_TOOL}, openai.BadRequestError, "not_supported", "tool_choice"),
        ({"response_format": JSON_SCHEMA}, openai.BadRequestError, "not_supported", None),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError, "not_supported", None),
        ({"messages": [{"role": "user", "content": "hi"}]}, openai.BadRequestError, "image_required", "messages"),
        (
            {"messages": [user("hi", "https://example.org/a.jpg")]},
            openai.BadRequestError,
            "image_url_not_fetched",
            "messages",
        ),
    ],
)  # fmt: skip
def test_errors_are_the_clients_own_and_asked_once(
    served: Live, pictures: Pictures, asked: Any, kind: type[openai.APIStatusError], code: str, param: str
) -> None:
    sent: list[httpx.Request] = []
    hooks: Any = {"request": [sent.append]}
    usual = {"model": "llava-shapes", "messages": [user("what?", pictures.uri("shape.png"))]}
    with openai.DefaultHttpxClient(event_hooks=hooks) as http:
        client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="EMPTY", http_client=http)
        with pytest.raises(kind) as caught:
            client.chat.completions.create(**(usual | asked))
    assert caught.value.code == code
    assert caught.value.request_id
    assert len(sent) == 1
    if param is not None:
        assert caught.value.param == param
    if code == "image_url_not_fetched":
        assert "data: URI" in caught.value.message


def test_models_are_listed_and_shown(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"lite", "llava-shapes", "lite-embed", "collection/default"} <= set(listed)
    assert all(isinstance(model.created, int) and model.owned_by for model in listed.values())
    for name in listed:
        assert client.models.retrieve(name).id == name
    shown: Any = client.models.retrieve("collection/default")
    assert shown.alias_of == "lite"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("openai/there-is-none")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("collection/nowhere")


@pytest.mark.parametrize("key", KEYS)
def test_keys_of_other_services_mean_nothing_here(served: Live, key: str) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=key) as client:
        assert client.models.retrieve("lite").id == "lite"
    assert key not in served.log.read_text()


@pytest.mark.parametrize("streamed", [True, False])
def test_a_collection_answers_with_its_label(
    client: openai.OpenAI, pictures: Pictures, streamed: bool
) -> None:
    asked: Any = {"model": "collection/default", "messages": [user("what is it?", pictures.uri("cat.jpg"))]}
    if streamed:
        chunks = client.chat.completions.create(**asked, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "cat"
        return
    assert client.chat.completions.create(**asked).choices[0].message.content == "cat"
    made = client.chat.completions.create(**asked, response_format={"type": "json_object"})
    found = json.loads(made.choices[0].message.content)
    assert (found["label"], found["rejected"]) == ("cat", False)


@pytest.mark.parametrize(("model", "says"), [("llava-shapes", FORM), ("collection/default", None)])
def test_responses_whole_and_streamed(
    client: openai.OpenAI, pictures: Pictures, model: str, says: str | None
) -> None:
    parts = [
        {"type": "input_text", "text": "what shape is shown?"},
        {"type": "input_image", "image_url": pictures.uri("shape.png" if says else "coffee.jpg")},
    ]
    asked: Any = {"model": model, "input": [{"role": "user", "content": parts}]}
    made = client.responses.create(**asked)
    assert made.output_text == (says or "coffee")
    assert made.status == "completed"
    assert made.usage is not None
    with client.responses.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.output_text == made.output_text
    assert final.usage == made.usage


def test_embeddings_equal_the_native_ones(served: Live, client: openai.OpenAI, pictures: Pictures) -> None:
    image = pictures.uri("cat.jpg")
    with served.client() as native:
        form = native.post("/v1/embeddings", files={"image": pictures.read("cat.jpg")}).json()
        root = native.post("/embeddings", json={"input": [pictures.base64("cat.jpg")], "modality": "image"})
        old = native.post("/embeddings_image", json={"input": [pictures.base64("cat.jpg")]})
        listed = native.post("/embeddings_image", json={"input": ["https://a.example/b.jpg"]})
    wanted = np.array(form["data"][0]["embedding"])
    for more in ({}, {"encoding_format": "float"}):
        made = client.embeddings.create(model="lite", input=[image], extra_body={"modality": "image"}, **more)
        np.testing.assert_allclose(made.data[0].embedding, wanted, atol=1e-6)
    for reply in (root, old):
        np.testing.assert_allclose(reply.json()["data"][0]["embedding"], wanted, atol=1e-6)
    assert (listed.status_code, listed.json()["error"]["code"]) == (400, "image_url_not_fetched")


def test_texts_and_images_keep_their_order(client: openai.OpenAI, pictures: Pictures) -> None:
    inputs = ["a cat", pictures.uri("cat.jpg"), "a cup", pictures.uri("coffee.jpg")]
    for model in ("lite-embed", "collection/default"):
        together = client.embeddings.create(model=model, input=inputs)
        assert [entry.index for entry in together.data] == [0, 1, 2, 3]
        for entry, given in zip(together.data, inputs, strict=True):
            alone = client.embeddings.create(model="lite", input=given)
            np.testing.assert_allclose(entry.embedding, alone.data[0].embedding, atol=1e-4)


def test_what_embeddings_refuse_is_said(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length"):
        client.embeddings.create(model="lite", input=[[1, 2, 3], [4]])
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        client.embeddings.create(model="lite", input="a cat", dimensions=256)
    made = client.embeddings.create(model="lite", input="a cat", extra_body={"dimensions": 0, "task": "x"})
    assert len(made.data[0].embedding) == 1472


def test_the_older_call_says_which_to_use(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="chat/completions"):
        client.completions.create(model="llava-shapes", prompt="hi")
