"""What a strategy is: a way to learn, on which model, with which settings, for how many examples, on what machine."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from app.methods import METHODS, MethodName
from app.methods.tasks import BaseKind, Task

LearningType = Literal["one_shot", "few_shot", "many_shot"]
LEARNING_WORDS: dict[LearningType, str] = {
    "one_shot": "one-shot",
    "few_shot": "few-shot",
    "many_shot": "many-shot",
}
"""As sentences write them."""

DEFAULT = "default"
"""As a checkpoint: the collection's own encoder, or the service's model for questions or captions. As a family:
any.
"""

_TASKS: dict[BaseKind, frozenset[Task]] = {
    "encoder": frozenset({"classification"}),
    "vlm": frozenset({"vqa", "caption"}),
}

_RESERVED = frozenset({"schema", "recommend"})
"""Words that stand where names do in the service's addresses."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Gigabytes = Annotated[float, Field(ge=0, le=1_000_000)]
Hours = Annotated[float, Field(ge=0, le=1_000_000)]


class StrictModel(BaseModel):
    """Refuses unknown fields and infinite values."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LargerCheckpoint(StrictModel):
    """Other weights of the same family, and what they need."""

    checkpoint: Word
    gpu_memory_gb: Gigabytes | None = Field(
        None, description="Memory of each GPU that it needs; null: a CPU will do."
    )
    cpu_memory_gb: Gigabytes


class StrategyModel(StrictModel):
    """The model that learns."""

    family: Word = Field(description="`lite`, `clip`, `llava`, ...; `default`: any.")
    checkpoint: Word = Field(
        DEFAULT,
        description="A word that the service loads models by: one of its own checkpoints, a Hugging Face id, a "
        "folder; `default`: the collection's own encoder, or the service's model for questions or captions.",
    )
    kind: BaseKind
    larger: list[LargerCheckpoint] = Field(
        default_factory=list,
        description="Larger weights of this family: by `VISION_ENCODER` or `VISION_VLM`, or by a strategy of your own.",
    )
    base_models: list[Word] = Field(
        default_factory=list,
        description="Families, or models by name, that a job may train in its place, as its `base_model`.",
    )


class Samples(StrictModel):
    """How many examples it is meant for, all labels together."""

    min: int = Field(1, ge=1, le=1_000_000_000, description="Fewer are refused.")
    best: int = Field(
        ge=1, le=1_000_000_000, description="About how many it is meant for; recommendations go by it."
    )
    max: int | None = Field(
        None, ge=1, le=1_000_000_000, description="Beyond it another strategy does better; null: no limit."
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.best < self.min or (self.max is not None and self.max < self.best):
            raise ValueError("min, best and max must rise")
        return self


class StrategyHardware(StrictModel):
    """What it needs with its own checkpoint, and how long it takes."""

    gpu_memory_gb: Gigabytes | None = Field(
        None, description="Memory of each GPU that it needs; null: a CPU will do."
    )
    cpu_memory_gb: Gigabytes = Field(description="Memory of the process that trains or answers.")
    cpu_cores: int = Field(1, ge=1, le=65_536, description="With fewer it takes too long to be of use.")
    expected_time_s: float | None = Field(None, ge=0, le=1e9, description="Seconds until it has learned.")
    expected_examples: int | None = Field(
        None, ge=1, le=1_000_000_000, description="With how many examples that is; null: with each one."
    )
    expected_fixed_s: float = Field(
        0, ge=0, le=1e9, description="Of these seconds, how many pass however few the examples are."
    )
    expected_cores: int = Field(2, ge=1, le=65_536, description="On how many CPU cores that is.")
    useful_cores: int = Field(8, ge=1, le=65_536, description="More CPU cores than these make it no faster.")
    training_time_hours: tuple[Hours, Hours] | None = Field(
        None, description="Least and most hours, as its author states, where seconds were not measured."
    )
    inference_time_ms: float | None = Field(
        None, ge=0, le=1e9, description="Milliseconds for one image, as measured or as its author says."
    )
    note: Sentence | None = Field(None, description="On which machine that was measured, or how estimated.")

    @model_validator(mode="after")
    def _times_agree(self) -> Self:
        if self.expected_fixed_s > (self.expected_time_s or 0):
            raise ValueError("expected_fixed_s is a part of expected_time_s and cannot be more")
        if self.training_time_hours and self.training_time_hours[0] > self.training_time_hours[1]:
            raise ValueError("training_time_hours must rise")
        return self


class Comparison(StrictModel):
    """How a strategy that trains nothing compares with training: recommendations put it first by this."""

    up_to_examples: int = Field(
        ge=1, le=1_000_000_000, description="With how many examples at most that was found."
    )
    says: Sentence = Field(description="What was measured, and where it is written down.")


class Strategy(StrictModel):
    """One way to learn; a file of `strategies/`."""

    name: Name = Field(description="The file's name without `.yaml`.")
    aliases: list[Name] = Field(default_factory=list, description="Other names that mean it.")
    description: Sentence
    learning_types: list[LearningType] = Field(min_length=1)
    task: Task
    model: StrategyModel
    method: MethodName | None = Field(
        None,
        description="How it trains; null: nothing is trained, examples count as soon as they are added.",
    )
    params: dict[str, Any] = Field(
        default_factory=dict, description="The method's settings that differ from its defaults."
    )
    samples: Samples
    hardware: StrategyHardware
    strengths: list[Sentence] = Field(min_length=1)
    use_cases: list[Sentence] = Field(min_length=1)
    as_good_as_training: Comparison | None = Field(
        None,
        description="Of a strategy that trains nothing: up to how many examples it was found as good as those that "
        "train; recommendations for no more than these put it first.",
    )

    @field_validator("name", "aliases")
    @classmethod
    def _no_address(cls, value: Any) -> Any:
        for name in _RESERVED.intersection([value] if isinstance(value, str) else value):
            raise ValueError(f"'{name}' is an address of its own")
        return value

    @field_validator("model")
    @classmethod
    def _learns_the_task(cls, model: StrategyModel, info: ValidationInfo) -> StrategyModel:
        task = info.data.get("task")
        if task is not None and task not in _TASKS[model.kind]:
            raise ValueError(f"a model of kind '{model.kind}' does not learn the task '{task}'")
        return model

    @field_validator("method")
    @classmethod
    def _trains_the_model(cls, method: MethodName | None, info: ValidationInfo) -> MethodName | None:
        model = info.data.get("model")
        if method is None or model is None:
            return method
        learns, task = METHODS[method].learns, info.data.get("task")
        if model.kind not in learns:
            raise ValueError(f"the method '{method}' does not train a model of kind '{model.kind}'")
        if task is not None and task not in learns[model.kind]:
            raise ValueError(f"the method '{method}' does not teach the task '{task}'")
        return method

    @field_validator("params")
    @classmethod
    def _of_a_method(cls, params: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if params and info.data.get("method", params) is None:
            raise ValueError("without a method nothing is trained")
        return params

    @field_validator("as_good_as_training")
    @classmethod
    def _trains_nothing(cls, found: Comparison | None, info: ValidationInfo) -> Comparison | None:
        if found is not None and info.data.get("method") is not None:
            raise ValueError("this is said of a strategy without a method, which trains nothing")
        return found

    def larger(self, checkpoint: str) -> LargerCheckpoint | None:
        """Which of its larger checkpoints a word of the model registry means, a hub id or a folder called like it."""
        called = PurePath(checkpoint).name.lower()
        same = (model for model in self.model.larger if PurePath(model.checkpoint).name.lower() == called)
        return next(same, None)

    @property
    def gpus(self) -> int:
        """How many GPUs one job of it uses at the same time; 0 where it needs none."""
        processes = int(self.params.get("processes") or 1) * int(self.params.get("nodes") or 1)
        return processes if self.hardware.gpu_memory_gb else 0


def name_checkpoint(checkpoint: str) -> str:
    """What clients call a checkpoint: of a folder of this machine no more than its name."""
    folder = Path(checkpoint).expanduser()
    return folder.name if folder.is_absolute() or folder.is_dir() else checkpoint
