"""`vision train`: examples sent where they belong, a job asked for, followed, and its model saved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import configured, example_folder, figures, following, next_steps, output, saving
from app.cli.client import drop_none, quoted
from app.cli.dataset_folders import dataset_id, find_training_source, split_to_judge
from app.cli.encoders import encoder_for, warning_of
from app.cli.example_folder import Example
from app.cli.labelled_folders import FolderRules, list_labelled_files
from app.cli.next_steps import TrainingSource
from app.cli.options import (
    Detach,
    Force,
    LabelsFromOption,
    Lines,
    ModelName,
    OwnSplitOption,
    Params,
    Question,
    Seed,
    parse_params,
)
from app.cli.session import Session, pass_session
from app.cli.submitting import SubmitOptions, check_detach, check_request, say_next, submit, train_and_save
from app.cli.wording import count_examples

DEFAULT_COLLECTION = "default"
_Config = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="A whole training run in one YAML file, in a strategy's place; the folders it names are sent.",
    ),
]
_Collection = Annotated[
    str | None,
    typer.Option(
        "--collection", "-c", help="Learn from (and add examples to) this one; `default` without it."
    ),
]
_Images = Annotated[
    list[Path] | None, typer.Option(exists=True, help="Add this image, or folder of images, of --label.")
]
_Examples = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="Add a folder of examples: one folder a label, or an examples.jsonl whose lines have an image and a"
        " label, a caption, or a question with its answer. Its name is the collection's where none is given.",
    ),
]
_Dataset = Annotated[
    str | None,
    typer.Option(
        help="Learn from this dataset: its id, a prepared folder, or a folder of examples, which is sent first."
    ),
]


@dataclass(frozen=True)
class _Data:
    """What a training learns from: a dataset, or a collection to which examples may be added first."""

    dataset: str | None
    collection: str | None
    examples: list[Example]
    rules: FolderRules


@pass_session(Lines)
def train(
    session: Session,
    strategy: Annotated[
        str | None, typer.Option(help="How to learn; `vision strategies list` shows them.")
    ] = None,
    config: _Config = None,
    collection: _Collection = None,
    image: _Images = None,
    label: Annotated[str | None, typer.Option(help="What the images show.")] = None,
    examples: _Examples = None,
    dataset: _Dataset = None,
    labels_from: LabelsFromOption = "auto",
    own_split: OwnSplitOption = "keep",
    param: Params = None,
    question: Question = None,
    base_model: Annotated[
        str | None, typer.Option(help="Train this model instead of the strategy's.")
    ] = None,
    name: ModelName = None,
    seed: Seed = 0,
    output_dir: Annotated[Path | None, typer.Option(help="Save the model's files in this folder.")] = None,
    force: Force = False,
    detach: Detach = False,
) -> None:
    """Train a model by a strategy and follow it; a strategy that needs no training learns the examples at once."""
    adds = bool(image or examples)
    if (strategy is None) == (config is None):
        raise typer.BadParameter(
            "name a strategy, or a configuration file", param_hint="--strategy / --config"
        )
    if dataset is not None and (adds or collection):
        raise typer.BadParameter(
            "a job learns from a dataset or from a collection, not from both", param_hint="--dataset"
        )
    if config is not None and (adds or label or base_model):
        raise typer.BadParameter(
            "a configuration names its own data and base model; only --dataset or --collection may replace its data",
            param_hint="--config",
        )
    body = drop_none(
        strategy=strategy,
        params=parse_params(param, question),
        seed=seed,
        name=name or None,
        base_model=base_model or None,
    )
    rules = FolderRules(labels_from, own_split)
    given = _read_examples(image or [], label, examples, rules)
    if examples is not None:
        collection = collection or example_folder.name_collection(examples)
    if output_dir is not None:
        force = saving.may_replace(output_dir, force=force)
    options = SubmitOptions(detach, output_dir, force, _find_training_source(given, examples, dataset))
    check_detach(session, options)
    data = _Data(dataset, collection, given, rules)
    if config is not None:
        _train_by_config(session, config, body, data, options)
    else:
        _train_by_strategy(session, body, data, options)


def _train_by_strategy(session: Session, body: dict[str, Any], data: _Data, options: SubmitOptions) -> None:
    service, collection = session.service, data.collection or DEFAULT_COLLECTION
    strategy = service.get(f"/v1/strategies/{quoted(body['strategy'])}")
    if strategy["method"] is None and not data.examples:
        example = "--examples FOLDER" if strategy["task"] != "classification" else "--image FILE --label NAME"
        output.fail(f"{body['strategy']} needs no training, only examples: pass {example}", output.USAGE)
    _check_fits(strategy, body, options)
    _check_examples(strategy, data.examples)
    if strategy["method"] is not None:
        check_request(session, body)
    if data.examples:
        _add(session, collection, data.examples, strategy)
    if strategy["method"] is None:
        encoder = service.get(f"/v1/collections/{quoted(collection)}")["encoder"]
        _end_without_training(session, strategy, collection, encoder, data.examples)
        return
    dataset = None if data.dataset is None else dataset_id(session, data.dataset, data.rules)
    train_and_save(session, body | _source(dataset, collection), options)


def _train_by_config(
    session: Session, file: Path, body: dict[str, Any], data: _Data, options: SubmitOptions
) -> None:
    replaced = data.dataset is not None or data.collection is not None
    sent = configured.send(session, configured.read(file), file, data.rules, data=not replaced, beside=body)
    dataset = sent.dataset if data.dataset is None else dataset_id(session, data.dataset, data.rules)
    body = {**body, "config": sent.document, **_source(dataset, data.collection or DEFAULT_COLLECTION)}
    job = submit(session, body, replace(options, printed=frozenset(sent.warnings)))
    if job is None:
        return
    if sent.held_out is not None:
        chosen = (sent.document.get("evaluation") or {}).get("metrics")
        split = split_to_judge(session, sent.held_out)
        asked = {"dataset": sent.held_out, "split": split, "metrics": chosen}
        judging = session.service.call("POST", f"/v1/models/{quoted(job['model'])}/evaluate", json=asked)
        ended = following.follow(session, judging)
        if not session.json:
            figures.show(ended["result"]["evaluation"])
    say_next(
        session, job, options if sent.folder is None else replace(options, source=TrainingSource(sent.folder))
    )


def _source(dataset: str | None, collection: str) -> dict[str, str]:
    return {"dataset": dataset} if dataset else {"collection": collection}


def _check_fits(strategy: dict[str, Any], body: dict[str, Any], options: SubmitOptions) -> None:
    """End the command, before anything is sent, for options of training without a training, or unknown settings."""
    if strategy["method"] is None:
        asked = {
            "--param": body["params"],
            "--name": body.get("name"),
            "--base-model": body.get("base_model"),
            "--output-dir": options.output_dir,
            "--detach": options.detach,
        }
        for option in (name for name, value in asked.items() if value):
            output.fail(f"{strategy['name']} trains no model: {option} does not go with it", output.USAGE)
        return
    known = [*strategy["params"], *strategy["defaults"]]
    for name in body["params"]:
        if name not in known:
            output.fail(
                f"{strategy['name']} has no setting '{name}': there are {', '.join(known)}", output.USAGE
            )


def _check_examples(strategy: dict[str, Any], given: list[Example]) -> None:
    """End the command, before anything is sent, for examples of which none is of a kind that the strategy learns."""
    task, model = strategy["task"], strategy["model"]
    trains = strategy["method"] is not None
    labels = task == "classification" or (trains and task == "vqa")
    answers = task != "classification" or (
        model["family"] == "default" and strategy["method"] in ("lora", "finetune")
    )
    if given and not any(labels if example.label is not None else answers for example in given):
        wanted, got = ("labels", "answers") if labels else ("answers or captions", "labels")
        output.fail(f"{strategy['name']} learns {wanted}; these examples teach {got}", output.USAGE)


def _find_training_source(given: list[Example], examples: Path | None, dataset: str | None) -> TrainingSource:
    """What the next commands are made of."""
    if dataset is not None:
        return find_training_source(dataset)
    question = next((example.question for example in given if example.question), None)
    return TrainingSource(examples or (given[0].image if given else None), question=question)


def _read_examples(
    images: list[Path], label: str | None, examples: Path | None, rules: FolderRules
) -> list[Example]:
    if label is not None and not images:
        raise typer.BadParameter("a label needs an --image", param_hint="--label")
    found = (
        [Example(file, label=name) for name, file in list_labelled_files(images, label, rules)]
        if images
        else []
    )
    return found + (example_folder.read(examples, rules) if examples is not None else [])


def _add(session: Session, collection: str, examples: list[Example], strategy: dict[str, Any]) -> None:
    service = session.service
    example_folder.ensure_collection(service, collection, encoder_for(service, strategy))
    new = example_folder.upload(service, collection, examples)
    known = f", {len(examples) - new} were there" if new < len(examples) else ""
    session.say(f"Added {count_examples(new)} to {collection}{known}")


def _end_without_training(
    session: Session, strategy: dict[str, Any], collection: str, encoder: str, given: list[Example]
) -> None:
    """Say that a strategy without training is done, and by which encoder where that is the collection's choice."""
    labels = strategy["task"] == "classification"
    warning = warning_of(session.service, strategy, collection, encoder) if labels else None
    if warning is not None:
        output.say(f"Warning: {warning}")
    if session.json:
        output.print_json(
            {
                "strategy": strategy["name"],
                "collection": collection,
                "encoder": encoder,
                "examples": len(given),
                "job": None,
                "warnings": [] if warning is None else [warning],
            }
        )
        return
    picture = next_steps.picture_near(given[0].image)
    if labels:
        output.say(f"{strategy['name']} needs no training: {collection} knows them at once, by {encoder}")
        words = ["oneshot", "classify", "--image", picture]
    else:
        output.say(
            f"{strategy['name']} needs no training: these examples are shown to the model with a question"
        )
        question = next((example.question for example in given if example.question), next_steps.QUESTION)
        words = ["fewshot", "query", "--image", picture, "--question", question]
    next_steps.say(session, [[*words, "--collection", collection]], picture=picture)
