"""Replies of `/models`."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.http.bodies import WholeList, with_example
from app.jobs.info import EXAMPLE_ARTIFACT, ArtifactInfo
from app.jobs.spec import Comparison

OWNER = "llamafarm-vision"
_LITE: dict[str, Any] = {
    "id": "lite",
    "object": "model",
    "created": 0,
    "owned_by": OWNER,
    "kind": "encoder",
    "tasks": None,
    "family": "lite",
    "aliases": [],
    "alias_of": None,
    "default": True,
    "loaded": True,
    "dim": 1472,
    "input_size": 224,
    "memory_mb": 205.1,
    "runtime": "onnxruntime float32 cpu",
    "fingerprint": "0f3a9c1e5b7d2468",
    "optimisation": {
        "asked": "standard",
        "level": "standard",
        "speed_up": 5.6,
        "parity": 1.0,
        "note": "'standard' runs what 'basic' runs here (onnx-float32): nothing else is faster.",
    },
}


class ModelOptimisation(BaseModel):
    """How far a loaded model is optimised, against plain float32 torch."""

    asked: str = Field(description="What the settings ask for: `auto` or a level.")
    level: str = Field(
        description="What runs: `none`, `basic`, `standard` or `aggressive`; lower than asked where one was refused."
    )
    speed_up: float | None = Field(
        description="Times as fast as eager float32 torch with 8 images; null where it was not measured."
    )
    parity: float | None = Field(
        description="Least cosine to eager float32 torch (for a vlm: share of equal tokens); null where not measured."
    )
    note: str | None = Field(
        description="What was refused, is slower than the level below or changes nothing."
    )


class TrainedFacts(BaseModel):
    """What only a trained model has."""

    base_model: str = Field(description="The model it was trained over.")
    method: str
    task: str
    labels: list[str] | None = Field(description="What a classifier tells apart.")
    strategy: str | None
    job_id: uuid.UUID | None = Field(description="The job that made it; null for an uploaded one.")
    data: dict[str, Any] = Field(description="What it was trained on, counted.")
    settings: dict[str, Any] = Field(description="Its hyper-parameters.")
    seed: int | None
    metrics: dict[str, Any] = Field(description="On examples it was not trained on, chance beside them.")
    comparison: Comparison | None = Field(
        None, description="With the closed-form head on the same images; null where no labels were learned."
    )
    parameters: int | None = Field(description="How many numbers were trained.")
    size_mb: float | None = Field(description="Of its files.")
    base_changed: bool = Field(
        description="Whether the base model here is not the one it was trained over: then it must be trained again."
    )
    note: str | None = Field(None, description="What there is to know, in one sentence.")
    created_at: datetime


class Model(BaseModel):
    """A model; what only a loaded one knows is null before."""

    model_config = with_example(_LITE)

    id: str
    object: Literal["model"] = Field("model", description="Always this; clients of OpenAI's API read it.")
    created: int = Field(
        0, description="When it was trained, in seconds since 1970; 0 for a model that came with the service."
    )
    owned_by: str = Field(OWNER, description="`workspace` for a model that was trained or uploaded here.")
    kind: Literal["encoder", "vlm", "classifier"] = Field(
        description="`encoder`, `vlm` (a vision-language model), or `classifier`: one trained for labels of its own."
    )
    tasks: list[str] | None = Field(
        description="What a vision-language model does: `vqa`, `caption`; null where only loading it tells."
    )
    family: str
    aliases: list[str] = Field(description="Other names that mean it, such as its hub id.")
    alias_of: str | None = Field(
        None,
        description="The model that this entry is another name of, for clients that know only models: "
        "`<encoder>-embed`, or `collection/<name>`, whose encoder this then is.",
    )
    default: bool
    knows: str | None = Field(
        None, description="Completes `it knows only ...` of a model of a small world; null for a general one."
    )
    loaded: bool = Field(
        description="Whether it is in memory now; others are loaded when they are asked for."
    )
    dim: int | None = Field(description="Length of its vectors.")
    input_size: int | None = Field(description="Pixels of an image's shorter side that it looks at.")
    memory_mb: float | None
    runtime: str | None = Field(description="How it runs here.")
    fingerprint: str | None = Field(description="Names its weights; vectors of two fingerprints never mix.")
    optimisation: ModelOptimisation | None = Field(None, description="Null for a model that is not loaded.")
    trained: TrainedFacts | None = Field(None, description="Null for a model that was not trained here.")


_FILE = EXAMPLE_ARTIFACT | {"url": "/v1/models/mugs-lite-fewshot/artifacts/head.safetensors"}


class ModelFile(ArtifactInfo):
    """A file of a trained model, or one that was made of it since."""

    model_config = with_example(_FILE)


class ModelFiles(WholeList[ModelFile]):
    """All files of a model, by name."""

    model_config = with_example({"data": [_FILE], "next": None})


class ModelList(WholeList[Model]):
    """All models, the default first."""

    model_config = with_example({"object": "list", "data": [_LITE], "next": None})

    object: Literal["list"] = Field("list", description="Always this; clients of OpenAI's API read it.")
