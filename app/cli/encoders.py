"""Which encoder a command binds a new collection to, and what is said where a strategy's own is not at hand."""

from __future__ import annotations

from typing import Any

from app.cli.client import Service


def encoder_for(service: Service, strategy: dict[str, Any]) -> str | None:
    """The encoder that a new collection must be bound to for the strategy; None where the service's default will do.

    A model of the family that knows only a small world takes the place of a real one only where a training would be
    refused without it.
    """
    model = strategy["model"]
    if model["kind"] != "encoder" or model["family"] == "default":
        return None
    if model["checkpoint"] != "default":
        return str(model["checkpoint"])
    of_family = _of_family(service, model["family"])
    if any(model["default"] for model in of_family):
        return None
    real = [model for model in of_family if model["knows"] is None]
    chosen = real or (of_family if strategy["method"] is not None else [])
    return str(chosen[0]["id"]) if chosen else None


def warning_of(service: Service, strategy: dict[str, Any], collection: str, encoder: str) -> str | None:
    """The note for a collection that learns by another encoder than the strategy names, or by one of a
    small world; None where it is what the strategy names.
    """
    wanted = strategy["model"]["family"]
    models = service.get("/v1/models")["data"]
    used = next((model for model in models if encoder in (model["id"], *model["aliases"])), None)
    small = used["knows"] if used else None
    if wanted in ("default", used["family"] if used else None):
        if small is None:
            return None
        return f"{collection} is bound to {encoder}, which knows only {small}; {_how_to_get(strategy)}"
    of_family = [model for model in models if model["kind"] == "encoder" and model["family"] == wanted]
    if any(model["knows"] is None for model in of_family):
        return (
            f"{collection} is bound to {encoder}, which is no model of the family {wanted}: --collection NEW makes a"
            " collection that is"
        )
    toys = "".join(f" ({model['id']} knows only {model['knows']})" for model in of_family)
    worse = (
        f" That is worse: {encoder} understands the words of labels far less, so that the examples alone must tell"
        " labels apart."
    )
    return (
        f"{strategy['name']} names a model of the family {wanted}, and none for photographs is at hand{toys}:"
        f" {collection} is bound to {encoder} instead.{worse if used and used['id'] == used['family'] else ''}"
        f" {_how_to_get(strategy)}"
    )


def _of_family(service: Service, family: str) -> list[dict[str, Any]]:
    models = service.get("/v1/models")["data"]
    return [model for model in models if model["kind"] == "encoder" and model["family"] == family]


def _how_to_get(strategy: dict[str, Any]) -> str:
    larger = strategy["model"]["larger"]
    setting = f"VISION_ENCODER={larger[0]['checkpoint']}" if larger else "VISION_ENCODER"
    return f"{setting} brings a general one, for a new collection"
