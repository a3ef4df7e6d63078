"""The document describes every route of recognising: an example of each answer, and what may go wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.embedded import Addresses
from app.main import create_app
from app.settings import Settings

TAGS = {"recognition", "collections", "models", "jobs"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("openapi")
    app = create_app(Settings(data_dir=folder), Addresses("postgresql://nowhere", "redis://nowhere"))
    made: dict[str, Any] = app.openapi()
    return made


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if TAGS & set(operation.get("tags", []))
    }


def test_every_answer_has_an_example(document: dict[str, Any]) -> None:
    found = operations(document)
    assert len(found) >= 16
    for name, operation in found.items():
        assert operation["description"], name
        for status, answer in operation["responses"].items():
            if not status.startswith("2") or "application/json" not in answer.get("content", {}):
                continue
            content = answer["content"]["application/json"]
            if content.get("example"):
                continue
            schema = content["schema"]
            for part in schema.get("anyOf", [schema]):
                assert document["components"]["schemas"][part["$ref"].rsplit("/", 1)[-1]]["examples"], name


@pytest.mark.parametrize(
    ("operation", "codes"),
    [
        ("POST /v1/classify", {"empty_collection", "encoder_mismatch", "collection_not_found", "image_too_large"}),
        ("POST /v1/collections", {"collection_exists", "model_not_found"}),
        ("DELETE /v1/collections/{collection}", {"default_collection", "collection_not_found"}),
        ("POST /v1/collections/{collection}/examples", {"collection_not_found", "invalid_image", "too_large"}),
        ("GET /v1/collections/{collection}/examples/{id}/image", {"example_not_found"}),
        ("POST /v1/search", {"collection_not_found", "invalid_image", "not_ready"}),
        ("POST /v1/embeddings", {"model_not_found", "invalid_image", "too_many_parts"}),
        ("GET /v1/models/{model}", {"model_not_found"}),
        ("PATCH /v1/collections/{collection}", {"conflict", "model_not_found"}),
        ("POST /v1/jobs", {"not_trainable", "idempotency_key_reused", "strategy_not_found"}),
        ("POST /v1/jobs/{job}/cancel", {"job_not_found", "job_state"}),
        ("GET /v1/jobs/{job}/artifacts/{file}", {"artifact_not_found"}),
    ],
)  # fmt: skip
def test_what_may_go_wrong_is_documented(document: dict[str, Any], operation: str, codes: set[str]) -> None:
    said = {
        code
        for answer in operations(document)[operation]["responses"].values()
        for code in answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    assert codes <= said, codes - said
    # what any route may answer stays documented beside it
    assert {"unauthorized", "forbidden", "invalid_input", "overloaded"} <= said, said


@pytest.mark.parametrize(
    ("operation", "events"),
    [
        ("POST /v1/vqa", {"token", "done", "error"}),
        ("POST /v1/caption", {"token", "done", "error"}),
        ("GET /v1/jobs/{job}/events", {"state", "progress", "metric", "log"}),
    ],
)
def test_event_streams_say_which_events_they_hold(
    document: dict[str, Any], operation: str, events: set[str]
) -> None:
    method, _, path = operation.partition(" ")
    content = document["paths"][path][method.lower()]["responses"]["200"]["content"]["text/event-stream"]
    assert set(content) == {"itemSchema"}
    described = content["itemSchema"]["oneOf"]
    assert {event["properties"]["event"]["const"] for event in described} == events
    for event in described:
        schema = event["properties"]["data"]["contentSchema"]
        if "$ref" in schema:
            assert schema["$ref"].rpartition("/")[2] in document["components"]["schemas"]


def test_event_streams_are_nothing_else(document: dict[str, Any]) -> None:
    """A route that streams answers with nothing but events when it does: no JSON is promised beside them."""
    found = operations(document)["GET /v1/jobs/{job}/events"]["responses"]["200"]["content"]
    assert set(found) == {"text/event-stream"}
