"""`vision fewshot ...`: teach answers by example, ask with these examples shown, and train on what was taught.

Knows which fields to send; how examples are chosen and learned is the service's business.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli import output, saving
from app.cli.answering import Image, Model, NoStream, Shots, Strict, Tokens, answered
from app.cli.client import Service, connect
from app.cli.collections import quoted
from app.cli.model_folders import model_id
from app.cli.options import ApiKey, Collection, DataDir, Json, Server
from app.cli.submitting import Ending, trained
from app.cli.train import Force, Lines, ModelName, Params, Question, Seed, params

app = typer.Typer(
    help="Teach answers by example, ask with them, and train on a few examples.", no_args_is_help=True
)


@app.command("add-example")
def add_example(
    image: Image,
    question: Annotated[str, typer.Option(help="A question about the picture.")],
    answer: Annotated[str, typer.Option(help="Its right answer.")],
    collection: Collection = "default",
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Teach the answer to a question about a picture."""
    with connect(server, api_key, data_dir) as service:
        reply = service.call(
            "POST",
            f"/v1/collections/{quoted(collection)}/answers",
            data={"question": question, "answer": answer},
            files={"image": image.read_bytes()},
            again=True,
        )
    if json:
        output.print_json(reply)
        return
    output.print_table(
        ["question", "answer", "id"], [[reply["question"], reply["answer"], reply["id"]]], empty=""
    )
    output.say(f"{'Learned' if reply['created'] else 'Known already'}, in {collection}")


@app.command()
def query(
    image: Image,
    question: Annotated[str, typer.Option(help="What you want to know.")],
    k: Shots = None,
    model: Model = None,
    max_new_tokens: Tokens = None,
    strict: Strict = False,
    no_stream: NoStream = False,
    collection: Collection = "default",
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Ask about a picture, with the nearest taught answers shown to the model."""
    fields = {
        "question": question,
        "collection": collection,
        "k": k,
        "model": model,
        "max_new_tokens": max_new_tokens,
        "strict": strict or None,
    }
    with connect(server, api_key, data_dir) as service:
        fields["model"] = model_id(service, model)
        reply = answered(service, "/v1/vqa", image, fields, json=json, stream=not no_stream)
    if not json:
        used = len(reply["examples_used"])
        output.say(f"{reply['model']} saw {used} example{'' if used == 1 else 's'} of {collection}")


@app.command()
def train(
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
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Lines = False,
) -> None:
    """Train a model on what was taught, follow it, and save its files."""
    values = params(param, question)
    force = saving.may_replace(output_dir, force=force)
    with connect(server, api_key, data_dir) as service:
        body = {
            "strategy": strategy or _fitting_strategy(service, collection),
            "collection": collection,
            "params": values,
            "seed": seed,
            **({"name": name} if name else {}),
        }
        trained(service, body, Ending(output_dir=output_dir, force=force, json=json))


@app.command("list-examples")
def list_examples(
    collection: Collection = "default",
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """List the taught answers."""
    with connect(server, api_key, data_dir) as service:
        rows = list(service.pages(f"/v1/collections/{quoted(collection)}/answers"))
    if json:
        output.print_json({"data": rows})
        return
    shown = ([row["question"], row["answer"], row["id"]] for row in rows)
    output.print_table(["question", "answer", "id"], shown, empty=f"No answers in {collection} yet")


@app.command()
def forget(
    example: Annotated[str, typer.Argument(metavar="ID", help="Id of a taught answer.")],
    collection: Collection = "default",
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
) -> None:
    """Forget one taught answer."""
    with connect(server, api_key, data_dir) as service:
        service.call("DELETE", f"/v1/collections/{quoted(collection)}/answers/{quoted(example)}")
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
