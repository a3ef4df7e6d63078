"""What an image shows: labels, words, neighbours, vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from llamafarm_vision.errors import ServiceFailedError, error_of_problem
from llamafarm_vision.flows import EventReader, Row, ServerEvent, exchange, fetch, send
from llamafarm_vision.images import ImageInput
from llamafarm_vision.replies.answers import Answer, AnswerPiece, Caption, CaptionPiece
from llamafarm_vision.replies.recognition import (
    AddedExample,
    Classification,
    Embeddings,
    SearchResult,
)
from llamafarm_vision.steps import Call, Emit, Flow, ItemFlow, Open, drop_none, form_fields, quote_segment

IMAGES_PER_REQUEST = 16
"""Of several images; half of what a service accepts unless it is set otherwise, so that the first answer comes soon."""


def classify(
    image: ImageInput,
    *,
    labels: Sequence[str] | None = None,
    collection: str | None = None,
    model: str | None = None,
    threshold: float | None = None,
    top_k: int | None = None,
    coverage: float | None = None,
    neighbours: int | None = None,
) -> Flow[Classification]:
    """Say what an image shows.

    Args:
        labels: Choose among these, without any example; else among what the collection was taught.
        collection: Set of labels; `default` where neither this nor `labels` is given.
        model: Encoder or trained classifier; the collection's own if empty.
        threshold: Reject below this probability, 0 to 1; 0 accepts everything.
        top_k: How many scores to show.
        coverage: Give the set of labels that holds the right one with this probability too, .5 to .999.
        neighbours: Give so many of the collection's examples that look most like the image too, at most 20.
    """
    form = _classify_form(labels, collection, model, threshold, top_k, coverage, neighbours)
    return fetch(_image_call("/v1/classify", form, image), Classification)


def classify_many(
    images: Sequence[ImageInput],
    *,
    labels: Sequence[str] | None = None,
    collection: str | None = None,
    model: str | None = None,
    threshold: float | None = None,
    top_k: int | None = None,
    coverage: float | None = None,
    neighbours: int | None = None,
) -> ItemFlow[Classification]:
    """Say of each image what it shows, in order; several go in one request. The arguments are those of `classify`."""
    form = _classify_form(labels, collection, model, threshold, top_k, coverage, neighbours)
    for some in _in_batches(images):
        reply = yield from send(_image_call("/v1/classify", form, *some))
        # one image is answered by itself, several by a list
        for found in reply.get("data", [reply]):
            yield Emit(Classification.model_validate(found))


def learn(
    images: ImageInput | Sequence[ImageInput],
    label: str,
    *,
    description: str | None = None,
    replace: bool = False,
    collection: str = "default",
) -> Flow[list[AddedExample]]:
    """Teach a label with one image or several; all that go in one request are learned, or none.

    Args:
        description: A few more words about the label.
        replace: Take the images' other labels in the collection away.
    """
    form = form_fields(label=label, description=description, replace=replace or None)
    path = f"/v1/collections/{quote_segment(collection)}/examples"
    added: list[AddedExample] = []
    for some in _in_batches(_to_list(images)):
        reply = yield from send(_image_call(path, form, *some, field="images"))
        added += map(AddedExample.model_validate, reply["data"])
    return added


def forget(example: str, *, collection: str = "default") -> Flow[None]:
    """Forget one example by its id; its label goes with the last of them."""
    path = f"/v1/collections/{quote_segment(collection)}/examples/{quote_segment(example)}"
    yield from send(Call("DELETE", path))


def search(
    image: ImageInput | None = None,
    *,
    text: str | None = None,
    collection: str | None = None,
    top_k: int | None = None,
    coverage: float | None = None,
) -> Flow[SearchResult]:
    """Find the examples of a collection that look like an image, or like what a text says."""
    if (image is None) == (text is None):
        raise TypeError("search takes an image or a text")
    if image is None:
        call = _json_call("/v1/search", text=text, collection=collection, top_k=top_k)
    else:
        call = _image_call("/v1/search", form_fields(collection=collection, top_k=top_k), image)
    return fetch(call, SearchResult)


def embed(
    images: ImageInput | Sequence[ImageInput] = (),
    texts: str | Sequence[str] = (),
    *,
    model: str | None = None,
) -> Flow[Embeddings]:
    """Turn images and texts into unit vectors of one space; those of the images come first."""
    some_images = _to_list(images)
    some_texts = [texts] if isinstance(texts, str) else list(texts)
    # base64 is a third as long as the numbers written out
    if not some_images:
        call = _json_call("/v1/embeddings", input=some_texts, model=model, encoding_format="base64")
    else:
        form = form_fields(input=some_texts or None, model=model, encoding_format="base64")
        call = _image_call("/v1/embeddings", form, *some_images)
    return fetch(call, Embeddings)


def ask(
    image: ImageInput,
    question: str,
    *,
    collection: str | None = None,
    k: int | None = None,
    model: str | None = None,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    strict: bool = False,
) -> Flow[Answer]:
    """Answer a question about an image.

    Args:
        collection: Show the model this collection's answer examples.
        k: How many of them; 0 for none.
        model: Vision-language model; the service's default if empty.
        strict: Fail, instead of warning, where the model knows nothing like the image.
    """
    form = form_fields(question=question, collection=collection, k=k)
    form |= _generation(model, max_new_tokens, temperature, top_p, strict)
    return fetch(_image_call("/v1/vqa", form, image), Answer)


def ask_stream(
    image: ImageInput,
    question: str,
    *,
    collection: str | None = None,
    k: int | None = None,
    model: str | None = None,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    strict: bool = False,
) -> ItemFlow[AnswerPiece]:
    """The same, piece by piece while the model writes; the last piece holds the whole reply."""
    form = form_fields(question=question, collection=collection, k=k)
    form |= _generation(model, max_new_tokens, temperature, top_p, strict)
    return stream_answer("/v1/vqa", form, image, _answer_piece)


def caption(
    image: ImageInput,
    *,
    prompt: str | None = None,
    model: str | None = None,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    strict: bool = False,
) -> Flow[Caption]:
    """Describe an image in words; `prompt` says what to describe, or how. The others are those of `ask`."""
    form = form_fields(prompt=prompt) | _generation(model, max_new_tokens, temperature, top_p, strict)
    return fetch(_image_call("/v1/caption", form, image), Caption)


def caption_stream(
    image: ImageInput,
    *,
    prompt: str | None = None,
    model: str | None = None,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    strict: bool = False,
) -> ItemFlow[CaptionPiece]:
    """The same, piece by piece while the model writes; the last piece holds the whole reply."""
    form = form_fields(prompt=prompt) | _generation(model, max_new_tokens, temperature, top_p, strict)
    return stream_answer("/v1/caption", form, image, _caption_piece)


def augment(
    image: ImageInput,
    *,
    rotation: float | None = None,
    brightness: float | None = None,
    noise: float | None = None,
    crop: float | None = None,
    flip: bool | None = None,
    count: int | None = None,
    seed: int | None = None,
) -> Flow[bytes]:
    """A PNG with the image and `count` changed copies of it, as training shows them to a model."""
    form = form_fields(
        rotation=rotation, brightness=brightness, noise=noise, crop=crop, flip=flip, count=count, seed=seed
    )
    content: bytes = (yield from exchange(_image_call("/v1/augment", form, image))).content
    return content


def stream_answer(
    path: str, form: Mapping[str, str], image: ImageInput, convert: Callable[[ServerEvent], Row]
) -> ItemFlow[Row]:
    """The events `token` and `done` of a streamed answer, converted.

    Raises `RefusedError` where the service refuses, and for an answer that fails midway or ends before it is whole.
    """
    yield from exchange(_image_call(path, {**form, "stream": "true"}, image), Open)
    reader = EventReader()
    while (event := (yield from reader.read())) is not None:
        if event.name == "error":
            raise error_of_problem(event.data)
        yield Emit(convert(event))
        if event.name == "done":
            return
    raise ServiceFailedError(502, "the answer ended early")


def _answer_piece(event: ServerEvent) -> AnswerPiece:
    return AnswerPiece(reply=event.data) if event.name == "done" else AnswerPiece(text=event.data["text"])


def _caption_piece(event: ServerEvent) -> CaptionPiece:
    return CaptionPiece(reply=event.data) if event.name == "done" else CaptionPiece(text=event.data["text"])


def _image_call(path: str, form: Mapping[str, str], *images: ImageInput, field: str = "image") -> Call:
    fields = tuple((field, image) for image in images)
    return Call("POST", path, form=form, images=fields, is_repeatable=True)


def _json_call(path: str, **body: Any) -> Call:
    return Call("POST", path, json=drop_none(**body), is_repeatable=True)


def _classify_form(
    labels: Sequence[str] | None,
    collection: str | None,
    model: str | None,
    threshold: float | None,
    top_k: int | None,
    coverage: float | None,
    neighbours: int | None,
) -> dict[str, str]:
    return form_fields(
        labels=None if labels is None else list(labels),
        collection=collection,
        model=model,
        threshold=threshold,
        top_k=top_k,
        coverage=coverage,
        neighbours=neighbours,
    )


def _generation(
    model: str | None,
    max_new_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    strict: bool,
) -> dict[str, str]:
    return form_fields(
        model=model,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        strict=strict or None,
    )


def _to_list(images: ImageInput | Sequence[ImageInput]) -> list[ImageInput]:
    # bytes and arrays are sequences too, but of numbers
    return list(images) if isinstance(images, list | tuple) else [cast(ImageInput, images)]


def _in_batches(images: Sequence[ImageInput]) -> Iterator[Sequence[ImageInput]]:
    for start in range(0, len(images), IMAGES_PER_REQUEST):
        yield images[start : start + IMAGES_PER_REQUEST]
