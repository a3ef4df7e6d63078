"""`vision fewshot ...`: teach answers by example, ask with these examples shown, and train on what was taught."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli import answering, next_steps, output, saving
from app.cli.answering import Image, Model, NoStream, Shots, Strict, Tokens
from app.cli.client import Service, drop_none, form_fields, quoted
from app.cli.model_folders import model_id
from app.cli.options import (
    Collection,
    Force,
    Json,
    Lines,
    ModelName,
    Params,
    Question,
    Seed,
    parse_params,
)
from app.cli.session import Session, pass_session
from app.cli.submitting import SubmitOptions, say_next, submit
from app.cli.wording import count_examples

app = typer.Typer(
    help="Teach answers by example, ask with them, and train on a few examples.", no_args_is_help=True
)
_ANSWER = {"question": "question", "answer": "answer", "id": "id"}


@app.command("add-example")
@pass_session(Json)
def add_example(
    session: Session,
    image: Image,
    question: Annotated[str, typer.Option(help="A question about the picture.")],
    answer: Annotated[str, typer.Option(help="Its right answer.")],
    collection: Collection = "default",
) -> None:
    """Teach the answer to a question about a picture."""
    path, form = f"/v1/collections/{quoted(collection)}/answers", {"question": question, "answer": answer}
    reply = session.service.send(path, form, image=image)
    if session.json:
        output.print_json(reply)
        return
    session.print_rows({"data": [reply]}, _ANSWER)
    output.say(f"{'Learned' if reply['created'] else 'Known already'}, in {collection}")


@app.command()
@pass_session(Json)
def query(
    session: Session,
    image: Image,
    question: Annotated[str, typer.Option(help="What you want to know.")],
    k: Shots = None,
    model: Model = None,
    max_new_tokens: Tokens = None,
    strict: Strict = False,
    no_stream: NoStream = False,
    collection: Collection = "default",
) -> None:
    """Ask about a picture, with the nearest taught answers shown to the model."""
    form = form_fields(
        question=question,
        collection=collection,
        k=k,
        model=model_id(session.service, model),
        max_new_tokens=max_new_tokens,
        strict=strict or None,
    )
    reply = answering.answer(session, "/v1/vqa", image, form, stream=not no_stream)
    session.say(f"{reply['model']} saw {count_examples(len(reply['examples_used']))} of {collection}")


@app.command()
@pass_session(Lines)
def train(
    session: Session,
    collection: Collection = "default",
    strategy: Annotated[
        str | None,
        typer.Option(help="How to learn; without it by what the collection holds and is bound to."),
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Save the model's files in this folder.")] = Path(
        "./few_shot_model"
    ),
    param: Params = None,
    question: Question = None,
    name: ModelName = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Train a model on what was taught, follow it, and save its files."""
    values = parse_params(param, question)
    force = saving.may_replace(output_dir, force=force)
    body = drop_none(
        strategy=strategy or _fitting_strategy(session.service, collection),
        collection=collection,
        params=values,
        seed=seed,
        name=name or None,
    )
    options = SubmitOptions(output_dir=output_dir, force=force)
    job = submit(session, body, options)
    if job is None:
        return
    say_next(session, job, options)
    if job["task"] != "classification":
        session.say(
            "(vision fewshot query goes on asking the base model with examples shown; vision ask --model"
            f" {next_steps.format_path(output_dir)} asks what was trained)"
        )


@app.command("list-examples")
@pass_session(Json)
def list_examples(session: Session, collection: Collection = "default") -> None:
    """List the taught answers."""
    rows = list(session.service.pages(f"/v1/collections/{quoted(collection)}/answers"))
    session.print_rows({"data": rows}, _ANSWER, empty=f"No answers in {collection} yet")


@app.command()
@pass_session()
def forget(
    session: Session,
    example: Annotated[str, typer.Argument(metavar="ID", help="Id of a taught answer.")],
    collection: Collection = "default",
) -> None:
    """Forget one taught answer."""
    session.service.call("DELETE", f"/v1/collections/{quoted(collection)}/answers/{quoted(example)}")
    output.say(f"Forgot {example}")


def _fitting_strategy(service: Service, collection: str) -> str:
    """Answers are taught to the vision-language model; labels to the encoder that the collection is bound to."""
    path = f"/v1/collections/{quoted(collection)}"
    about = service.call("GET", path, again=True)
    family = service.call("GET", f"/v1/models/{quoted(about['encoder'])}", again=True)["family"]
    for_labels = _of_family(service, family, "classification") or "prototypical_fewshot"
    if any(label["examples"] < 2 for label in service.pages(f"{path}/labels")):
        for_labels = (
            "siamese_oneshot"  # of one example a label it learns more than the others (docs/training.md)
        )
    if not service.call("GET", f"{path}/answers", params={"limit": 1}, again=True)["data"]:
        return for_labels
    if about["labels"]:
        output.say(
            f"{collection} holds answers and labels: this trains on the answers, --strategy {for_labels} on the labels"
        )
    models = service.call("GET", "/v1/models", again=True)["data"]
    default = next((model["family"] for model in models if model["kind"] == "vlm" and model["default"]), "")
    return _of_family(service, default, "vqa") or "llava_fewshot"


def _of_family(service: Service, family: str, task: str) -> str | None:
    """The shipped strategy that trains models of this family on a few examples."""
    for strategy in service.call("GET", "/v1/strategies", again=True)["data"]:
        trains = strategy["method"] and not strategy["own"] and "few_shot" in strategy["learning_types"]
        if trains and (strategy["model"]["family"], strategy["task"]) == (family, task):
            return str(strategy["name"])
    return None
