"""Strategies in short, as `vision_strategies.yaml` writes them: several in a file, one under its name, one a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.settings import Settings
from app.strategies import Strategies, Strategy
from app.strategies.parsing import StrategyFileError, parse


def only(text: bytes, file: str = "mine.yaml") -> Strategy:
    """The strategy of a file that holds one; raises what is wrong with it."""
    parsed = parse(text, file)
    for error in parsed.errors:
        raise error
    (found,) = parsed.strategies
    return found


SHORT = """\
strategies:
  parts:
    description: "Tell parts apart"
    model_type: "clip"
    learning_type: "one_shot"
    hardware_requirements:
      gpu_memory_gb: 8
      cpu_memory_gb: 16
  answers:
    model_type: "llava"
    base_model: "llava-hf/llava-1.5-7b-hf"
    learning_types: ["few_shot", "many_shot"]
    min_samples: 5
    strengths: [Reasons about what it sees.]
    hardware: {gpu_memory_gb: 16, cpu_memory_gb: 32, inference_time_ms: 500}
  everything:
    model_type: "custom"
    base_models: ["llava", "blip", "flamingo"]
    learning_types: ["many_shot"]
    hardware_requirements: {gpu_memory_gb: 24, cpu_memory_gb: 64, training_time_hours: 4-48}
"""
FRAGMENT = """\
clip_classification:
  model_type: "clip"
  base_model: "openai/clip-vit-base-patch32"
  learning_types: ["one_shot", "few_shot"]
hardware_requirements:
  gpu_memory_gb: 4
  cpu_memory_gb: 8
  inference_time_ms: 50
"""


def test_several_strategies_in_short_are_one_file() -> None:
    parsed = parse(SHORT.encode(), "vision_strategies.yaml")
    assert parsed.errors == []
    parts, answers, everything = parsed.strategies
    assert (parts.name, parts.model.family, parts.model.kind, parts.task) == (
        "parts",
        "clip",
        "encoder",
        "classification",
    )
    assert parts.learning_types == ["one_shot"]
    assert parts.method is None
    assert (parts.hardware.gpu_memory_gb, parts.hardware.cpu_memory_gb) == (8, 16)
    assert (answers.model.checkpoint, answers.task, answers.method) == (
        "llava-hf/llava-1.5-7b-hf",
        "vqa",
        "lora",
    )
    assert (answers.samples.min, answers.samples.max) == (5, None)
    assert answers.hardware.inference_time_ms == 500
    assert (everything.model.family, everything.method) == ("default", "finetune")
    assert everything.model.base_models == ["llava", "blip", "flamingo"]
    assert everything.hardware.training_time_hours == (4, 48)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "gpu_memory_gb: 8",
            "gpu_memory_gb: -8",
            "line 7: strategies.parts.hardware_requirements.gpu_memory_gb",
        ),
        ('"one_shot"', '"no_shot"', "line 5: strategies.parts.learning_type: it must be 'one_shot'"),
        (
            'model_type: "clip"',
            'model_type: "clap"',
            "line 4: strategies.parts.model_type: it must be 'clip'",
        ),
        ("min_samples: 5", "min_sample: 5", "line 13: strategies.answers.min_sample: there is no such field"),
        (
            "min_samples: 5",
            "learning_type: few_shot",
            "line 9: strategies.answers: give either learning_type or",
        ),
        ("4-48", "4 to 48", "line 20: strategies.everything.hardware_requirements.training_time_hours"),
        (
            "4-48",
            "48-4",
            "line 20: strategies.everything.hardware_requirements: training_time_hours must rise",
        ),
        (
            "strategies:",
            "version: 1\nstrategies:",
            "line 1: version: there is no such field beside strategies",
        ),
        ("  parts:\n", "  parts:\n    name: other\n", "line 3: name: it must be 'parts', as its key says"),
    ],
)
def test_what_is_wrong_in_short_is_said_in_its_own_words(old: str, new: str, says: str) -> None:
    assert old in SHORT
    parsed = parse(SHORT.replace(old, new, 1).encode(), "mine.yaml")
    (error,) = parsed.errors
    assert re.match(rf"mine\.yaml, {says}", str(error)), error
    # the others of the file are there, unless the file itself is none
    assert len(parsed.strategies) == (0 if "version" in new else 2)


def test_one_strategy_under_its_name_with_its_hardware_beside() -> None:
    clip = only(FRAGMENT.encode(), "any_name.yaml")
    assert (clip.name, clip.model.checkpoint) == ("clip_classification", "openai/clip-vit-base-patch32")
    assert (clip.hardware.gpu_memory_gb, clip.hardware.inference_time_ms) == (4, 50)
    assert (clip.samples.min, clip.samples.max) == (1, 5_000)
    two = FRAGMENT + "parts: {model_type: clip, learning_type: one_shot}\n"
    with pytest.raises(
        StrategyFileError, match=r"mine.yaml, line 5: hardware_requirements: it must stand in"
    ):
        only(two.encode())


def test_one_strategy_a_file_in_short_is_called_like_the_file() -> None:
    found = only(b"{model_type: blip, learning_type: few_shot, task: caption}", "alt_texts.yaml")
    assert (found.name, found.task, found.method) == ("alt_texts", "caption", "lora")
    assert found.hardware.cpu_memory_gb == 8
    assert found.hardware.gpu_memory_gb is None


def test_every_family_that_runs_here_is_a_model_type() -> None:
    found = only(b"{model_type: dinov2, learning_type: many_shot}", "parts.yaml")
    assert (found.model.family, found.model.kind, found.task) == ("dinov2", "encoder", "classification")


def test_a_strategy_of_ones_own_may_take_an_alias_of_one_that_ships(tmp_path: Path) -> None:
    shipped = Strategies.load(Settings())
    (tmp_path / "vision_strategies.yaml").write_text(FRAGMENT)
    strategies = Strategies.load(Settings(strategies_dir=tmp_path))
    assert strategies.refused == ()
    assert strategies.get("clip_classification").hardware.gpu_memory_gb == 4
    assert "clip_classification" not in strategies.get("clip_oneshot").aliases
    assert len(strategies.all()) == len(shipped.all()) + 1


def test_a_file_may_not_hold_more_strategies_than_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(SHORT)
    strategies = Strategies.load(Settings(strategies_dir=tmp_path, max_strategies=2))
    assert strategies.own == {"parts", "answers"}
    assert [refused.reason for refused in strategies.refused] == [
        "many.yaml: there are more than 2 strategies."
    ]
