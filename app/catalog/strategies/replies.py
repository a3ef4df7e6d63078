"""What travels when strategies are listed, shown and recommended.

Knows shapes; a strategy's own shape is its schema's.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from app.catalog.strategies.presets import PRESETS, Machine
from app.catalog.strategies.schema import LearningType, Strategy
from app.training.spec import Task

AUTO = "auto"


_FITS: dict[str, Any] = {
    "name": "lite_fewshot",
    "task": "classification",
    "family": "lite",
    "checkpoint": "default",
    "method": "lora",
    "expected_time_s": 90,
    "expected_examples": 50,
    "larger": [],
    "reason": "Trains with the method lora; 50 examples are about what it is meant for; needs no GPU and 2 GB of "
    "memory; the service's model 'lite' can be used.",
}


class StrategyInfo(Strategy):
    """A strategy."""

    own: bool = Field(description="Whether it is from your own folder.")
    here: str = Field(description="Which model it would use on this service, or what it takes to have one.")
    defaults: dict[str, Any] = Field(
        description="The settings of its method that it leaves alone; a job's `params` may change any."
    )


class RefusedFile(BaseModel):
    """A file of your own folder that is no strategy."""

    file: str
    reason: str = Field(description="Names the line and the field.")


class StrategyList(BaseModel):
    """All strategies, by name."""

    data: list[StrategyInfo]
    refused: list[RefusedFile]
    next: str | None = Field(None, description="Always null: strategies fit one page.")


def _form(value: Any) -> str:
    """A machine is named or described; errors then speak of the form that was meant."""
    return "numbers" if isinstance(value, dict | Machine) else "name"


class RecommendRequest(BaseModel):
    """What is to be learned, and on what."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"learning_type": "few_shot", "dataset_size": 50, "hardware": "auto"},
                {"task": "vqa", "hardware": {"gpu_memory_gb": 24, "cpu_memory_gb": 64}},
            ]
        },
    )

    learning_type: LearningType | None = Field(None, description="Empty: any.")
    dataset_size: int | None = Field(
        None, ge=1, le=1_000_000_000, description="Examples, all labels together; empty: not looked at."
    )
    task: Task | None = Field(None, description="Empty: any.")
    hardware: Annotated[
        Annotated[str, Field(max_length=100), Tag("name")] | Annotated[Machine, Tag("numbers")],
        Discriminator(_form),
    ] = Field(
        AUTO,
        description=f"`{AUTO}`: the machine that answers; a machine in numbers; or one of "
        f"{', '.join(f'`{name}`' for name in PRESETS)}.",
    )


class Recommended(BaseModel):
    """A strategy that fits."""

    name: str
    task: Task
    family: str
    checkpoint: str
    method: str | None
    expected_time_s: float | None
    expected_examples: int | None = Field(description="With how many examples that is; null: with each one.")
    larger: list[str] = Field(description="Larger checkpoints of its family that fit the machine too.")
    reason: str


class LeftOut(BaseModel):
    """A strategy that does not fit."""

    name: str
    reason: str


class Recommendation(BaseModel):
    """What fits, best first, and why the others do not."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "hardware": {"gpu_memory_gb": 0, "gpus": 0, "cpu_memory_gb": 16, "cores": 8},
                    "data": [_FITS],
                    "left_out": [
                        {
                            "name": "custom_manyshot",
                            "reason": "It is for many-shot learning, not for few-shot.",
                        }
                    ],
                }
            ]
        }
    )

    hardware: Machine = Field(description="What was compared with.")
    data: list[Recommended]
    left_out: list[LeftOut]
