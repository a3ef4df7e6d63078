"""The multimodal configuration: what it accepts, what it says of mistakes, what it means as parameters."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from app.errors import InvalidInputError
from app.inference.sources import CHECKPOINTS
from app.methods import check_params
from app.training.base_traits import BaseTraits, read_traits
from app.training.config import MultimodalConfig, parse, parse_yaml
from app.training.config_notes import find_notes
from app.training.config_sections import BASE_TYPES, BaseModelSection
from tests.printed_config import PRINTED, adapt_printed

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
    assert config.params_for("finetune", "vlm") == {
        "learning_rate": 1e-4,
        "batch_size": 16,
        "epochs": 20,
        "warmup_steps": 50,
        "examples_per_label": 500,
        "max_text_tokens": 64,
        "metrics": ["accuracy", "confusion_matrix"],
        "augment": True,
        "flip": False,
        "augmentations": ["rotation", "noise"],
    }
    assert "max_text_tokens" not in config.params_for("finetune", "encoder")


def test_the_shortest_document_has_sensible_defaults() -> None:
    config = parse({"training_args": {"learning_type": "few_shot"}})
    assert (config.base_model, config.task, config.method_for("vlm")) == ("default", None, "lora")
    assert config.params_for("lora", "vlm") == {}


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
            {"training_args": {"learning_type": "few_shot"}, "dataset": {"format": "parquet"}},
            "dataset.format: .*'coco', 'custom'",
        ),
        (
            {"training_args": {"learning_type": "few_shot", "method": "finetune"}},
            "finetune is for .*many_shot",
        ),
        ([], "configuration"),
        (
            {"training_args": {"learning_type": "few_shot"}, "version": "v2"},
            "version: it must be 'v1', 'v1.0', '1' or '1.0'",
        ),
        (
            {"training_args": {"learning_type": "few_shot"}, "base_model": {"tpye": "vision"}},
            "wrong: base_model.tpye: there is no such field",
        ),
        (
            {"training_args": {"learning_type": "few_shot"}, "base_model": {"type": "lots", "name": "a"}},
            "base_model.type: it must be 'auto', 'vision_language'",
        ),
        ({"training_args": {"learning_type": "few_shot"}, "base_model": {}}, "base_model: give a checkpoint"),
        (
            {"training_args": {"learning_type": "few_shot"}, "evaluation": {"metrics": ["f2"]}},
            "evaluation.metrics.0: it must be 'accuracy', 'f1'",
        ),
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


def test_the_printed_document_is_understood_word_for_word() -> None:
    config = parse_yaml(PRINTED)
    assert (config.base_word, config.base_kind, config.task) == ("llava-hf/llava-1.5-7b-hf", "vlm", None)
    assert config.method_for("vlm") == "lora"
    assert config.params_for("lora", "vlm") == {
        "learning_rate": 1e-4,
        "batch_size": 4,
        "epochs": 10,
        "warmup_steps": 100,
        "examples_per_label": 5,
        "max_text_tokens": 512,
        "truncate_texts": True,
        "metrics": ["accuracy", "f1", "bleu"],
        "augment": False,
        "flip": False,
        "augmentations": [],
    }
    for method in ("head", "lora", "prototypical", "siamese", "maml", "finetune"):
        for kind in ("vlm", "encoder"):
            check_params(method, config.params_for(method, kind))


def test_the_documents_of_the_manual_are_right() -> None:
    page = (Path(__file__).parents[3] / "docs" / "many-shot.md").read_text()
    block = page.split("as `config` in `POST /v1/jobs`:\n\n")[1].split("\n\n|")[0]
    config = parse_yaml(textwrap.dedent(block))
    assert config.base_word == "llava-shapes"
    assert not noted(textwrap.dedent(block), traits("llava-shapes", "vlm", "llava"))


@pytest.mark.parametrize("version", ["v1", "1", "1.0", 1, 1.0])
def test_a_version_may_be_text_or_a_number(version: object) -> None:
    parse({"version": version, "training_args": {"learning_type": "few_shot"}})


@pytest.mark.parametrize(
    ("base", "word", "field", "kind"),
    [
        ("lite", "lite", "base_model", None),
        ({"name": "llava"}, "llava", "base_model.name", None),
        ({"name": "mine", "checkpoint": "llava-shapes"}, "llava-shapes", "base_model.checkpoint", None),
        ({"type": "Vision-Language"}, "default", "base_model.name", "vlm"),
        ({"type": "image_classification", "name": "clip"}, "clip", "base_model.name", "encoder"),
    ],
)
def test_a_base_model_is_a_word_or_an_object(base: object, word: str, field: str, kind: str | None) -> None:
    config = parse({"base_model": base, "training_args": {"learning_type": "few_shot"}})
    assert (config.base_word, config.base_field, config.base_kind) == (word, field, kind)


def test_every_type_of_a_base_model_is_accepted_and_in_the_schema() -> None:
    schema = MultimodalConfig.model_json_schema()
    assert schema["$defs"]["BaseModelSection"]["properties"]["type"]["enum"] == list(BASE_TYPES)
    assert {choice.get("type") for choice in schema["properties"]["base_model"]["oneOf"]} == {"string", None}
    for word in BASE_TYPES:
        BaseModelSection.model_validate({"name": "a", "type": word})


def traits(name: str, kind: str, family: str) -> BaseTraits:
    return read_traits(name, kind, family, CHECKPOINTS / name)


def noted(
    document: str, base: BaseTraits | None, task: str = "caption", method: str = "lora"
) -> dict[str, str]:
    notes = find_notes(parse_yaml(document), method, task, base)
    fields = [note.field for note in notes]
    assert len(fields) == len(set(fields)), "a field is spoken of once"
    return {note.field: note.sentence for note in notes}


def test_what_does_nothing_for_the_model_is_said_with_its_reason() -> None:
    found = noted(adapt_printed(), traits("llava-shapes", "vlm", "llava"))
    for field, words in {
        "base_model.name": ["'llava-7b'", "'llava-shapes' is trained"],
        "vision_processor.image_size": ["64 pixels", "224"],
        "vision_processor.patch_size": ["patches of 8", "not of 32"],
        "vision_processor.augmentations": [
            "resize, center_crop and normalize",
            "unchanged",
            "crops no centre",
        ],
        "text_processor.padding": ["longest text"],
    }.items():
        sentence = found.pop(field)
        assert all(word in sentence for word in words), sentence
    assert not found


def test_a_value_that_is_the_models_own_gives_no_warning() -> None:
    document = adapt_printed()
    for old, new in {
        'name: "llava-7b"': 'name: "llava"',
        "image_size: 224": "image_size: 64",
        "patch_size: 32": "patch_size: 8",
        '"center_crop"': '"rotation"',
        'padding: "max_length"': "padding: true",
    }.items():
        assert old in document
        document = document.replace(old, new)
    assert noted(document, traits("llava-shapes", "vlm", "llava")) == {}


def test_other_towers_tokenizers_and_lengths_are_said() -> None:
    document = PRINTED.replace("normalize: true", "normalize: false").replace('"llama"', '"gpt2"')
    found = noted(document, traits("blip-shapes-vqa", "vlm", "blip"), "vqa")
    assert "'clip' does not replace" in found["vision_processor.type"]
    assert "normalises pixels" in found["vision_processor.normalize"]
    assert "tokenizer of its own (blip)" in found["text_processor.tokenizer"]
    assert "at most 256 tokens" in found["text_processor.max_length"]


def test_an_encoder_learns_no_texts_and_a_head_takes_no_steps() -> None:
    found = noted(PRINTED, traits("clip-tiny", "encoder", "clip"), "classification", "head")
    assert {field for field in found if field.startswith("text_processor.")} == {
        f"text_processor.{name}" for name in ("tokenizer", "max_length", "padding", "truncation")
    }
    for name in ("num_epochs", "batch_size", "learning_rate", "warmup_steps"):
        assert "closed form" in found[f"training_args.{name}"]
    assert "bleu cannot be computed for labels" in found["evaluation.metrics"]


def test_a_length_in_an_older_document_is_said_to_count_tokens_now() -> None:
    found = noted("{training_args: {learning_type: few_shot}, text_processor: {max_length: 64}}", None)
    assert "max_answer_chars" in found["text_processor.max_length"]


def test_a_name_that_says_only_what_is_true_of_the_checkpoint_gives_no_warning() -> None:
    assert "base_model.name" not in noted(PRINTED, None)


def test_auto_is_measured_by_one_method_only() -> None:
    document = "{training_args: {learning_type: few_shot, batch_size: auto}}"
    assert "batch_size" not in parse_yaml(document).params_for("lora", "vlm")
    assert "only the method 'finetune' measures" in noted(document, None)["training_args.batch_size"]
    assert "training_args.batch_size" not in noted(document, None, method="finetune")
