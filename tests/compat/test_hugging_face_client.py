"""The real `huggingface_hub.InferenceClient` against a served instance."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image

from tests.compat.conftest import COLOUR, FORM, Pictures
from tests.live import Live


def ask(served: Live, task: str, token: str | None = None) -> InferenceClient:
    return InferenceClient(base_url=f"{served.url}/hf/{task}", token=token)


def test_classification_of_bytes_and_files(served: Live, pictures: Pictures) -> None:
    for given in (pictures.read("cat.jpg"), pictures.path("cat.jpg"), Path(pictures.path("cat.jpg"))):
        found = ask(served, "image-classification").image_classification(given)
        assert [entry.label for entry in found] == ["cat", "coffee"]
    client = ask(served, "image-classification/default", token="hf_AbCdEfGhIj")
    assert [entry.label for entry in client.image_classification(pictures.read("cat.jpg"), top_k=1)] == [
        "cat"
    ]
    [other] = ask(served, "image-classification").image_classification(pictures.read("rocket.jpg"), top_k=1)
    assert other["rejected"] is True


def test_the_client_itself_takes_bytes_and_paths_only(served: Live, pictures: Pictures) -> None:
    # docs/clients.md says so: a version of it that takes more makes this fail, and the page wrong
    with Image.open(pictures.path("cat.jpg")) as image, pytest.raises(ValueError, match="binary inputs"):
        ask(served, "image-classification").image_classification(image)
    with (
        Path(pictures.path("cat.jpg")).open("rb") as file,
        pytest.raises(ValueError, match="binary inputs"),
    ):
        ask(served, "image-classification").image_classification(file)


def test_labels_of_ones_own(served: Live, pictures: Pictures) -> None:
    found = ask(served, "zero-shot-image-classification").zero_shot_image_classification(
        pictures.path("cat.jpg"), candidate_labels=["a cat", "a rocket"]
    )
    assert found[0].label == "a cat"
    assert found[0].score > found[1].score


def test_captions_questions_and_vectors(served: Live, pictures: Pictures) -> None:
    shape = pictures.read("shape.png")
    assert ask(served, "image-to-text").image_to_text(shape).generated_text == f"a {COLOUR} {FORM}"
    [found] = ask(served, "visual-question-answering").visual_question_answering(
        shape, question="what color is the shape?"
    )
    assert (found.answer, found.score) == (COLOUR, 1.0)
    assert ask(served, "feature-extraction").feature_extraction("a cat").shape == (1, 1472)
    assert ask(served, "feature-extraction").feature_extraction(["a", "b"]).shape == (2, 1472)


def test_chat_as_it_appends_the_path_itself(served: Live, pictures: Pictures) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": pictures.uri("shape.png")}},
        {"type": "text", "text": "what color is the shape?"},
    ]
    messages = [{"role": "user", "content": parts}]
    for base in (f"{served.url}/v1", served.url):
        client = InferenceClient(base_url=base)
        made: Any = client.chat_completion(messages)
        assert made.choices[0].message.content == COLOUR
        pieces = client.chat_completion(messages, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == COLOUR


def test_a_jpeg_of_13_mib(served: Live, pictures: Pictures) -> None:
    with Image.open(pictures.path("cat.jpg")) as image:
        sink = io.BytesIO()
        image.save(sink, "JPEG", quality=95)
    large = sink.getvalue() + bytes(13 * 1024 * 1024 - sink.tell())  # readers stop at the end of the image
    found = ask(served, "image-classification").image_classification(large)
    assert found[0].label == "cat"


@pytest.mark.parametrize(
    ("address", "data", "sentence"),
    [
        ("image-classification", b"broken", "send a whole JPEG"),
        ("image-classification/nowhere", None, "There is no collection 'nowhere'"),
        ("no-such-task", None, "it must be 'image-classification'"),
    ],
)
def test_errors_are_told_in_our_sentence(
    served: Live, pictures: Pictures, address: str, data: bytes | None, sentence: str
) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        ask(served, address).image_classification(data or pictures.read("cat.jpg"))
    assert sentence in str(caught.value)
    assert caught.value.request_id
