"""The multimodal configuration: what it accepts, what it says of mistakes, what it means as parameters."""

from __future__ import annotations

import json

import pytest

from app.errors import InvalidInputError
from app.training.config import MultimodalConfig, parse, parse_yaml

WHOLE = """
version: 1.0
type: image_classification
base_model: lite
vision_processor:
  augmentations: [rotation, noise]
text_processor:
  max_length: 64
training_args:
  learning_type: many_shot
  num_examples: 500
  num_epochs: 20
  batch_size: 16
  learning_rate: 1.0e-4
  warmup_steps: 50
dataset:
  format: custom
  data_dir: ./images
  split_ratio: [0.8, 0.2]
evaluation:
  metrics: [accuracy, confusion_matrix]
  test_data_dir: ./held_out
"""


def test_a_whole_document_is_understood() -> None:
    config = parse_yaml(WHOLE)
    assert config.task == "classification"
    assert config.dataset.split_ratio == [0.8, 0.2, 0.0]
    assert config.server_paths == ["dataset.data_dir", "evaluation.test_data_dir"]
    assert config.method_for("encoder") == "finetune"
    assert config.params_for("finetune") == {
        "learning_rate": 1e-4,
        "batch_size": 16,
        "epochs": 20,
        "warmup_steps": 50,
        "examples_per_label": 500,
        "max_answer_chars": 64,
        "metrics": ["accuracy", "confusion_matrix"],
        "augment": True,
        "flip": False,
        "augmentations": ["rotation", "noise"],
    }


def test_the_shortest_document_has_sensible_defaults() -> None:
    config = parse({"training_args": {"learning_type": "few_shot"}})
    assert (config.base_model, config.task, config.method_for("vlm")) == ("default", None, "lora")
    assert config.params_for("lora") == {}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "training_args: it is missing"),
        ({"training_args": {"learning_type": "lots"}}, "training_args.learning_type: .*few_shot.*many_shot"),
        (
            {"training_args": {"learning_type": "few_shot", "epoch": 3}},
            "training_args.epoch: there is no such field",
        ),
        ({"training_args": {"learning_type": "few_shot", "batch_size": 0}}, "batch_size.*at least 1"),
        (
            {"training_args": {"learning_type": "few_shot"}, "dataset": {"split_ratio": [0.5, 0.1]}},
            r"dataset.split_ratio: must add up to 1, not 0\.6",
        ),
        (
            {"training_args": {"learning_type": "few_shot"}, "dataset": {"format": "voc"}},
            "dataset.format: .*'coco', 'custom'",
        ),
        (
            {"training_args": {"learning_type": "few_shot", "method": "finetune"}},
            "finetune is for .*many_shot",
        ),
        ([], "configuration"),
    ],
)
def test_mistakes_name_their_field_and_what_is_allowed(document: object, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        parse(document)


@pytest.mark.parametrize("text", ["a: [", "x: !!python/object:os.system {}", "[" * 5000])
def test_what_is_no_yaml_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no valid YAML"):
        parse_yaml(text)


def test_the_schema_is_json_schema_with_every_field_explained() -> None:
    schema = MultimodalConfig.model_json_schema()
    json.dumps(schema)
    assert schema["required"] == ["training_args"]
    arguments = schema["$defs"]["TrainingArguments"]["properties"]
    assert all("description" in field for field in arguments.values())
