"""`vision manyshot ...`: a dataset prepared, a model trained on it, judged and exported."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli import figures, following, next_steps, output, saving
from app.cli.client import drop_none, quoted
from app.cli.dataset_folders import (
    check_folder,
    dataset_id,
    find_training_source,
    split_to_judge,
    upload,
    write_note,
)
from app.cli.datasets import print_dataset
from app.cli.labelled_folders import FolderRules
from app.cli.model_folders import model_id
from app.cli.options import (
    Detach,
    Force,
    Json,
    LabelsFromOption,
    Lines,
    ModelName,
    OwnSplitOption,
    Params,
    Question,
    Seed,
    Split,
    SplitSeed,
    parse_params,
)
from app.cli.session import Session, pass_session
from app.cli.submitting import SubmitOptions, check_detach, check_request, train_and_save


class Figure(StrEnum):
    """What an evaluation may keep."""

    ACCURACY = "accuracy"
    F1 = "f1"
    MACRO_F1 = "macro_f1"
    PER_CLASS = "per_class"
    CONFUSION_MATRIX = "confusion_matrix"
    CALIBRATION_ERROR = "calibration_error"
    BLEU = "bleu"
    EXACT_MATCH = "exact_match"


app = typer.Typer(help="Train on hundreds of examples and more.", no_args_is_help=True)
DEFAULT_FOLDER = Path("./trained_model")
_Model = Annotated[str, typer.Option(help="A trained model: its id, or its folder.")]
_JudgedSplit = Literal["test", "validation", "train", "all"]
# --data-dir is the folder with the examples here
_ServiceDir = Annotated[
    Path | None,
    typer.Option(
        "--service-dir", envvar="VISION_DATA_DIR", help="Data folder of the service to find or start."
    ),
]


@app.command("prepare-dataset")
@pass_session(Json, data_dir=_ServiceDir)
def prepare_dataset(
    session: Session,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", exists=True, file_okay=False, help="Folder with the examples.")
    ],
    output_dir: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the note, the manifest and the report.")
    ] = None,
    format_: Annotated[
        str,
        typer.Option(
            "--format", help="auto, directory (a folder a label), coco, jsonl, json, csv, voc or yolo."
        ),
    ] = "auto",
    boxes: Annotated[
        str,
        typer.Option(
            help="What a box becomes: whole, a label of the image; or crops, an example of its own."
        ),
    ] = "whole",
    labels_from: LabelsFromOption = "auto",
    own_split: OwnSplitOption = "keep",
    split: Split = "0.8,0.1,0.1",
    seed: SplitSeed = 0,
    name: Annotated[str | None, typer.Option(help="What to call it; the folder's name without.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write into an output folder that is not empty.")
    ] = False,
) -> None:
    """Send a folder of images, have each checked, and split them into train, validation and test."""
    if output_dir is not None:
        saving.check_free(output_dir, force=force, effect="writes into it")
    fields = {
        "name": name or data_dir.resolve().name or "dataset",
        "format": format_,
        "boxes": boxes,
        "labels_from": labels_from,
        "own_split": own_split,
        "split": split,
        "seed": str(seed),
    }
    found = upload(session, data_dir, fields, quiet=session.json)
    if output_dir is not None:
        write_note(session.service, found, output_dir, data_dir)
    session.print_result(found, print_dataset)
    place = found["id"] if output_dir is None else str(output_dir)
    if found["summary"]["splits"]["train"]:
        next_steps.say(session, [["manyshot", "train", "--dataset", place]])


@app.command()
@pass_session(Lines)
def train(
    session: Session,
    dataset: Annotated[str, typer.Option(help="A prepared folder, a folder of examples, or a dataset's id.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="What to start from: a family (lite, clip, llava, blip, flamingo) or a model's id. A vision-language"
            " model learns labels as answers to --question."
        ),
    ] = None,
    labels_from: LabelsFromOption = "auto",
    own_split: OwnSplitOption = "keep",
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
    detach: Detach = False,
) -> None:
    """Train a whole model on a dataset, and follow it."""
    if output_dir is None and not detach:
        output_dir = DEFAULT_FOLDER
    if output_dir is not None:
        force = saving.may_replace(output_dir, force=force)
    values = parse_params(param, question)
    options = SubmitOptions(detach, output_dir, force, find_training_source(dataset))
    check_detach(session, options)
    arguments = drop_none(num_epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    config = {
        "training_args": {"learning_type": "many_shot", **arguments},
        "base_model": model or "default",
    }
    body = drop_none(config=config, params=values, seed=seed, name=name or None)
    if Path(dataset).is_dir():
        check_request(session, body)
    rules = FolderRules(labels_from, own_split)
    train_and_save(session, body | {"dataset": dataset_id(session, dataset, rules)}, options)


@app.command()
@pass_session(Json)
def evaluate(
    session: Session,
    model: _Model,
    test_data: Annotated[
        str, typer.Option(help="A folder of examples, a prepared folder, or a dataset's id.")
    ],
    split: Annotated[
        _JudgedSplit | None,
        typer.Option(
            help="Which examples; without it test of a dataset, of a folder its own test split or all."
        ),
    ] = None,
    metric: Annotated[
        list[Figure] | None, typer.Option(help="Keep this figure; repeat. All that apply without it.")
    ] = None,
    labels_from: LabelsFromOption = "auto",
    own_split: OwnSplitOption = "keep",
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "--output", "-o", help="Save figures and pictures here.")
    ] = None,
    force: Force = False,
) -> None:
    """Judge a model on examples it was not trained on; chance stands beside the figures."""
    if output_dir is not None:
        saving.check_free(output_dir, force=force)
    check_folder(test_data)
    fresh = Path(test_data).is_dir() and not (Path(test_data) / "dataset.json").is_file()
    name = quoted(str(model_id(session.service, model)))
    # that there is none, or none that could be judged, is said before a folder is sent
    if session.service.get(f"/v1/models/{name}")["kind"] == "encoder":
        output.fail(
            f"'{model}' has no labels of its own to be judged by: train a model on it first",
            output.REFUSED,
        )
    dataset = dataset_id(session, test_data, FolderRules(labels_from, own_split))
    body = {
        "split": split or (split_to_judge(session, dataset) if fresh else "test"),
        "metrics": metric or None,
        "dataset": dataset,
    }
    asked = session.service.call("POST", f"/v1/models/{name}/evaluate", json=body)
    job = following.wait(session, asked, quiet=session.json)
    if output_dir is not None:
        saving.save_artifacts(session.service, job, output_dir, force=force)
    session.print_result(job["result"]["evaluation"], figures.show)


@app.command()
@pass_session(Json)
def export(
    session: Session,
    model: _Model,
    format_: Annotated[str, typer.Option("--format", help="onnx or safetensors.")] = "onnx",
    output_dir: Annotated[
        Path, typer.Option("--output", "--output-dir", "-o", help="Save the files in this folder.")
    ] = Path("./exported"),
    text_encoder: Annotated[
        bool,
        typer.Option("--text-encoder", help="Add the encoder of texts to ONNX, which images do not need."),
    ] = False,
    force: Force = False,
) -> None:
    """Write a model as files that other programs load; what does not compute the same is refused."""
    saving.check_free(output_dir, force=force)
    name = quoted(str(model_id(session.service, model)))
    body = {"format": format_, "text_encoder": text_encoder}
    asked = session.service.call("POST", f"/v1/models/{name}/export", json=body)
    job = following.wait(session, asked, quiet=session.json)
    saving.save_artifacts(session.service, job, output_dir, force=force)
    report = job["result"]["export"]
    if session.json:
        output.print_json(report)
        return
    if "runner" in report:
        output.say(f"To use it without the service: python {output_dir / 'predict.py'} {next_steps.PICTURE}")
    output.say(f"{output_dir / 'README.md'} says what is in the folder")
