"""`vision manyshot ...`: a dataset prepared, a model trained on it, judged and exported.

Knows folders and what is downloaded; how any of it works is the service's business.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import figures, following, output, saving
from app.cli.client import Service, connect
from app.cli.collections import quoted
from app.cli.datasets import dataset_id, prepare_dataset, taught_by
from app.cli.model_folders import model_id
from app.cli.options import ApiKey, DataDir, Json, Server
from app.cli.submitting import Ending, check_detach, trained
from app.cli.train import Force, Lines, ModelName, Params, Question, Seed, params

app = typer.Typer(help="Train on hundreds of examples and more.", no_args_is_help=True)
app.command("prepare-dataset")(prepare_dataset)
DEFAULT_FOLDER = Path("./trained_model")
_Model = Annotated[str, typer.Option(help="A trained model: its id, or its folder.")]


@app.command()
def train(
    dataset: Annotated[str, typer.Option(help="A prepared folder, a folder of examples, or a dataset's id.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="What to start from: a family (lite, clip, llava, blip, flamingo) or a model's id. A vision-language"
            " model learns labels as answers to --question."
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(min=0.001, max=10_000, help="Passes over the training examples.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Examples a forward pass; measured without.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, max=1, help="Peak learning rate.")] = None,
    question: Question = None,
    param: Params = None,
    name: ModelName = None,
    seed: Seed = 0,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "--output",
            "-o",
            help=f"Save the model's files in this folder; {DEFAULT_FOLDER} without, unless --detach is given.",
        ),
    ] = None,
    force: Force = False,
    detach: Annotated[bool, typer.Option("--detach", help="Ask for the job and do not wait for it.")] = False,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Lines = False,
) -> None:
    """Train a whole model on a dataset, and follow it."""
    if output_dir is None and not detach:
        output_dir = DEFAULT_FOLDER
    if output_dir is not None:
        force = saving.may_replace(output_dir, force=force)
    given = {"num_epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    arguments = {key: value for key, value in given.items() if value is not None}
    ending = Ending(detach, output_dir, force, json, taught_by(dataset))
    with connect(server, api_key, data_dir) as service:
        check_detach(service, ending)
        body: dict[str, Any] = {
            "config": {
                "training_args": {"learning_type": "many_shot", **arguments},
                "base_model": model or "default",
            },
            "dataset": dataset_id(service, dataset),
            "params": params(param, question),
            "seed": seed,
            **({"name": name} if name else {}),
        }
        trained(service, body, ending)


@app.command()
def evaluate(
    model: _Model,
    test_data: Annotated[
        str, typer.Option(help="A folder of examples, a prepared folder, or a dataset's id.")
    ],
    split: Annotated[
        str | None, typer.Option(help="test, validation, train or all; test of a dataset, all of a folder.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Keep this figure: accuracy, f1, per_class, confusion_matrix, calibration_error, bleu or exact_match;"
            " repeat. All that apply without it."
        ),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "--output", "-o", help="Save figures and pictures here.")
    ] = None,
    force: Force = False,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Judge a model on examples it was not trained on; chance stands beside the figures."""
    if output_dir is not None:
        saving.check_free(output_dir, force=force)
    fresh = Path(test_data).is_dir() and not (Path(test_data) / "dataset.json").is_file()
    with connect(server, api_key, data_dir) as service:
        name = str(model_id(service, model))
        wanted: dict[str, Any] = {"split": split or ("all" if fresh else "test"), "metrics": metric or None}
        wanted["dataset"] = dataset_id(service, test_data)
        job = _done(service, f"/v1/models/{quoted(name)}/evaluate", wanted, quiet=json)
        found = job["result"]["evaluation"]
        if output_dir is not None:
            saving.save_artifacts(service, job, output_dir, force=force)
    if json:
        output.print_json(found)
        return
    figures.show(found)


@app.command()
def export(
    model: _Model,
    format_: Annotated[str, typer.Option("--format", help="onnx or safetensors.")] = "onnx",
    output_dir: Annotated[
        Path, typer.Option("--output", "--output-dir", "-o", help="Save the files in this folder.")
    ] = Path("./exported"),
    force: Force = False,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Write a model as files that other programs load; what does not compute the same is refused."""
    saving.check_free(output_dir, force=force)
    with connect(server, api_key, data_dir) as service:
        name = str(model_id(service, model))
        job = _done(service, f"/v1/models/{quoted(name)}/export", {"format": format_}, quiet=json)
        saving.save_artifacts(service, job, output_dir, force=force)
    if json:
        output.print_json(job["result"]["export"])


def _done(service: Service, path: str, body: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Ask for a job and wait for its end; ends the command where it fails."""
    job = service.call("POST", path, json=body)
    ended = following.wait(service, job) if quiet else following.follow(service, job, json=False)
    following.end(ended, json=quiet)
    found: dict[str, Any] = service.call("GET", f"/v1/jobs/{job['id']}", again=True)
    return found
