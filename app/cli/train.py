"""`vision train`: examples sent where they belong, a job asked for, followed, and its model saved.

Knows what a strategy needs from this machine; how it trains is the service's business.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import configured, example_folder, figures, following, next_steps, output, saving
from app.cli.client import Service, connect
from app.cli.collections import quoted
from app.cli.datasets import dataset_id, taught_by
from app.cli.encoders import encoder_for, warning_of
from app.cli.example_folder import Example
from app.cli.files import labelled_files
from app.cli.next_steps import Taught
from app.cli.options import ApiKey, DataDir, Server
from app.cli.submitting import Ending, check_detach, say_next, submitted, trained

DEFAULT_COLLECTION = "default"
Params = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="KEY=VALUE", help="A hyper-parameter, such as steps=200; repeat."),
]
Question = Annotated[
    str | None,
    typer.Option(
        help="What a vision-language model that learns labels is asked about every image; without it: What is this?"
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed on the same machine gives the same model.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is in the output folder.")]
Lines = Annotated[bool, typer.Option("--json", help="Print the job's events, one line of JSON each.")]
ModelName = Annotated[str | None, typer.Option("--name", help="What the model shall be called.")]


def train(
    strategy: Annotated[
        str | None, typer.Option(help="How to learn; `vision strategies list` shows them.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A whole training run in one YAML file, in a strategy's place; the folders it names are sent.",
        ),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection", "-c", help="Learn from (and add examples to) this one; `default` without it."
        ),
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(exists=True, help="Add this image, or folder of images, of --label.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="What the images show.")] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Add a folder of examples: one folder a label, or an examples.jsonl whose lines have an image and a"
            " label, a caption, or a question with its answer. Its name is the collection's where none is given.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Learn from this dataset: its id, a prepared folder, or a folder of examples, which is sent first."
        ),
    ] = None,
    param: Params = None,
    question: Question = None,
    base_model: Annotated[
        str | None, typer.Option(help="Train this model instead of the strategy's.")
    ] = None,
    name: ModelName = None,
    seed: Seed = 0,
    output_dir: Annotated[Path | None, typer.Option(help="Save the model's files in this folder.")] = None,
    force: Force = False,
    detach: Annotated[bool, typer.Option("--detach", help="Ask for the job and do not wait for it.")] = False,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Lines = False,
) -> None:
    """Train a model by a strategy and follow it; a strategy that needs no training learns the examples at once."""
    if (strategy is None) == (config is None):
        raise typer.BadParameter(
            "name a strategy, or a configuration file", param_hint="--strategy / --config"
        )
    if dataset is not None and (image or examples or collection):
        raise typer.BadParameter(
            "a job learns from a dataset or from a collection, not from both", param_hint="--dataset"
        )
    if config is not None and (image or label or examples or base_model):
        raise typer.BadParameter(
            "a configuration names its own data and base model; only --dataset or --collection may replace its data",
            param_hint="--config",
        )
    values = params(param, question)
    given = _given(image or [], label, examples)
    place = collection or (example_folder.collection_named(examples) if examples else DEFAULT_COLLECTION)
    if output_dir is not None:
        force = saving.may_replace(output_dir, force=force)
    ending = Ending(detach, output_dir, force, json, _taught(given, examples, dataset))
    with connect(server, api_key, data_dir) as service:
        check_detach(service, ending)
        if strategy is None:
            _by_config(service, config or Path(), (dataset, collection, name, seed), values, ending)
            return
        found = service.call("GET", f"/v1/strategies/{quoted(strategy)}", again=True)
        if found["method"] is None and not given:
            example = (
                "--examples FOLDER" if found["task"] != "classification" else "--image FILE --label NAME"
            )
            output.fail(f"{strategy} needs no training, only examples: pass {example}", output.USAGE)
        asked = {"--param": values, "--name": name, "--base-model": base_model, "--output-dir": output_dir}
        _check_fits(found, {**asked, "--detach": detach}, values)
        _check_taught(found, given)
        if given:
            _add(service, place, given, found, quiet=json)
        if found["method"] is None:
            encoder = service.call("GET", f"/v1/collections/{quoted(place)}", again=True)["encoder"]
            _learned(service, found, place, encoder, given, json=json)
            return
        if dataset is not None:
            dataset = dataset_id(service, dataset)
        body: dict[str, Any] = {
            "strategy": strategy,
            "params": values,
            "seed": seed,
            **({"dataset": dataset} if dataset else {"collection": place}),
            **({"name": name} if name else {}),
            **({"base_model": base_model} if base_model else {}),
        }
        trained(service, body, ending)


def _by_config(
    service: Service,
    file: Path,
    place: tuple[str | None, str | None, str | None, int],
    values: dict[str, Any],
    ending: Ending,
) -> None:
    dataset, collection, name, seed = place
    sent = configured.send(service, configured.read(file), file, data=dataset is None and collection is None)
    source = sent.dataset if dataset is None else dataset_id(service, dataset)
    body: dict[str, Any] = {
        "config": sent.document,
        "params": values,
        "seed": seed,
        **({"dataset": source} if source else {"collection": collection or DEFAULT_COLLECTION}),
        **({"name": name} if name else {}),
    }
    job = submitted(service, body, replace(ending, said=frozenset(sent.warnings)))
    if sent.held_out is not None and job is not None:
        chosen = (sent.document.get("evaluation") or {}).get("metrics")
        asked = {"dataset": sent.held_out, "split": "all", "metrics": chosen}
        judging = service.call("POST", f"/v1/models/{quoted(job['model'])}/evaluate", json=asked)
        ended = following.follow(service, judging, json=ending.json)
        following.end(ended, json=ending.json)
        if not ending.json:
            figures.show(ended["result"]["evaluation"])
    if job is not None:
        say_next(service, job, ending)


def params(given: list[str] | None, question: str | None = None) -> dict[str, Any]:
    """`key=value` pairs as an object; a value that is JSON counts as such, dots in a key lead into objects. A
    `question`, which has a flag of its own, is one of them.
    """
    values: dict[str, Any] = {} if question is None else {"question": question}
    for one in given or []:
        key, equals, text = one.partition("=")
        *path, last = key.strip().split(".")
        if not equals or not last or not all(path):
            raise typer.BadParameter(f"{one!r} is not KEY=VALUE", param_hint="--param")
        place = values
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"{part!r} has a value already", param_hint="--param")
        try:
            place[last] = json.loads(text)
        except ValueError:
            place[last] = text
    return values


def _check_fits(strategy: dict[str, Any], asked: dict[str, Any], values: dict[str, Any]) -> None:
    """End the command, before anything is sent, for options of training without a training, or unknown settings."""
    if strategy["method"] is None:
        for option in (name for name, value in asked.items() if value):
            output.fail(f"{strategy['name']} trains no model: {option} does not go with it", output.USAGE)
        return
    known = [*strategy["params"], *strategy["defaults"]]
    for name in values:
        if name not in known:
            output.fail(
                f"{strategy['name']} has no setting '{name}': there are {', '.join(known)}", output.USAGE
            )


def _check_taught(strategy: dict[str, Any], given: list[Example]) -> None:
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


def _taught(given: list[Example], examples: Path | None, dataset: str | None) -> Taught:
    """What the next commands are made of."""
    if dataset is not None:
        return taught_by(dataset)
    question = next((example.question for example in given if example.question), None)
    return Taught(examples or (given[0].image if given else None), question=question)


def _given(images: list[Path], label: str | None, examples: Path | None) -> list[Example]:
    if label is not None and not images:
        raise typer.BadParameter("a label needs an --image", param_hint="--label")
    found = [Example(file, label=name) for name, file in labelled_files(images, label)] if images else []
    return found + (example_folder.read(examples) if examples is not None else [])


def _add(
    service: Service, collection: str, examples: list[Example], strategy: dict[str, Any], *, quiet: bool
) -> None:
    example_folder.ensure_collection(service, collection, encoder_for(service, strategy))
    new = example_folder.upload(service, collection, examples)
    if not quiet:
        known = f", {len(examples) - new} were there" if new < len(examples) else ""
        output.say(f"Added {new} example{'' if new == 1 else 's'} to {collection}{known}")


def _learned(
    service: Service,
    strategy: dict[str, Any],
    collection: str,
    encoder: str,
    given: list[Example],
    *,
    json: bool,
) -> None:
    """Say that a strategy without training is done, and by which encoder where that is the collection's choice."""
    labels = strategy["task"] == "classification"
    warning = warning_of(service, strategy, collection, encoder) if labels else None
    if warning is not None:
        output.say(f"Warning: {warning}")
    if json:
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
    next_steps.say(service, [[*words, "--collection", collection]], picture=picture)
