"""`vision fewshot ...`: teach answers by example, and ask with these examples shown.

Knows which fields to send; how examples are chosen is the service's business.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import output
from app.cli.answering import Image, Model, NoStream, Shots, Tokens, answered
from app.cli.client import connect
from app.cli.collections import quoted
from app.cli.options import ApiKey, Collection, DataDir, Json, Server

app = typer.Typer(help="Teach answers by example, and ask with them.", no_args_is_help=True)


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
    }
    with connect(server, api_key, data_dir) as service:
        reply = answered(service, "/v1/vqa", image, fields, json=json, stream=not no_stream)
    if not json:
        used = len(reply["examples_used"])
        output.say(f"{reply['model']} saw {used} example{'' if used == 1 else 's'} of {collection}")


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
