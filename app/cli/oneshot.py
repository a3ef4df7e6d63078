"""`vision oneshot ...`: teach labels with images and recognise them.

Knows which files to send and how replies read; how learning works is the service's business.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import Service, connect
from app.cli.collections import quoted
from app.cli.files import image_files, labelled_files
from app.cli.model_folders import model_id
from app.cli.options import ApiKey, Collection, DataDir, Json, Server
from app.cli.rows import each, end

app = typer.Typer(help="Teach labels with one image each, and recognise them.", no_args_is_help=True)


@app.command()
def learn(
    image: Annotated[
        list[Path],
        typer.Option(
            exists=True,
            help="Image or folder of images; repeat for several. A folder of folders teaches"
            " each inner folder's name as a label.",
        ),
    ],
    label: Annotated[str | None, typer.Option(help="What the images show.")] = None,
    description: Annotated[str | None, typer.Option(help="A few more words about the label.")] = None,
    collection: Collection = "default",
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Teach a label with one or more images."""
    files = labelled_files(image, label)
    path = f"/v1/collections/{quoted(collection)}/examples"
    with connect(server, api_key, data_dir) as service:
        rows = each("Learning", files, partial(_learn_one, service, path, description or ""))
    learned = [row for row in rows if "error" not in row]
    if json:
        output.print_json({"data": rows})
    else:
        shown = ([row["label"], row["file"], row.get("id", ""), row.get("error", "")] for row in rows)
        output.print_table(["label", "image", "id", "error"], shown, empty="")
        output.say(f"Learned {len(learned)} of {len(rows)} examples in {collection}")
    end(rows)


@app.command()
def classify(
    image: Annotated[
        list[Path], typer.Option(exists=True, help="Image or folder of images; repeat for several.")
    ],
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Reject below this score; 0 accepts everything.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Scores to show for one image.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Comma-separated: choose among these, without any example.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model to recognise with: an id, or the folder of a trained one.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Set of labels; `default` without it.")
    ] = None,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Say what an image shows, or each image of a folder."""
    files = image_files(image)
    wanted = {
        "threshold": threshold,
        "top_k": top_k,
        "labels": labels,
        "model": model,
        "collection": collection,
    }
    form = {name: str(value) for name, value in wanted.items() if value is not None}
    single = len(files) == 1 and not image[0].is_dir()
    with connect(server, api_key, data_dir) as service:
        if model is not None:
            form["model"] = model_id(service, model) or model
        if single:
            reply = _classify_one(service, form, files[0])
        else:
            rows = each(
                "Classifying", [(None, file) for file in files], partial(_classify_row, service, form)
            )
    if single:
        output.print_json(reply) if json else _show_one(reply)
        return
    if json:
        output.print_json({"data": rows})
    else:
        output.print_table(
            ["image", "label", "score", "error"],
            ([row["file"], *_verdict(row), row.get("error", "")] for row in rows),
            empty="",
        )
    end(rows)


@app.command("list-examples")
def list_examples(
    label: Annotated[str | None, typer.Option(help="Only this label's.")] = None,
    collection: Collection = "default",
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Show what was taught, label by label."""
    with connect(server, api_key, data_dir) as service:
        rows = list(service.pages(f"/v1/collections/{quoted(collection)}/examples", label=label))
    if json:
        output.print_json({"data": rows, "next": None})
        return
    output.print_table(
        ["id", "label", "taught"],
        ([row["id"], row["label"], str(row["created_at"])[:19].replace("T", " ")] for row in rows),
        empty=f"Nothing was taught in {collection} yet: vision oneshot learn --image FILE --label NAME",
    )


@app.command()
def forget(
    example: Annotated[list[str], typer.Argument(help="Ids, as list-examples shows them.")],
    collection: Collection = "default",
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Remove examples."""
    with connect(server, api_key, data_dir) as service:
        for one in example:
            service.call("DELETE", f"/v1/collections/{quoted(collection)}/examples/{quoted(one)}")
            output.say(f"Forgot {one}")


def _learn_one(service: Service, path: str, description: str, label: str, file: Path) -> dict[str, Any]:
    form = {"label": label} | ({"description": description} if description else {})
    reply = service.call(
        "POST", path, again=True, data=form, files={"images": (file.name, file.read_bytes())}
    )
    return {"label": label, **reply["data"][0]}


def _classify_one(service: Service, form: dict[str, str], file: Path) -> dict[str, Any]:
    reply: dict[str, Any] = service.call(
        "POST", "/v1/classify", again=True, data=form, files={"image": (file.name, file.read_bytes())}
    )
    return reply


def _classify_row(service: Service, form: dict[str, str], _label: str | None, file: Path) -> dict[str, Any]:
    return _classify_one(service, form, file)


def _show_one(reply: dict[str, Any]) -> None:
    shown = "none of these" if reply["rejected"] else f"{reply['label']}"
    output.out.print(f"[bold]{shown}[/bold]" if output.out.is_terminal else shown)
    scores = [[s["label"], f"{s['score']:.3f}", _similarity(s)] for s in reply["scores"]]
    scores.append(["(none of these)", f"{reply['none']:.3f}", ""])
    output.print_table(["label", "score", "similarity"], scores, empty="")


def _similarity(score: dict[str, Any]) -> str:
    return "" if score["similarity"] is None else f"{score['similarity']:.3f}"


def _verdict(row: dict[str, Any]) -> tuple[str, str]:
    if "error" in row:
        return "", ""
    if row["rejected"]:
        return "(none of these)", f"{row['none']:.3f}"
    return row["label"], f"{row['scores'][0]['score']:.3f}"
