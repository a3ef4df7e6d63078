"""`vision oneshot ...`: teach labels with images and recognise them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.answering import warn
from app.cli.client import Service, drop_none, form_fields, quoted
from app.cli.files import image_files
from app.cli.labelled_folders import FolderRules, list_labelled_files
from app.cli.model_folders import model_id
from app.cli.options import Collection, Images, Json, LabelsFromOption, OwnSplitOption
from app.cli.output import format_time
from app.cli.rows import each, end, send_one
from app.cli.session import Column, Session, pass_session
from app.cli.wording import count_examples
from app.errors import suggest_names

_MAX_SAID = 5
_PROMISES = {
    "label": "promised for each label",
    "average": "promised on average over the labels as they were taught",
    "none": "not promised",
}

_Coverage = Annotated[
    float | None,
    typer.Option(
        min=0.5, max=0.999, help="Show besides which labels hold the right one with this probability."
    ),
]
_Neighbours = Annotated[
    int,
    typer.Option(
        min=0, max=20, help="Show besides so many of the taught examples that look most like the image."
    ),
]

app = typer.Typer(help="Teach labels with one image each, and recognise them.", no_args_is_help=True)


@app.command()
@pass_session(Json)
def learn(
    session: Session,
    image: Annotated[
        list[Path],
        typer.Option(
            exists=True,
            help="Image or folder of images; repeat for several. A folder of folders teaches"
            " each inner folder's name as a label, but not what its own split keeps for tests.",
        ),
    ],
    label: Annotated[str | None, typer.Option(help="What the images show.")] = None,
    description: Annotated[str | None, typer.Option(help="A few more words about the label.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the images' other labels in the collection away.")
    ] = False,
    collection: Collection = "default",
    labels_from: LabelsFromOption = "auto",
    own_split: OwnSplitOption = "keep",
) -> None:
    """Teach a label with one or more images."""
    files = list_labelled_files(image, label, FolderRules(labels_from, own_split))
    path = f"/v1/collections/{quoted(collection)}/examples"
    common = form_fields(description=description or None, replace=replace or None)
    rows = each("Learning", files, partial(_learn_one, session.service, path, common))
    session.print_rows({"data": rows}, {"label": "label", "image": "file", "id": "id", "error": "error"})
    if not rows.is_interrupted:
        learned = sum("error" not in row for row in rows)
        session.say(f"Learned {learned} of {count_examples(len(rows))} in {collection}")
    if not session.json:
        _say_other_labels(rows, collection)
    end(rows, f"learned in {collection}; the same command goes on with the others")


@app.command()
@pass_session(Json)
def classify(
    session: Session,
    image: Images,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Reject below this score; 0 accepts everything.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Scores to show for one image.")] = None,
    coverage: _Coverage = None,
    neighbours: _Neighbours = 0,
    labels: Annotated[
        str | None,
        typer.Option(help="Comma-separated or a JSON list: choose among these, without any example."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model to recognise with: an id, or the folder of a trained one.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Set of labels; `default` without it.")
    ] = None,
) -> None:
    """Say what an image shows, or each image of a folder."""
    files = image_files(image)
    service = session.service
    form = form_fields(
        threshold=threshold,
        top_k=top_k,
        coverage=coverage,
        neighbours=neighbours or None,
        labels=labels,
        model=model_id(service, model),
        collection=collection,
    )
    if len(files) == 1 and not image[0].is_dir():
        session.print_result(send_one(session, "/v1/classify", form, files[0]), _print_scores)
        return
    rows = each(
        "Classifying",
        [(None, file) for file in files],
        lambda _, file: service.send("/v1/classify", form, image=file),
    )
    columns: dict[str, Column] = {"image": "file", "label": _verdict, "score": _score}
    if coverage is not None:
        columns |= {"answer set": _format_answer_set, "guarantee": _guarantee}
    if neighbours:
        columns["looks like"] = _looks_like
    session.print_rows({"data": rows}, columns | {"error": "error"})
    if coverage is not None and not session.json:
        warn(
            [warning for row in rows if "error" not in row for warning in row["answer_set"]["warnings"]],
            len(rows),
        )
    end(rows, "classified")


@app.command("list-examples")
@pass_session(Json)
def list_examples(
    session: Session,
    label: Annotated[str | None, typer.Option(help="Only this label's.")] = None,
    collection: Collection = "default",
) -> None:
    """Show what was taught, label by label."""
    path = f"/v1/collections/{quoted(collection)}"
    rows = list(session.service.pages(f"{path}/examples", **drop_none(label=label)))
    empty = f"Nothing was taught in {collection} yet: vision oneshot learn --image FILE --label NAME"
    if label is not None and not rows:
        names = [row["label"] for row in session.service.pages(f"{path}/labels")]
        empty = f"{collection} has no label '{label}': {suggest_names(label, names)}"
    session.print_rows(
        {"data": rows, "next": None},
        {"id": "id", "label": "label", "taught": lambda example: format_time(example["created_at"])},
        empty=empty,
    )


@app.command()
@pass_session()
def forget(
    session: Session,
    example: Annotated[list[str], typer.Argument(help="Ids, as list-examples shows them.")],
    collection: Collection = "default",
) -> None:
    """Remove examples."""
    for example_id in example:
        path = f"/v1/collections/{quoted(collection)}/examples/{quoted(example_id)}"
        session.service.call("DELETE", path)
        output.say(f"Forgot {example_id}")


@app.command()
@pass_session(Json)
def relabel(
    session: Session,
    example: Annotated[list[str], typer.Argument(help="Ids, as list-examples shows them.")],
    label: Annotated[
        str, typer.Option(help="The label that they get, one of the collection's or a new one.")
    ],
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="Forget those whose image has the label already, instead of refusing all."
        ),
    ] = False,
    collection: Collection = "default",
) -> None:
    """Give examples another label: all of them or, where one is refused, none."""
    body = drop_none(ids=example, label=label, merge=merge or None)
    path = f"/v1/collections/{quoted(collection)}/examples/bulk"
    reply = session.service.call("POST", path, json=body, again=True)
    said = f"{count_examples(len(reply['changed']))} of {collection} now labelled {reply['label']}"
    if reply["unchanged"]:
        said += f"; {len(reply['unchanged'])} had the label already"
    if reply["removed"]:
        said += f"; {len(reply['removed'])} forgotten, whose image had it"
    session.print_result(reply, said)


@app.command("rename-label")
@pass_session(Json)
def rename_label(
    session: Session,
    label: Annotated[str, typer.Argument(help="The label.")],
    name: Annotated[str, typer.Argument(help="Its new name.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Where there is a label of that name, put the two together.")
    ] = False,
    collection: Collection = "default",
) -> None:
    """Give a label another name; its examples and its description stay."""
    path = f"/v1/collections/{quoted(collection)}/labels/{quoted(label)}"
    reply = session.service.call("PATCH", path, json=drop_none(name=name, merge=merge or None), again=True)
    said = f"{label} is {reply['label']} in {collection}, with {count_examples(reply['examples'])}"
    if reply["removed"]:
        said += f"; of {count_examples(len(reply['removed']))} both labels had the image, and one is left"
    session.print_result(reply, said)


def _learn_one(service: Service, path: str, common: dict[str, str], label: str, file: Path) -> dict[str, Any]:
    return {"label": label, **service.send(path, {"label": label, **common}, images=file)["data"][0]}


def _say_other_labels(rows: list[dict[str, Any]], collection: str) -> None:
    """Say which images have other labels too, or had them."""
    for field, verb in (("other_labels", "also has"), ("replaced_labels", "no longer has")):
        found = [row for row in rows if row.get(field)]
        for row in found[:_MAX_SAID]:
            others = " and ".join(map(repr, row[field]))
            labels = "label" if len(row[field]) == 1 else "labels"
            output.say(f"{row['file']} {verb} the {labels} {others} in {collection}")
        if len(found) > _MAX_SAID:
            output.say(
                f"and so {'do' if field == 'other_labels' else 'did'} {len(found) - _MAX_SAID} images more"
            )
        if found and field == "other_labels":
            output.say(
                "Teach it again with --replace to take the other labels away, or forget an example by its id:"
                " vision oneshot list-examples shows them"
            )


def _print_scores(reply: dict[str, Any]) -> None:
    shown = "none of these" if reply["rejected"] else f"{reply['label']}"
    output.out.print(f"[bold]{shown}[/bold]" if output.out.is_terminal else shown)
    scores = [[s["label"], f"{s['score']:.3f}", _similarity(s)] for s in reply["scores"]]
    scores.append(["(none of these)", f"{reply['none']:.3f}", ""])
    output.print_table(["label", "score", "similarity"], scores, empty="")
    if reply["neighbours"] is not None:
        _print_neighbours(reply["neighbours"])
    if reply["answer_set"] is not None:
        promise = f"coverage {reply['answer_set']['coverage']:g}, {_PROMISES[_guarantee(reply)]}"
        output.out.print(Text(f"Answer set: {_format_answer_set(reply)} ({promise})"), soft_wrap=True)
        warn(reply["answer_set"]["warnings"])


def _print_neighbours(neighbours: list[dict[str, Any]]) -> None:
    rows = [[near["label"], f"{near['similarity']:.3f}", near["id"]] for near in neighbours]
    if rows:
        output.out.print()
    output.print_table(
        ["looks like", "similarity", "example"], rows, empty="No examples were asked, so none looks like it"
    )


def _looks_like(row: dict[str, Any]) -> str:
    near = row.get("neighbours") or []
    return ", ".join(f"{neighbour['label']} {neighbour['similarity']:.3f}" for neighbour in near)


def _format_answer_set(row: dict[str, Any]) -> str:
    return "" if "error" in row else ", ".join(row["answer_set"]["labels"])


def _guarantee(row: dict[str, Any]) -> str:
    return "" if "error" in row else str(row["answer_set"]["guarantee"])


def _similarity(score: dict[str, Any]) -> str:
    return "" if score["similarity"] is None else f"{score['similarity']:.3f}"


def _verdict(row: dict[str, Any]) -> str:
    if "error" in row:
        return ""
    return "(none of these)" if row["rejected"] else str(row["label"])


def _score(row: dict[str, Any]) -> str:
    if "error" in row:
        return ""
    best = row["scores"][0]
    # of what is rejected the label that came nearest, whose score was too low
    return f"{best['label']} {best['score']:.3f}" if row["rejected"] else f"{best['score']:.3f}"
