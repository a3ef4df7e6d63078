"""`vision review` and `vision feedback`: what people say of answers that a collection was unsure of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import drop_none, form_fields, quoted
from app.cli.options import Collection, Json
from app.cli.output import format_time
from app.cli.session import Column, Session, pass_session

_WORDS = {"right": "the guess was right", "none": "none of the labels", "skip": "skipped"}


@pass_session(Json)
def review(
    session: Session,
    collection: Annotated[str, typer.Argument(help="The collection whose pictures are reviewed.")],
    picture: Annotated[
        list[str] | None, typer.Argument(help="Ids of pictures to decide, as the list shows them.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The pictures show this; it is taught at once.")] = None,
    right: Annotated[bool, typer.Option("--right", help="The pictures show what was guessed.")] = False,
    none: Annotated[bool, typer.Option("--none", help="The pictures show none of the labels.")] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Nobody can tell what the pictures show.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the decisions on the pictures back.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="Folder to save the listed pictures in, to look at them.")
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="List the newest first.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Show how often people agreed.")] = False,
    on: Annotated[
        bool, typer.Option("--on", help="Keep unsure pictures from now on: what callers send is stored.")
    ] = False,
    keep: Annotated[int | None, typer.Option(min=1, help="With --on: most pictures.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="With --on: how long each is kept.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Keep none, and forget those that are kept.")] = False,
) -> None:
    """List the pictures that a collection was least sure of, or decide them."""
    said = {"--label": label is not None, "--right": right, "--none": none, "--skip": skip, "--undo": undo}
    asked = {"--on": on, "--off": off, "--stats": stats, "--save": save is not None, "--newest": newest}
    deciding = _choose_one(said, "say one thing of a picture")
    _check(asked, deciding, picture or [], needs_on=keep is not None or days is not None)
    path = f"/v1/collections/{quoted(collection)}"
    if deciding == "--undo":
        _undo(session, f"{path}/review", picture or [])
    elif deciding:
        body = drop_none(label=label, decision=deciding[2:] if label is None else None)
        _decide(session, f"{path}/review", picture or [], body)
    elif on or off:
        _switch(session, path, collection, drop_none(keep=keep, days=days) if on else None)
    elif stats:
        session.print_result(session.service.get(f"{path}/review/stats"), _print_stats)
    else:
        _list(session, path, collection, save, newest=newest)


@pass_session(Json)
def feedback(
    session: Session,
    image: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The picture that was asked about.")
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option(help="In its place the X-Request-ID of the answer, while the review queue keeps it."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="What it shows; taught at once.")] = None,
    right: Annotated[bool, typer.Option("--right", help="It shows the predicted label.")] = False,
    none: Annotated[bool, typer.Option("--none", help="It shows none of the labels.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what was said of it.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="With --label or --right: take its other labels away.")
    ] = False,
    collection: Collection = "default",
) -> None:
    """Say what a picture shows that the service was asked about."""
    given = {"--label": label is not None, "--right": right, "--none": none, "--undo": undo}
    if not _choose_one(given, "say one thing of the picture"):
        output.fail("say what the picture shows: --label NAME, --right, --none or --undo", output.USAGE)
    if replace and (none or undo):
        output.fail("--replace goes with --label and --right", output.USAGE)
    if (image is None) == (request_id is None):
        output.fail("name the picture by --image or by --request-id, one of the two", output.USAGE)
    said = drop_none(
        collection=collection,
        request_id=request_id,
        label=label,
        right=right or None,
        none=none or None,
        undo=undo or None,
        replace=replace or None,
    )
    if image is None:
        reply = session.service.call("POST", "/v1/feedback", json=said, again=not undo)
    else:
        reply = session.service.send("/v1/feedback", form_fields(**said), image=image)
    session.print_result(reply, lambda reply: _print_feedback(reply, undone=undo))


def _choose_one(flags: Mapping[str, bool], what: str) -> str:
    """The flag that was given; ends the command where several were."""
    given = [flag for flag, is_given in flags.items() if is_given]
    if len(given) > 1:
        output.fail(f"{what}: {' or '.join(given)}", output.USAGE)
    return given[0] if given else ""


def _check(asked: Mapping[str, bool], deciding: str, pictures: list[str], *, needs_on: bool) -> None:
    """End the command where its flags do not go together."""
    others = [flag for flag, is_given in asked.items() if is_given]
    if deciding and not pictures:
        output.fail(
            f"{deciding} needs the ids of pictures: `vision review COLLECTION` lists them", output.USAGE
        )
    if pictures and not deciding:
        output.fail(
            "say what the pictures show: --label NAME, --right, --none, --skip or --undo", output.USAGE
        )
    if deciding and others:
        output.fail(f"{deciding} does not go with {others[0]}", output.USAGE)
    if len(others) > 1 and set(others) != {"--save", "--newest"}:
        output.fail(f"one at a time: {' or '.join(others)}", output.USAGE)
    if needs_on and not asked["--on"]:
        output.fail("--keep and --days go with --on", output.USAGE)


def _list(session: Session, path: str, collection: str, save: Path | None, *, newest: bool) -> None:
    rows = list(session.service.pages(f"{path}/review", order="newest" if newest else "margin"))
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        for row in rows:
            session.service.save(f"{row['image']}?size=1024", save / f"{row['id']}.jpg")
    empty = f"No picture of {collection} waits."
    if not rows and session.service.get(path)["review"] is None:
        empty = f"{collection} keeps no pictures for review: vision review {collection} --on"
    columns: dict[str, Column] = {
        "id": "id",
        "guess": lambda row: f"{row['guess']} {row['scores'][0]['score']:.3f}",
        "or": lambda row: " ".join(f"{score['label']} {score['score']:.3f}" for score in row["scores"][1:3]),
        "rejected": lambda row: "rejected" if row["rejected"] else "",
        "asked": lambda row: format_time(row["created_at"]),
    }
    session.print_rows({"data": rows, "next": None}, columns, empty=empty)
    if save is not None and rows:
        session.say(f"Saved {len(rows)} pictures in {save}")


def _decide(session: Session, path: str, pictures: list[str], body: dict[str, Any]) -> None:
    """All of them or none; one alone is answered by itself."""
    if len(pictures) == 1:
        reply = session.service.call("POST", f"{path}/{quoted(pictures[0])}", json=body)
        session.print_result(reply, lambda reply: _print_decided([reply]))
        return
    reply = session.service.call("POST", path, json={"ids": pictures, **body})
    session.print_result(reply, lambda reply: _print_decided(reply["data"]))


def _undo(session: Session, path: str, pictures: list[str]) -> None:
    undone = []
    for picture in pictures:
        undone.append(session.service.call("DELETE", f"{path}/{quoted(picture)}/decision"))
        session.say(f"{picture} waits again")
    if session.json:
        output.print_json({"data": undone})


def _switch(session: Session, path: str, collection: str, span: dict[str, int] | None) -> None:
    changed = session.service.call("PATCH", path, json={"review": span})
    kept = changed["review"]
    sentence = f"{collection} keeps no pictures for review"
    if kept is not None:
        sentence = (
            f"{collection} keeps up to {kept['keep']} unsure pictures of its callers for {kept['days']} days"
        )
    session.print_result(changed, sentence)


def _print_decided(decided: list[dict[str, Any]]) -> None:
    for decision in decided:
        what = (
            f"taught as {decision['label']}"
            if decision["label"] is not None
            else _WORDS[decision["decision"]]
        )
        output.say(f"{decision['id']}: {what}")
    output.say(f"{decided[-1]['waiting']} left")


def _print_feedback(reply: dict[str, Any], *, undone: bool) -> None:
    collection = reply["collection"]
    if undone:
        output.say(f"Taken back what was said of it in {collection}")
    elif reply["label"] is None:
        output.say(f"Noted that it shows none of the labels of {collection}")
    else:
        output.say(f"Taught {reply['label']} in {collection}: {reply['example']}")
    if reply["other_labels"]:
        output.say(f"The same picture also has the labels {', '.join(reply['other_labels'])} there")
    if reply["replaced_labels"]:
        output.say(f"It no longer has the labels {', '.join(reply['replaced_labels'])} there")


def _print_stats(reply: dict[str, Any]) -> None:
    agreement = reply["agreement"]
    facts = [
        (name, str(reply[name])) for name in ("waiting", "decided", "right", "relabelled", "none", "skipped")
    ]
    facts.append(("agreement", "" if agreement is None else f"{agreement:.3f}"))
    if reply["curve"]:
        recent = reply["curve"][-1]["agreement"]
        facts.append(("of the last 20", f"{recent:.3f}"))
    output.print_facts(facts)
