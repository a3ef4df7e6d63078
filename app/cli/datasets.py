"""`vision datasets ...`: many examples, checked and split, as the service keeps them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli import following, next_steps, output
from app.cli.client import drop_none, quoted
from app.cli.dataset_folders import wait_until_prepared
from app.cli.options import Json, Limit, Split, SplitSeed
from app.cli.output import format_time
from app.cli.session import Session, pass_session
from app.cli.wording import count_examples, in_flags

app = typer.Typer(help="Datasets: many examples, checked and split.", no_args_is_help=True)
_MAX_LABELS = 20
_SPLITS = ("train", "validation", "test")
_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a dataset, as list shows it.")]


@app.command("list")
@pass_session(Json)
def list_datasets(session: Session, limit: Limit = 20) -> None:
    """Show the newest datasets."""
    session.print_rows(
        session.service.get("/v1/datasets", limit=limit),
        {
            "id": "id",
            "name": "name",
            "state": "state",
            "teaches": "task",
            "examples": lambda dataset: str((dataset["summary"] or {}).get("examples", "")),
            "refused": lambda dataset: str((dataset["summary"] or {}).get("refused_total") or ""),
            "made": lambda dataset: format_time(dataset["created_at"]),
        },
        empty="There are no datasets: vision manyshot prepare-dataset --data-dir FOLDER makes one",
    )


@app.command()
@pass_session(Json)
def show(session: Session, dataset: _Id) -> None:
    """Show one dataset: splits, balance, sizes, and what was refused."""
    session.print_result(session.service.get(f"/v1/datasets/{quoted(dataset)}"), print_dataset)


@app.command()
@pass_session()
def remove(session: Session, dataset: _Id) -> None:
    """Forget a dataset; models that were trained on it stay."""
    session.service.call("DELETE", f"/v1/datasets/{quoted(dataset)}", again=True)
    output.say(f"Removed {dataset}")


@app.command()
@pass_session()
def teach(
    session: Session,
    dataset: _Id,
    collection: Annotated[str, typer.Option("--collection", "-c", help="What learns.")] = "default",
    split: Annotated[
        list[str] | None, typer.Option(help="Only these: train, validation, test; repeat. train without it.")
    ] = None,
) -> None:
    """Teach a collection the dataset's labelled examples."""
    body = {"collection": collection, "splits": split or ["train"]}
    job = session.service.call("POST", f"/v1/datasets/{quoted(dataset)}/teach", json=body)
    ended = following.follow(session, job)
    output.say(f"{collection} was taught {count_examples(ended['result']['examples'])}")


@app.command("from-collection")
@pass_session(Json)
def from_collection(
    session: Session,
    collection: Annotated[str, typer.Argument(help="What was taught.")],
    name: Annotated[str | None, typer.Option(help="What to call it; the collection's name without.")] = None,
    split: Split = "0.8,0.1,0.1",
    seed: SplitSeed = 0,
) -> None:
    """Make a dataset of what a collection was taught."""
    body = drop_none(collection=collection, split=split.split(","), seed=seed, name=name or None)
    made = session.service.call("POST", "/v1/datasets/from-collection", json=body)
    found = wait_until_prepared(session, made, quiet=session.json)
    session.print_result(found, print_dataset)
    next_steps.say(session, [["manyshot", "train", "--dataset", found["id"]]])


def print_dataset(dataset: dict[str, Any]) -> None:
    """Print what was found, for a person."""
    summary = dataset["summary"] or {}
    counts = summary.get("splits", {})
    splits = {name: counts[name] for name in (*_SPLITS, *counts) if name in counts}
    refused = summary.get("refused", {})
    facts = [
        ("id", dataset["id"]),
        ("name", dataset["name"]),
        ("state", dataset["state"]),
        ("teaches", dataset["task"] or ""),
        ("format", dataset["format"]),
        ("examples", str(summary.get("examples", ""))),
        ("splits", ", ".join(f"{name} {count}" for name, count in splits.items())),
        ("MiB", f"{summary['bytes'] / 2**20:.1f}" if "bytes" in summary else ""),
        ("imbalance", f"{summary['imbalance']:.2f}" if summary.get("imbalance") else ""),
        ("duplicates", str(summary.get("duplicates") or "")),
        ("in several splits", str(summary.get("images_on_several_sides") or "")),
        *(("note", in_flags(remark)) for remark in summary.get("remarks", ())),
        *(("refused", f"{count}: {reason}") for reason, count in refused.items()),
        ("error", in_flags((dataset["error"] or {}).get("detail", ""))),
    ]
    output.print_facts(facts)
    if dataset["format"] == "coco" and any("another label" in reason for reason in refused):
        output.say("An image counts once: prepare-dataset --boxes crops makes an example of each box in it")
    labels = summary.get("labels", {})
    if labels:
        shown = list(labels.items())[:_MAX_LABELS]
        output.print_table(
            ["label", *splits],
            [[label, *(str(of.get(split, 0)) for split in splits)] for label, of in shown],
            empty="",
        )
        if len(labels) > _MAX_LABELS:
            output.say(f"and {len(labels) - _MAX_LABELS} labels more")
