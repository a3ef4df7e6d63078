"""The multimodal configuration: one YAML or JSON document that says what to train, on what, and how to judge it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from app.errors import InvalidInputError
from app.http.wrong_fields import complaint, join_location
from app.methods import METHODS, MethodName
from app.methods.tasks import Task
from app.strategies import LearningType
from app.training.config_sections import (
    BASE_TYPES,
    PREPARING_STEPS,
    BaseModelSection,
    DatasetConfig,
    EvaluationConfig,
    Kind,
    Section,
    TextProcessor,
    TrainingArguments,
    VisionProcessor,
)

_MAX_BYTES = 1 << 20


EXAMPLE: dict[str, Any] = {
    "version": "1.0",
    "type": "image_classification",
    "base_model": "lite",
    "training_args": {"learning_type": "many_shot", "num_epochs": 5},
    "dataset": {"format": "directory"},
}


def _read_version(value: Any) -> Any:
    """YAML writes 1 and 1.0 as numbers; the configuration's version is text."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Version = Annotated[
    Literal["v1", "v1.0", "1", "1.0"],
    BeforeValidator(_read_version),
    WithJsonSchema({"enum": ["v1", "v1.0", "1", "1.0", 1], "title": "Version"}),
]


Base = Annotated[
    Annotated[str, Field(min_length=1, max_length=200), Tag("(text)")]
    | Annotated[BaseModelSection, Tag("(object)")],
    Discriminator(lambda value: "(text)" if isinstance(value, str) else "(object)"),
]


class MultimodalConfig(Section):
    """A whole training run in one document."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    version: Version = Field("1.0", description="Of this schema.")
    type: Literal["multimodal", "image_classification", "visual_qa", "image_captioning"] = Field(
        "multimodal", description="What is learned; multimodal finds it out from the data."
    )
    base_model: Base = Field(
        "default",
        description="What training starts from: a model's id, a family, or a hub id (see GET /v1/models), or these "
        "with a name and a type.",
    )
    vision_processor: VisionProcessor = Field(default_factory=VisionProcessor)
    text_processor: TextProcessor = Field(default_factory=TextProcessor)
    training_args: TrainingArguments
    dataset: DatasetConfig = Field(default_factory=DatasetConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)

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
    def base_word(self) -> str:
        """The word that says which model is trained; `default` where none is named."""
        if isinstance(self.base_model, str):
            return self.base_model
        return self.base_model.checkpoint or self.base_model.name or "default"

    @property
    def base_field(self) -> str:
        """The field that `base_word` stands in."""
        if isinstance(self.base_model, str):
            return "base_model"
        return f"base_model.{'name' if self.base_model.checkpoint is None else 'checkpoint'}"

    @property
    def base_kind(self) -> Kind | None:
        """The kind of model that `base_model.type` asks for; None where it does not say."""
        return None if isinstance(self.base_model, str) else BASE_TYPES[self.base_model.type]

    @property
    def server_paths(self) -> list[str]:
        """Fields that name folders: only the command line may read those, and uploads what is in them."""
        named = {
            "dataset.data_dir": self.dataset.data_dir,
            "evaluation.test_data_dir": self.evaluation.test_data_dir,
        }
        return [field for field, value in named.items() if value]

    def method_for(self, base_kind: Kind) -> MethodName:
        """The training method: the one that is named, or the usual one of the learning type."""
        if self.training_args.method is not None:
            return self.training_args.method
        usual: dict[LearningType, MethodName] = {
            "one_shot": "head",
            "few_shot": "lora",
            "many_shot": "finetune",
        }
        method = usual[self.training_args.learning_type]
        return "lora" if method == "head" and base_kind == "vlm" else method

    def params_for(self, method: MethodName, base_kind: Kind) -> dict[str, Any]:
        """The method's parameters that this document sets, without those that do nothing for it; unknown ones in
        `extra` are refused by the method's schema.
        """
        arguments = self.training_args
        texts = self.text_processor if base_kind == "vlm" else TextProcessor()
        names = {
            "learning_rate": arguments.learning_rate,
            "batch_size": arguments.batch_size,
            "epochs": arguments.num_epochs,
            "warmup_steps": arguments.warmup_steps,
            "examples_per_label": arguments.num_examples,
            "max_text_tokens": texts.max_length,
            "truncate_texts": texts.truncation if texts.max_length else None,
            "metrics": self.evaluation.metrics,
        }
        idle = self.list_unused_arguments(method)
        has = METHODS[method].params.model_fields
        found: dict[str, Any] = dict(arguments.extra)
        found |= {
            name: value
            for name, value in names.items()
            if value is not None and name in has and name not in idle
        }
        changes = self.random_changes
        if changes is not None:
            found |= {"augment": bool(changes), "flip": "flip" in changes, "augmentations": changes}
        return found

    def list_unused_arguments(self, method: MethodName) -> dict[str, str]:
        """Parameters of `training_args` that the method does not take -> why."""
        arguments, has = self.training_args, METHODS[method].params.model_fields
        given = {
            "epochs": arguments.num_epochs,
            "batch_size": arguments.batch_size,
            "learning_rate": arguments.learning_rate,
            "warmup_steps": arguments.warmup_steps,
        }
        numbers = ", ".join(name for name in ("steps", "learning_rate") if name in has)
        why = f"learns by other numbers: {numbers}" if numbers else "learns in closed form, in no steps"
        idle = {
            name: f"the method '{method}' {why}"
            for name, value in given.items()
            if value is not None and name not in has
        }
        if arguments.batch_size == "auto" and "batch_size" in has and not _measures_batches(method):
            able = " and ".join(f"'{name}'" for name in METHODS if _measures_batches(name))
            idle["batch_size"] = f"only the method {able} measures; '{method}' takes its default number"
        return idle

    @property
    def random_changes(self) -> list[str] | None:
        """The augmentations that change examples at random; None where the document leaves them to the method."""
        chosen = self.vision_processor.augmentations
        return None if chosen is None else [name for name in chosen if name not in PREPARING_STEPS]


def _measures_batches(method: MethodName) -> bool:
    size = METHODS[method].params.model_fields.get("batch_size")
    return size is not None and size.default == "auto"


def parse(document: Any) -> MultimodalConfig:
    """The configuration in `document`; raises InvalidInputError naming each wrong field and what it may be."""
    try:
        return MultimodalConfig.model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(
            f"{_field(problem['loc'])}: {_describe_error(problem)}" for problem in error.errors()
        )
        raise InvalidInputError(f"The configuration is wrong: {wrong}.") from None


def parse_yaml(text: str) -> MultimodalConfig:
    """The configuration in a YAML (or JSON) text; raises InvalidInputError, with the line where it is no YAML."""
    if len(text) > _MAX_BYTES:
        raise InvalidInputError("The configuration is larger than 1 MiB.")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise InvalidInputError(f"The configuration is no valid YAML{where}.") from None
    return parse(document)


def _field(location: tuple[int | str, ...]) -> str:
    return join_location(location) or "configuration"


def _describe_error(error: Any) -> str:
    if error["type"] in ("missing", "extra_forbidden", "literal_error") or "input" not in error:
        return complaint(error)
    return f"{complaint(error)}, not {str(error['input'])[:60]!r}"
