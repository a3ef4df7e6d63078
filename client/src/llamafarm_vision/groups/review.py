"""Review and feedback: the pictures that a collection was least sure of, and what people say they show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from llamafarm_vision.flows import exchange, fetch, list_rows, send
from llamafarm_vision.images import ImageInput
from llamafarm_vision.replies.recognition import Collection
from llamafarm_vision.replies.review import Feedback, ReviewDecision, ReviewPicture, ReviewStats
from llamafarm_vision.steps import Call, Flow, ItemFlow, drop_none, form_fields, quote_segment
from llamafarm_vision.verbs import Carrier, Group, Listing, Verb

Decision = Literal["right", "none", "skip"]


def _path(collection: str, *rest: str) -> str:
    return "/".join(["/v1/collections", *map(quote_segment, (collection, "review", *rest))])


def keep_pictures(
    collection: str = "default", *, keep: int | None = None, days: int | None = None
) -> Flow[Collection]:
    """Keep the pictures that a collection is least sure of from now on; what callers send is then stored.

    Args:
        keep: Most pictures; 500 if empty.
        days: How long each is kept; 30 if empty.
    """
    return _set_review(collection, drop_none(keep=keep, days=days))


def keep_nothing(collection: str = "default") -> Flow[Collection]:
    """Keep no pictures any more, and forget those that are kept."""
    return _set_review(collection, None)


def _set_review(collection: str, span: dict[str, int] | None) -> Flow[Collection]:
    path = f"/v1/collections/{quote_segment(collection)}"
    return fetch(Call("PATCH", path, json={"review": span}, is_repeatable=True), Collection)


def list_pictures(collection: str = "default", *, order: str | None = None) -> ItemFlow[ReviewPicture]:
    """The pictures that wait: the least sure first, or by the order `newest`."""
    return list_rows(_path(collection), ReviewPicture.model_validate, order=order)


def get_picture_image(picture: str, *, collection: str = "default", size: int | None = None) -> Flow[bytes]:
    """A JPEG of a picture; `size` is the longer side in pixels."""
    path = _path(collection, picture, "image")
    reply = yield from exchange(Call("GET", path, params=drop_none(size=size), is_repeatable=True))
    content: bytes = reply.content
    return content


def decide_picture(
    picture: str,
    *,
    label: str | None = None,
    decision: Decision | None = None,
    guess: str | None = None,
    collection: str = "default",
) -> Flow[ReviewDecision]:
    """Say what a picture shows, by a label or a decision; a label, or that the guess is right, is taught at once.

    Args:
        decision: `right`, `none` of the labels, or `skip`.
        guess: With `right`, the guess that was seen; refused where it is another one by now.
    """
    body = drop_none(label=label, decision=decision, guess=guess)
    return fetch(Call("POST", _path(collection, picture), json=body), ReviewDecision)


def decide_pictures(
    pictures: Sequence[str],
    *,
    label: str | None = None,
    decision: Decision | None = None,
    collection: str = "default",
) -> Flow[list[ReviewDecision]]:
    """The same of several pictures: all of them or none."""
    body = {"ids": list(pictures), **drop_none(label=label, decision=decision)}
    reply = yield from send(Call("POST", _path(collection), json=body))
    return [ReviewDecision.model_validate(found) for found in reply["data"]]


def undo_decision(picture: str, *, collection: str = "default") -> Flow[ReviewDecision]:
    """Take a decision back: what it taught is forgotten, and the picture waits again."""
    return fetch(Call("DELETE", _path(collection, picture, "decision")), ReviewDecision)


def get_stats(collection: str = "default") -> Flow[ReviewStats]:
    """How many pictures wait, how often people agreed, and how that went as the collection learned."""
    return fetch(Call("GET", _path(collection, "stats"), is_repeatable=True), ReviewStats)


def give_feedback(
    image: ImageInput | None = None,
    *,
    request_id: str | None = None,
    label: str | None = None,
    right: bool = False,
    none: bool = False,
    undo: bool = False,
    replace: bool = False,
    collection: str = "default",
) -> Flow[Feedback]:
    """Say what a picture shows that the service was asked about: by one of `label`, `right`, `none` and `undo`.

    Args:
        request_id: In place of the image, the `X-Request-ID` of the answer, as long as the picture is kept for review.
        right: Whether the predicted label is right.
        none: Whether it shows none of the labels; what feedback had taught of it before is forgotten.
        undo: Whether what was said of it is taken back; refused where nothing was.
        replace: With a label or `right`, whether the picture loses the other ones that it has.
    """
    said = drop_none(
        collection=collection,
        request_id=request_id,
        label=label,
        right=right or None,
        none=none or None,
        undo=undo or None,
        replace=replace or None,
    )
    call = Call("POST", "/v1/feedback", json=said, is_repeatable=not undo)
    if image is not None:
        call = dataclasses.replace(call, json=None, form=form_fields(**said), images=(("image", image),))
    return fetch(call, Feedback)


class Review(Group[Carrier]):
    """Pictures that a collection was least sure of, for people to decide."""

    keep = Verb(keep_pictures)
    keep_nothing = Verb(keep_nothing)
    list = Listing(list_pictures)
    image = Verb(get_picture_image)
    decide = Verb(decide_picture)
    decide_many = Verb(decide_pictures)
    undo = Verb(undo_decision)
    stats = Verb(get_stats)
