"""`vision ask` and `vision caption`: questions about a picture, and what it shows in words."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import form_fields
from app.cli.files import check_regular, image_files
from app.cli.model_folders import model_id
from app.cli.options import Images, Json
from app.cli.rows import each, end, send_one
from app.cli.session import Session, pass_session

Image = Annotated[
    Path, typer.Option(exists=True, dir_okay=False, callback=check_regular, help="The picture.")
]
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


@pass_session(Json)
def ask(
    session: Session,
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
) -> None:
    """Answer a question about a picture."""
    form = form_fields(
        question=question,
        collection=collection,
        k=k,
        model=model_id(session.service, model),
        max_new_tokens=max_new_tokens,
        strict=strict or None,
    )
    answer(session, "/v1/vqa", image, form, stream=not no_stream)


@pass_session(Json)
def caption(
    session: Session,
    image: Images,
    prompt: Annotated[str | None, typer.Option(help="What to describe, or how.")] = None,
    model: Model = None,
    max_new_tokens: Tokens = None,
    strict: Strict = False,
    no_stream: NoStream = False,
) -> None:
    """Say in words what a picture shows, or each picture of a folder."""
    files = image_files(image)
    service = session.service
    form = form_fields(
        prompt=prompt,
        model=model_id(service, model),
        max_new_tokens=max_new_tokens,
        strict=strict or None,
    )
    if len(files) == 1 and not image[0].is_dir():
        answer(session, "/v1/caption", files[0], form, stream=not no_stream)
        return
    rows = each(
        "Captioning",
        [(None, file) for file in files],
        lambda _, file: service.send("/v1/caption", form, image=file),
    )
    session.print_rows({"data": rows}, {"image": "file", "caption": "caption", "error": "error"})
    if not session.json:
        warn([warning for row in rows for warning in row.get("warnings", [])], len(rows))
    end(rows, "captioned")


def answer(
    session: Session, path: str, image: Path, form: dict[str, str], *, stream: bool = True
) -> dict[str, Any]:
    """Ask, and show the answer: when it is whole as JSON or without `stream`, else piece by piece. The whole reply."""
    if session.json or not stream:
        reply = send_one(session, path, form, image)
        session.print_result(reply, _print_answer)
        return reply
    whole: dict[str, Any] = {}
    for event in session.service.stream_answer(path, form, image):
        if event.name == "done":
            whole = event.data
        else:
            sys.stdout.write(event.data["text"])
            sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
    warn(whole["warnings"])
    return whole


def warn(warnings: list[dict[str, Any]], pictures: int = 1) -> None:
    """Say each sentence once, with how many of several pictures it is about."""
    for sentence, count in Counter(warning["sentence"] for warning in warnings).items():
        about = f" ({count} of {pictures} pictures)" if pictures > 1 else ""
        output.say(f"Warning{about}: {sentence}")


def _print_answer(reply: dict[str, Any]) -> None:
    sys.stdout.write(f"{reply['answer'] if 'answer' in reply else reply['caption']}\n")
    warn(reply["warnings"])
