"""Collections: sets of labels with their examples, and the answers taught to questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llamafarm_vision.flows import exchange, fetch, list_rows, send
from llamafarm_vision.images import ImageInput
from llamafarm_vision.replies.answers import AddedAnswerExample, AnswerExample
from llamafarm_vision.replies.jobs import Job
from llamafarm_vision.replies.recognition import (
    ChangedExamples,
    Collection,
    CollectionHealth,
    Example,
    Label,
    RenamedLabel,
)
from llamafarm_vision.steps import Call, Flow, ItemFlow, drop_none, form_fields, quote_segment
from llamafarm_vision.verbs import Carrier, Group, Listing, Verb


def _path(collection: str, *rest: str) -> str:
    return "/".join(["/v1/collections", *map(quote_segment, (collection, *rest))])


def list_collections() -> ItemFlow[Collection]:
    """Every collection, by name."""
    return list_rows("/v1/collections", Collection.model_validate)


def create_collection(
    name: str, *, encoder: str | None = None, label_shares: str | None = None
) -> Flow[Collection]:
    """Make a collection, bound to one encoder; the service's default if empty.

    Args:
        label_shares: `equal`, or `examples`: expect each label as often as there are examples of it.
    """
    body = drop_none(name=name, encoder=encoder, label_shares=label_shares)
    return fetch(Call("POST", "/v1/collections", json=body), Collection)


def get_collection(name: str) -> Flow[Collection]:
    """One collection."""
    return fetch(Call("GET", _path(name), is_repeatable=True), Collection)


def bind_collection(name: str, encoder: str) -> Flow[Job]:
    """Bind a collection to another encoder: the job embeds every example again, then it changes over."""
    return fetch(Call("PATCH", _path(name), json={"encoder": encoder}), Job)


def expect_labels(name: str, label_shares: str) -> Flow[Collection]:
    """Say how often each label is to be expected: `equal`, or as the `examples`."""
    return fetch(
        Call("PATCH", _path(name), json={"label_shares": label_shares}, is_repeatable=True), Collection
    )


def examine_collection(name: str = "default", *, limit: int | None = None) -> Flow[CollectionHealth]:
    """Examples whose labels look wrong or that are nearly the same picture, labels that overlap or have few examples,
    and how well each is learned.
    """
    call = Call("GET", _path(name, "health"), params=drop_none(limit=limit), is_repeatable=True)
    return fetch(call, CollectionHealth)


def delete_collection(name: str) -> Flow[None]:
    """Delete a collection with all its labels and examples."""
    yield from send(Call("DELETE", _path(name)))


def list_labels(collection: str = "default") -> ItemFlow[Label]:
    """A collection's labels, by name."""
    return list_rows(_path(collection, "labels"), Label.model_validate)


def rename_label(
    label: str, name: str, *, collection: str = "default", merge: bool = False
) -> Flow[RenamedLabel]:
    """Give a label another name.

    Args:
        merge: Where there is a label of that name, put the two together; of an image that both have one example stays.
    """
    body = drop_none(name=name, merge=merge or None)
    call = Call("PATCH", _path(collection, "labels", label), json=body, is_repeatable=True)
    return fetch(call, RenamedLabel)


def list_examples(
    *, label: str | None = None, image_sha256: str | None = None, collection: str = "default"
) -> ItemFlow[Example]:
    """A collection's examples, by label; `label` shows only its own, `image_sha256` only those of one image."""
    path = _path(collection, "examples")
    return list_rows(path, Example.model_validate, label=label, image_sha256=image_sha256)


def relabel_example(example: str, label: str, *, collection: str = "default") -> Flow[Example]:
    """Give an example another label, one of the collection's or a new one."""
    path = _path(collection, "examples", example)
    return fetch(Call("PATCH", path, json={"label": label}, is_repeatable=True), Example)


def relabel_examples(
    examples: Sequence[str], label: str, *, collection: str = "default", merge: bool = False
) -> Flow[ChangedExamples]:
    """Give several examples another label: all of them or, where one is refused, none.

    Args:
        merge: Forget those whose image has the label already, instead of refusing them all.
    """
    return _change_examples(collection, ids=list(examples), label=label, merge=merge or None)


def forget_examples(examples: Sequence[str], *, collection: str = "default") -> Flow[ChangedExamples]:
    """Forget several examples: all of them or, where one is not there, none."""
    return _change_examples(collection, ids=list(examples), delete=True)


def _change_examples(collection: str, **body: Any) -> Flow[ChangedExamples]:
    path = _path(collection, "examples", "bulk")
    return fetch(Call("POST", path, json=drop_none(**body), is_repeatable=True), ChangedExamples)


def get_example(example: str, *, collection: str = "default") -> Flow[Example]:
    """One example."""
    return fetch(Call("GET", _path(collection, "examples", example), is_repeatable=True), Example)


def get_example_image(example: str, *, collection: str = "default", size: int | None = None) -> Flow[bytes]:
    """A JPEG of what an example looks like; `size` is the longer side in pixels."""
    return _get_image(_path(collection, "examples", example, "image"), size)


def learn_answer(
    image: ImageInput, question: str, answer: str, *, collection: str = "default"
) -> Flow[AddedAnswerExample]:
    """Teach the answer to a question about an image; asking again replaces the answer."""
    form = form_fields(question=question, answer=answer)
    path = _path(collection, "answers")
    call = Call("POST", path, form=form, images=(("image", image),), is_repeatable=True)
    return fetch(call, AddedAnswerExample)


def list_answers(collection: str = "default") -> ItemFlow[AnswerExample]:
    """A collection's answer examples."""
    return list_rows(_path(collection, "answers"), AnswerExample.model_validate)


def get_answer(answer: str, *, collection: str = "default") -> Flow[AnswerExample]:
    """One answer example."""
    return fetch(Call("GET", _path(collection, "answers", answer), is_repeatable=True), AnswerExample)


def get_answer_image(answer: str, *, collection: str = "default", size: int | None = None) -> Flow[bytes]:
    """A JPEG of what an answer example is about; `size` is the longer side in pixels."""
    return _get_image(_path(collection, "answers", answer, "image"), size)


def forget_answer(answer: str, *, collection: str = "default") -> Flow[None]:
    """Forget one answer example by its id."""
    yield from send(Call("DELETE", _path(collection, "answers", answer)))


def _get_image(path: str, size: int | None) -> Flow[bytes]:
    reply = yield from exchange(Call("GET", path, params=drop_none(size=size), is_repeatable=True))
    content: bytes = reply.content
    return content


class Collections(Group[Carrier]):
    """Sets of labels, each bound to one encoder."""

    list = Listing(list_collections)
    create = Verb(create_collection)
    get = Verb(get_collection)
    bind = Verb(bind_collection)
    expect = Verb(expect_labels)
    health = Verb(examine_collection)
    delete = Verb(delete_collection)
    labels = Listing(list_labels)
    rename_label = Verb(rename_label)


class Examples(Group[Carrier]):
    """What was taught; `vision.learn` and `vision.forget` change it too."""

    list = Listing(list_examples)
    get = Verb(get_example)
    image = Verb(get_example_image)
    relabel = Verb(relabel_example)
    relabel_many = Verb(relabel_examples)
    forget_many = Verb(forget_examples)


class Answers(Group[Carrier]):
    """Answers that were taught to questions about images."""

    learn = Verb(learn_answer)
    list = Listing(list_answers)
    get = Verb(get_answer)
    image = Verb(get_answer_image)
    forget = Verb(forget_answer)
