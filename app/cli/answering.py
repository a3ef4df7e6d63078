"""`vision ask` and `vision caption`: questions about a picture, and what it shows in words.

Knows which fields to send and how an answer is shown while it comes; models are the service's business.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import RefusedError, Service, connect
from app.cli.files import image_files
from app.cli.model_folders import model_id
from app.cli.options import ApiKey, DataDir, Json, Server
from app.cli.rows import each, end

Image = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The picture.")]
Model = Annotated[
    str | None, typer.Option(help="Vision-language model: an id, or the folder of a trained one.")
]
Shots = Annotated[
    int | None,
    typer.Option(
        "--k",
        "-k",
        min=0,
        help="How many answer examples to show the model; 0 for none, as with a trained one.",
    ),
]
NoStream = Annotated[
    bool, typer.Option("--no-stream", help="Print the answer when it is whole, not while it comes.")
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Fail, instead of warning, where the model knows nothing like the picture."
    ),
]
Tokens = Annotated[int | None, typer.Option("--max-new-tokens", min=1, help="Longest answer, in tokens.")]


def ask(
    image: Image,
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", help="Show the model this collection's answer examples."),
    ] = None,
    k: Shots = None,
    model: Model = None,
    max_new_tokens: Tokens = None,
    strict: Strict = False,
    no_stream: NoStream = False,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Answer a question about a picture."""
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
        answered(service, "/v1/vqa", image, fields, json=json, stream=not no_stream)


def caption(
    image: Annotated[
        list[Path], typer.Option(exists=True, help="Image or folder of images; repeat for several.")
    ],
    prompt: Annotated[str | None, typer.Option(help="What to describe, or how.")] = None,
    model: Model = None,
    max_new_tokens: Tokens = None,
    strict: Strict = False,
    no_stream: NoStream = False,
    server: Server = None,
    api_key: ApiKey = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Say in words what a picture shows, or each picture of a folder."""
    files = image_files(image)
    fields = {
        "prompt": prompt,
        "model": model,
        "max_new_tokens": max_new_tokens,
        "strict": strict or None,
    }
    with connect(server, api_key, data_dir) as service:
        fields["model"] = model_id(service, model)
        if len(files) == 1 and not image[0].is_dir():
            answered(service, "/v1/caption", files[0], fields, json=json, stream=not no_stream)
            return
        rows = each(
            "Captioning", [(None, file) for file in files], lambda _, file: _captioned(service, file, fields)
        )
    if json:
        output.print_json({"data": rows})
    else:
        shown = ([row["file"], row.get("caption", ""), row.get("error", "")] for row in rows)
        output.print_table(["image", "caption", "error"], shown, empty="")
        warn([warned for row in rows for warned in row.get("warnings", [])], len(rows))
    end(rows)


def answered(
    service: Service, path: str, image: Path, fields: dict[str, Any], *, json: bool, stream: bool = True
) -> dict[str, Any]:
    """Ask, and show the answer: when it is whole as JSON or without `stream`, else piece by piece. The whole reply."""
    form = {name: str(value) for name, value in fields.items() if value is not None}
    files = {"image": image.read_bytes()}
    if json or not stream:
        reply: dict[str, Any] = service.call("POST", path, data=form, files=files, again=True)
        if json:
            output.print_json(reply)
        else:
            sys.stdout.write(f"{reply['answer'] if 'answer' in reply else reply['caption']}\n")
            warn(reply["warnings"])
        return reply
    for name, event in service.events(path, data={**form, "stream": "true"}, files=files):
        if name == "token":
            sys.stdout.write(event["text"])
            sys.stdout.flush()
        elif name == "error":
            sys.stdout.write("\n")
            raise RefusedError(event["status"], event["detail"])
        elif name == "done":
            sys.stdout.write("\n")
            sys.stdout.flush()
            warn(event["warnings"])
            return dict(event)
    raise RefusedError(502, "the answer ended early")


def warn(warnings: list[dict[str, Any]], pictures: int = 1) -> None:
    """Say each sentence once, with how many of several pictures it is about."""
    for sentence, count in Counter(warned["sentence"] for warned in warnings).items():
        about = f" ({count} of {pictures} pictures)" if pictures > 1 else ""
        output.say(f"Warning{about}: {sentence}")


def _captioned(service: Service, file: Path, fields: dict[str, Any]) -> dict[str, Any]:
    form = {name: str(value) for name, value in fields.items() if value is not None}
    reply: dict[str, Any] = service.call(
        "POST", "/v1/caption", data=form, files={"image": file.read_bytes()}, again=True
    )
    return reply
