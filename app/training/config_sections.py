"""The sections of the multimodal configuration: their fields, ranges and what each is for."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from app.methods import METHODS, MethodName
from app.methods.tasks import BaseKind, Metric
from app.strategies import LearningType

Kind = BaseKind
PreparingStep = Literal["resize", "center_crop", "normalize"]
Augmentation = Literal[
    "rotation", "brightness", "noise", "crop", "flip", "resize", "center_crop", "normalize"
]
PREPARING_STEPS: tuple[PreparingStep, ...] = ("resize", "center_crop", "normalize")
"""Names in `augmentations` of what a model's own preprocessing does to every image; nothing about them is random."""
_AnsweringType = Literal["vision_language", "vlm", "multimodal", "visual_qa", "image_captioning"]
_EncodingType = Literal[
    "vision", "encoder", "vision_encoder", "image_encoder", "image_classification", "classification"
]
BASE_TYPES: dict[str, Kind | None] = {
    "auto": None,
    **dict.fromkeys(get_args(_AnsweringType), "vlm"),
    **dict.fromkeys(get_args(_EncodingType), "encoder"),
}
"""What `base_model.type` may be -> the kind of model; None: whatever the checkpoint is."""


class Section(BaseModel):
    """An object of the configuration; a field that it does not have is a mistake."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


def _read_type(value: Any) -> Any:
    return value.strip().lower().replace("-", "_").replace(" ", "_") if isinstance(value, str) else value


BaseType = Annotated[Literal["auto", _AnsweringType, _EncodingType], BeforeValidator(_read_type)]


class BaseModelSection(Section):
    """What training starts from."""

    name: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="What you call it. Without a `checkpoint` it is also which model is trained.",
    )
    type: BaseType = Field(
        "auto",
        description="vision_language (also vlm, multimodal, visual_qa, image_captioning) answers in words; vision "
        "(also encoder, vision_encoder, image_encoder, image_classification, classification) tells labels apart; "
        "auto: as the checkpoint is.",
    )
    checkpoint: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="A model's id, a family, or a hub id; see GET /v1/models.",
    )

    @model_validator(mode="after")
    def _check_given(self) -> BaseModelSection:
        if self.name is None and self.checkpoint is None and self.type == "auto":
            raise ValueError("give a checkpoint, a name, or a type")
        return self


class VisionProcessor(Section):
    """What happens to images before the model sees them. The checkpoint decides all but the augmentations."""

    type: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Kind of image tower, such as clip; the checkpoint's own is used.",
    )
    image_size: int | None = Field(
        None, ge=1, le=10_000, description="Pixels a side; the checkpoint's own is used."
    )
    patch_size: int | None = Field(
        None, ge=1, le=10_000, description="Pixels a side of a patch; the checkpoint's own is used."
    )
    normalize: bool | None = Field(
        None, description="Scale pixels by mean and deviation; done as the checkpoint was trained."
    )
    augmentations: list[Augmentation] | None = Field(
        None,
        description="Random changes that training examples are shown with: rotation, brightness, noise, crop, flip. "
        "resize, center_crop and normalize name the model's own preparation of every image and change nothing at "
        "random. Empty list, or only these three: no random changes; left out: the method's own.",
    )


class TextProcessor(Section):
    """What happens to questions and answers."""

    tokenizer: str | None = Field(
        None, min_length=1, max_length=200, description="Such as llama; the checkpoint's own is used."
    )
    max_length: int | None = Field(
        None,
        ge=1,
        le=20_000,
        description="Tokens of question and answer together, without the image's; longer examples are cut (with "
        "truncation) or left out, and said. Characters of an answer: `training_args.extra.max_answer_chars`.",
    )
    padding: bool | Literal["max_length", "longest", "do_not_pad"] | None = Field(
        None, description="Batches are padded to their longest text, whatever is written here."
    )
    truncation: bool | None = Field(
        None, description="Cut answers at max_length; false or left out: leave such examples out."
    )


class TrainingArguments(Section):
    """How long and how fast."""

    learning_type: LearningType = Field(description="one_shot, few_shot or many_shot.")
    num_examples: int | None = Field(
        None,
        ge=1,
        description="Examples a label that are used at most; of questions and captions: in all. Empty: all.",
    )
    num_epochs: float | None = Field(None, gt=0, le=10_000, description="Passes over the training split.")
    batch_size: int | Literal["auto"] | None = Field(
        None, description="Examples a forward pass; auto measures (finetune)."
    )
    learning_rate: float | None = Field(None, gt=0, le=1, description="Peak rate.")
    warmup_steps: int | None = Field(
        None,
        ge=0,
        description="Steps during which the rate rises; the method's usual share where training is not longer.",
    )
    method: MethodName | None = Field(
        None, description=f"One of {', '.join(METHODS)}; empty: by learning type."
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


class DatasetConfig(Section):
    """Where the examples lie and how they are split."""

    format: Literal["coco", "custom", "directory", "jsonl", "json", "csv", "voc", "yolo", "auto"] = Field(
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
        if len(value) not in (2, 3) or any(not 0 <= share <= 1 for share in value) or value[0] <= 0:
            raise ValueError("must be two or three shares between 0 and 1, the first above 0")
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError(f"must add up to 1, not {sum(value):g}")
        return [*value, 0.0][:3]


class EvaluationConfig(Section):
    """How the result is judged."""

    metrics: list[Metric] | None = Field(
        None, description="Figures that are kept; empty: all that apply. Chance stands beside them always."
    )
    test_data_dir: str | None = Field(
        None,
        description="A folder of the machine that runs the command line, which uploads it; of any format.",
    )
