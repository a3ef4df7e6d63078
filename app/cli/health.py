"""`vision health`: what may be wrong with what a collection was taught."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import drop_none, quoted
from app.cli.options import Json
from app.cli.session import Session, pass_session


@pass_session(Json)
def health(
    session: Session,
    name: Annotated[str, typer.Argument(help="Name of the collection.")] = "default",
    limit: Annotated[int | None, typer.Option(min=1, help="Most findings of each kind to show.")] = None,
) -> None:
    """Show examples whose labels look wrong, pictures that were taught twice, labels that overlap or have few examples,
    and how well each label is recognised.
    """
    path = f"/v1/collections/{quoted(name)}/health"
    session.print_result(session.service.call("GET", path, params=drop_none(limit=limit)), _print_health)


def _print_health(reply: dict[str, Any]) -> None:
    suspects = [
        [suspect["id"], suspect["label"], suspect["told"], f"{suspect['probability']:.3f}"]
        for suspect in reply["suspects"]
    ]
    head = ["suspect example", "label", "predicted by the others", "label is right"]
    output.print_table(head, suspects, empty="No example's label looks wrong." if reply["examined"] else "")
    pairs = [
        [*pair["examples"], " / ".join(dict.fromkeys(pair["labels"])), f"{pair['similarity']:.3f}"]
        for pair in reply["near_duplicates"]
    ]
    _print_next(["near-duplicate", "of", "label", "similarity"], pairs, bool(suspects))
    labels = [
        [label["label"], str(label["examples"]), "" if label["recall"] is None else f"{label['recall']:.3f}"]
        for label in reply["labels"]
    ]
    _print_next(["label", "examples", "held-out recall"], labels, bool(suspects or pairs))
    for overlap in reply["overlapping_labels"]:
        output.say(f"Overlapping labels: {overlap['sentence']}")
    if reply["small_labels"]:
        small = ", ".join(f"{label['label']} ({label['examples']})" for label in reply["small_labels"])
        output.say(f"Labels of fewer than three examples: {small}")
    for note in reply["notes"]:
        output.say(note)
    _say_what_to_do(reply)


def _print_next(head: list[str], rows: list[list[str]], is_after_another: bool) -> None:
    if rows and is_after_another:
        output.out.print()
    output.print_table(head, rows, empty="")


def _say_what_to_do(reply: dict[str, Any]) -> None:
    found = [(suspect["id"], suspect["image"]) for suspect in reply["suspects"]]
    found += [(pair["examples"][0], pair["images"][0]) for pair in reply["near_duplicates"]]
    if not found:
        return
    example, image = found[0]
    here = f"-c {reply['collection']}"
    output.say(
        f"vision oneshot relabel ID --label LABEL {here} changes an example's label, vision oneshot forget ID {here} "
        f"removes it; its picture is at {image.replace(example, 'ID')}"
    )
