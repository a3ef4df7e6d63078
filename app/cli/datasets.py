"""`vision datasets ...` and `vision manyshot prepare-dataset`: many examples at once.

Knows folders and how a prepared one is found again; what is in a dataset the service finds out.
"""

from __future__ import annotations

import json as json_module
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import following, next_steps, output
from app.cli.client import Service, connect
from app.cli.collections import quoted
from app.cli.next_steps import Taught
from app.cli.options import ApiKey, DataDir, Json, Server
from app.cli.packing import files_of, packed

app = typer.Typer(help="Datasets: many examples, checked and split.", no_args_is_help=True)
NOTE = "dataset.json"
_MOST_LABELS = 20
_SPLITS = ("train", "validation", "test")
_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a dataset, as list shows it.")]


@app.command("list")
def list_datasets(
    limit: Annotated[int, typer.Option(min=1, help="Most rows.")] = 20,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Show the newest datasets."""
    with connect(server, api_key, data_dir) as service:
        page = service.call("GET", "/v1/datasets", params={"limit": limit}, again=True)
    if json:
        output.print_json(page)
        return
    output.print_table(
        ["id", "name", "state", "teaches", "examples", "refused", "made"],
        (
            [
                one["id"],
                one["name"],
                one["state"],
                one["task"] or "",
                str((one["summary"] or {}).get("examples", "")),
                str((one["summary"] or {}).get("refused_total", "") or ""),
                str(one["created_at"])[:19].replace("T", " "),
            ]
            for one in page["data"]
        ),
        empty="There are no datasets: vision manyshot prepare-dataset --data-dir FOLDER makes one",
    )


@app.command()
def show(
    dataset: _Id, server: Server = None, api_key: ApiKey = None, data_dir: DataDir = None, json: Json = False
) -> None:
    """Show one dataset: splits, balance, sizes, and what was refused."""
    with connect(server, api_key, data_dir) as service:
        found = service.call("GET", f"/v1/datasets/{quoted(dataset)}", again=True)
    if json:
        output.print_json(found)
    else:
        summarised(found)


@app.command()
def remove(dataset: _Id, server: Server = None, api_key: ApiKey = None, data_dir: DataDir = None) -> None:
    """Forget a dataset; models that were trained on it stay."""
    with connect(server, api_key, data_dir) as service:
        service.call("DELETE", f"/v1/datasets/{quoted(dataset)}", again=True)
    output.say(f"Removed {dataset}")


@app.command()
def teach(
    dataset: _Id,
    collection: Annotated[str, typer.Option("--collection", "-c", help="What learns.")] = "default",
    split: Annotated[
        list[str] | None, typer.Option(help="Only these: train, validation, test; repeat. train without it.")
    ] = None,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Teach a collection the dataset's labelled examples."""
    with connect(server, api_key, data_dir) as service:
        body = {"collection": collection, "splits": split or ["train"]}
        job = service.call("POST", f"/v1/datasets/{quoted(dataset)}/teach", json=body)
        ended = following.follow(service, job, json=False)
        following.end(ended, json=False)
    output.say(f"{collection} was taught {ended['result']['examples']} examples")


@app.command("from-collection")
def from_collection(
    collection: Annotated[str, typer.Argument(help="What was taught.")],
    name: Annotated[str | None, typer.Option(help="What to call it; the collection's name without.")] = None,
    split: Annotated[str, typer.Option(help="Shares of train, validation and test.")] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Make a dataset of what a collection was taught."""
    with connect(server, api_key, data_dir) as service:
        body = {"collection": collection, "split": split.split(","), "seed": seed}
        made = service.call(
            "POST", "/v1/datasets/from-collection", json=body | ({"name": name} if name else {})
        )
        found = _prepared(service, made, quiet=json)
    if json:
        output.print_json(found)
    else:
        summarised(found)
        next_steps.say(service, [["manyshot", "train", "--dataset", found["id"]]])


def prepare_dataset(
    data_dir: Annotated[
        Path, typer.Option("--data-dir", exists=True, file_okay=False, help="Folder with the examples.")
    ],
    output_dir: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the note, the manifest and the report.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="auto, directory (a folder a label), coco or jsonl.")
    ] = "auto",
    boxes: Annotated[str, typer.Option(help="What a COCO box becomes: whole or crops.")] = "whole",
    split: Annotated[str, typer.Option(help="Shares of train, validation and test.")] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    name: Annotated[str | None, typer.Option(help="What to call it; the folder's name without.")] = None,
    server: Server = None,
    api_key: ApiKey = None,
    service_dir: Annotated[
        Path | None,
        typer.Option(
            "--service-dir", envvar="VISION_DATA_DIR", help="Data folder of the service to find or start."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Send a folder of images, have each checked, and split them into train, validation and test."""
    with connect(server, api_key, service_dir) as service:
        found = uploaded(
            service,
            data_dir,
            {
                "name": name or data_dir.resolve().name or "dataset",
                "format": format_,
                "boxes": boxes,
                "split": split,
                "seed": str(seed),
            },
            quiet=json,
        )
        if output_dir is not None:
            noted(service, found, output_dir, data_dir)
        if not json:
            summarised(found)
            place = found["id"] if output_dir is None else str(output_dir)
            next_steps.say(service, [["manyshot", "train", "--dataset", place]])
    if json:
        output.print_json(found)


def uploaded(
    service: Service, folder: Path, fields: dict[str, str], *, quiet: bool = False
) -> dict[str, Any]:
    """Send a folder and wait until it is prepared; ends the command where it cannot be."""
    files = files_of(folder)
    if not files:
        output.fail(f"{folder} holds no files", output.USAGE)
    if not quiet:
        output.say(f"Sending {len(files)} files of {folder}")
    made = service.call(
        "POST",
        "/v1/datasets",
        params=fields,
        content=packed(folder, files),
        headers={"Content-Type": "application/x-tar"},
        timeout=None,
    )
    return _prepared(service, made, quiet=quiet)


def _prepared(service: Service, made: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    job = service.call("GET", f"/v1/jobs/{made['job']}", again=True)
    ended = following.follow(service, job, json=False) if not quiet else following.wait(service, job)
    following.end(ended, json=quiet)
    found: dict[str, Any] = service.call("GET", f"/v1/datasets/{made['id']}", again=True)
    return found


def noted(service: Service, dataset: dict[str, Any], folder: Path, sent_from: Path) -> None:
    """Write down which dataset it is and which folder was sent, beside its manifest and its report, so that it is found
    again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("manifest", "report"):
        service.save(f"/v1/datasets/{dataset['id']}/{name}", folder / f"{name}.jsonl")
    draft = folder / f".{NOTE}.new"
    note = {**dataset, "sent_from": str(sent_from.resolve())}
    draft.write_text(json_module.dumps(note, indent=2) + "\n", encoding="utf-8")
    draft.rename(folder / NOTE)


def taught_by(given: str | None) -> Taught:
    """What is known here of a dataset: of a prepared folder where its images are, of a folder of examples these."""
    folder = None if given is None else Path(given)
    if folder is None or not folder.is_dir():
        return Taught()
    if (folder / NOTE).is_file():
        return Taught(next_steps.pictures_of(folder), given)
    return Taught(folder)


def dataset_id(service: Service, given: str) -> str:
    """The id that a prepared folder, a folder of examples (which is sent first) or an id stands for."""
    folder = Path(given)
    note = folder / NOTE
    if note.is_file():
        try:
            return str(json_module.loads(note.read_text(encoding="utf-8"))["id"])
        except (OSError, ValueError, KeyError, TypeError):
            output.fail(f"{note} cannot be read: prepare the dataset again", output.USAGE)
    if folder.is_dir():
        return str(uploaded(service, folder, {"name": folder.resolve().name or "dataset"})["id"])
    try:
        return str(uuid.UUID(given))
    except ValueError:
        output.fail(
            f"{given} is neither a folder nor a dataset's id: vision datasets list shows them", output.USAGE
        )


def summarised(dataset: dict[str, Any]) -> None:
    """Print what was found, for a person."""
    summary = dataset["summary"] or {}
    counts = summary.get("splits", {})
    splits = {name: counts[name] for name in (*_SPLITS, *counts) if name in counts}
    refused = summary.get("refused", {})
    rows = [
        ["id", dataset["id"]],
        ["name", dataset["name"]],
        ["state", dataset["state"]],
        ["teaches", dataset["task"] or ""],
        ["format", dataset["format"]],
        ["examples", str(summary.get("examples", ""))],
        ["splits", ", ".join(f"{name} {count}" for name, count in splits.items())],
        ["MiB", f"{summary['bytes'] / 2**20:.1f}" if "bytes" in summary else ""],
        ["imbalance", f"{summary['imbalance']:.2f}" if summary.get("imbalance") else ""],
        ["duplicates", str(summary.get("duplicates") or "")],
        ["on several sides", str(summary.get("images_on_several_sides") or "")],
        *(["refused", f"{count}: {reason}"] for reason, count in refused.items()),
        ["error", (dataset["error"] or {}).get("detail", "")],
    ]
    output.print_table(["", ""], [row for row in rows if row[1]], empty="")
    labels = summary.get("labels", {})
    if labels:
        shown = list(labels.items())[:_MOST_LABELS]
        output.print_table(
            ["label", *splits],
            [[label, *(str(of.get(split, 0)) for split in splits)] for label, of in shown],
            empty="",
        )
        if len(labels) > _MOST_LABELS:
            output.say(f"and {len(labels) - _MOST_LABELS} labels more")
