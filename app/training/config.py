"""The multimodal configuration: one YAML or JSON document that says what to train, on what, and how to judge it.

Knows its fields, their ranges and what they mean as a job's parameters; reads no files and fetches nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.errors import InvalidInputError
from app.training.spec import Method, Metric, Task
from app.wrong_fields import complaint

Augmentation = Literal["rotation", "brightness", "noise", "crop", "flip"]
LearningType = Literal["one_shot", "few_shot", "many_shot"]
_LARGEST = 1 << 20


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class VisionProcessor(_Strict):
    """What happens to images before the model sees them."""

    augmentations: list[Augmentation] | None = Field(
        None,
        description="Changes that training examples are shown with; empty list: none; left out: the method's own.",
    )


class TextProcessor(_Strict):
    """What happens to texts."""

    max_length: int | None = Field(
        None,
        ge=1,
        le=20_000,
        description="Longest answer, in characters; longer ones are left out, and said.",
    )


class TrainingArguments(_Strict):
    """How long and how fast."""

    learning_type: LearningType = Field(description="one_shot, few_shot or many_shot.")
    num_examples: int | None = Field(
        None, ge=1, description="Examples a label that are used at most; empty: all."
    )
    num_epochs: float | None = Field(None, gt=0, le=10_000, description="Passes over the training split.")
    batch_size: int | Literal["auto"] | None = Field(
        None, description="Examples a forward pass; auto measures."
    )
    learning_rate: float | None = Field(None, gt=0, le=1, description="Peak rate.")
    warmup_steps: int | None = Field(None, ge=0, description="Steps during which the rate rises.")
    method: Method | None = Field(
        None, description="head, lora, prototypical, maml, siamese or finetune; empty: by learning type."
    )
    extra: dict[str, Any] = Field(
        default_factory=dict, description="Further parameters of the method, as in docs/training.md."
    )

    @field_validator("batch_size")
    @classmethod
    def _positive(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be at least 1, or auto")
        return value


class DatasetConfig(_Strict):
    """Where the examples lie and how they are split."""

    format: Literal["coco", "custom", "directory", "auto"] = Field(
        "auto", description="custom is JSON lines; directory is a folder a label."
    )
    data_dir: str | None = Field(
        None, description="A folder of the machine that runs the command line, which uploads it."
    )
    split_ratio: list[float] = Field(
        [0.8, 0.1, 0.1],
        description="Shares of train, validation and test, when `data_dir` is sent and brings no split of its own; a "
        "dataset that is there already keeps the split it was prepared with.",
    )

    @field_validator("split_ratio")
    @classmethod
    def _shares(cls, value: list[float]) -> list[float]:
        if len(value) not in (2, 3) or any(not 0 <= one <= 1 for one in value) or value[0] <= 0:
            raise ValueError("must be two or three shares between 0 and 1, the first above 0")
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError(f"must add up to 1, not {sum(value):g}")
        return [*value, 0.0][:3]


class EvaluationConfig(_Strict):
    """How the result is judged."""

    metrics: list[Metric] | None = Field(
        None, description="Figures that are kept; empty: all that apply. Chance stands beside them always."
    )
    test_data_dir: str | None = Field(
        None, description="A folder of the machine that runs the command line, which uploads it."
    )


EXAMPLE: dict[str, Any] = {
    "version": "1.0",
    "type": "image_classification",
    "base_model": "lite",
    "training_args": {"learning_type": "many_shot", "num_epochs": 5},
    "dataset": {"format": "directory"},
}


class MultimodalConfig(_Strict):
    """A whole training run in one document."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    version: Literal["1", "1.0"] = Field("1.0", description="Of this schema.")
    type: Literal["multimodal", "image_classification", "visual_qa", "image_captioning"] = Field(
        "multimodal", description="What is learned; multimodal finds it out from the data."
    )
    base_model: str = Field(
        "default",
        min_length=1,
        max_length=200,
        description="A model's id, a family, or a hub id; see GET /v1/models.",
    )
    vision_processor: VisionProcessor = Field(default_factory=VisionProcessor)
    text_processor: TextProcessor = Field(default_factory=TextProcessor)
    training_args: TrainingArguments
    dataset: DatasetConfig = Field(default_factory=DatasetConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)

    @field_validator("version", mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _sensible(self) -> MultimodalConfig:
        if self.training_args.method == "finetune" and self.training_args.learning_type != "many_shot":
            raise ValueError("training_args.method finetune is for learning_type many_shot")
        return self

    @property
    def task(self) -> Task | None:
        """What `type` says is learned; None where the data says it."""
        tasks: dict[str, Task] = {
            "image_classification": "classification",
            "visual_qa": "vqa",
            "image_captioning": "caption",
        }
        return tasks.get(self.type)

    @property
    def server_paths(self) -> list[str]:
        """Fields that name folders: only the command line may read those, and uploads what is in them."""
        named = {
            "dataset.data_dir": self.dataset.data_dir,
            "evaluation.test_data_dir": self.evaluation.test_data_dir,
        }
        return [field for field, value in named.items() if value]

    def method_for(self, base_kind: Literal["encoder", "vlm"]) -> Method:
        """The training method: the one that is named, or the usual one of the learning type."""
        if self.training_args.method is not None:
            return self.training_args.method
        usual: dict[LearningType, Method] = {
            "one_shot": "head",
            "few_shot": "lora",
            "many_shot": "finetune",
        }
        method = usual[self.training_args.learning_type]
        return "lora" if method == "head" and base_kind == "vlm" else method

    def params_for(self, method: Method) -> dict[str, Any]:
        """The method's parameters that this document sets; unknown ones are refused by the method's schema."""
        arguments = self.training_args
        found: dict[str, Any] = dict(arguments.extra)
        names = {
            "learning_rate": arguments.learning_rate,
            "batch_size": arguments.batch_size,
            "epochs": arguments.num_epochs,
            "warmup_steps": arguments.warmup_steps,
            "examples_per_label": arguments.num_examples,
            "max_answer_chars": self.text_processor.max_length,
            "metrics": self.evaluation.metrics,
        }
        found |= {name: value for name, value in names.items() if value is not None}
        chosen = self.vision_processor.augmentations
        if chosen is not None:
            found |= {"augment": bool(chosen), "flip": "flip" in chosen, "augmentations": chosen}
        return found


def parse(document: Any) -> MultimodalConfig:
    """The configuration in `document`; raises InvalidInputError naming each wrong field and what it may be."""
    try:
        return MultimodalConfig.model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(f"{_field(one['loc'])}: {_said(one)}" for one in error.errors())
        raise InvalidInputError(f"The configuration is wrong: {wrong}.") from None


def parse_yaml(text: str) -> MultimodalConfig:
    """The configuration in a YAML (or JSON) text; raises InvalidInputError, with the line where it is no YAML."""
    if len(text) > _LARGEST:
        raise InvalidInputError("The configuration is larger than 1 MiB.")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise InvalidInputError(f"The configuration is no valid YAML{where}.") from None
    return parse(document)


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "configuration"


def _said(error: Any) -> str:
    if error["type"] in ("missing", "extra_forbidden", "literal_error") or "input" not in error:
        return complaint(error)
    return f"{complaint(error)}, not {str(error['input'])[:60]!r}"
