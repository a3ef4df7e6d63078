"""`vision oneshot ...`: teach labels with images and recognise them.

Knows which files to send and how replies read; how learning works is the service's business.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import Service, form_fields, quoted
from app.cli.files import image_files
from app.cli.labelled_folders import FolderRules, labelled_files
from app.cli.model_folders import model_id
from app.cli.options import Collection, Images, Json, LabelsFromOption, OwnSplitOption
from app.cli.output import format_time
from app.cli.rows import each, end, send_one
from app.cli.session import Session, pass_session
from app.cli.wording import count_examples

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
    collection: Collection = "default",
    labels_from: LabelsFromOption = "auto",
    own_split: OwnSplitOption = "keep",
) -> None:
    """Teach a label with one or more images."""
    files = labelled_files(image, label, FolderRules(labels_from, own_split))
    path = f"/v1/collections/{quoted(collection)}/examples"
    rows = each("Learning", files, partial(_learn_one, session.service, path, description or ""))
    session.print_rows({"data": rows}, {"label": "label", "image": "file", "id": "id", "error": "error"})
    learned = sum("error" not in row for row in rows)
    session.say(f"Learned {learned} of {count_examples(len(rows))} in {collection}")
    end(rows)


@app.command()
@pass_session(Json)
def classify(
    session: Session,
    image: Images,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Reject below this score; 0 accepts everything.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Scores to show for one image.")] = None,
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
    session.print_rows(
        {"data": rows}, {"image": "file", "label": _verdict, "score": _score, "error": "error"}
    )
    end(rows)


@app.command("list-examples")
@pass_session(Json)
def list_examples(
    session: Session,
    label: Annotated[str | None, typer.Option(help="Only this label's.")] = None,
    collection: Collection = "default",
) -> None:
    """Show what was taught, label by label."""
    session.print_all(
        f"/v1/collections/{quoted(collection)}/examples",
        {"id": "id", "label": "label", "taught": lambda example: format_time(example["created_at"])},
        empty=f"Nothing was taught in {collection} yet: vision oneshot learn --image FILE --label NAME",
        label=label,
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


def _learn_one(service: Service, path: str, description: str, label: str, file: Path) -> dict[str, Any]:
    form = form_fields(label=label, description=description or None)
    return {"label": label, **service.send(path, form, images=file)["data"][0]}


def _print_scores(reply: dict[str, Any]) -> None:
    shown = "none of these" if reply["rejected"] else f"{reply['label']}"
    output.out.print(f"[bold]{shown}[/bold]" if output.out.is_terminal else shown)
    scores = [[s["label"], f"{s['score']:.3f}", _similarity(s)] for s in reply["scores"]]
    scores.append(["(none of these)", f"{reply['none']:.3f}", ""])
    output.print_table(["label", "score", "similarity"], scores, empty="")


def _similarity(score: dict[str, Any]) -> str:
    return "" if score["similarity"] is None else f"{score['similarity']:.3f}"


def _verdict(row: dict[str, Any]) -> str:
    if "error" in row:
        return ""
    return "(none of these)" if row["rejected"] else str(row["label"])


def _score(row: dict[str, Any]) -> str:
    if "error" in row:
        return ""
    return f"{row['none'] if row['rejected'] else row['scores'][0]['score']:.3f}"
