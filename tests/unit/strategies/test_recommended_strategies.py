"""What is recommended: untrained heads where they were as good, times by examples and machine, several GPUs."""

from __future__ import annotations

from typing import Any

import pytest

from app.inference.model_info import ModelInfo
from app.methods import check_params
from app.settings import Settings
from app.strategies import Strategies, Strategy
from app.strategies.here import make_finder
from app.strategies.presets import PRESETS, Machine, facts, find_preset
from app.strategies.recommending import Requirements, Verdict, judge, recommend
from app.strategies.timing import ASSUMED_GPU_SPEED, GPU_EFFICIENCY, estimate_time


@pytest.fixture(scope="module")
def shipped() -> Strategies:
    """What ships."""
    return Strategies.load(Settings())


def fitting(shipped: Strategies, preset: str, **wanted: Any) -> list[str]:
    """Names of what fits a machine, best first."""
    return [
        found.strategy.name for found in recommend(shipped.all(), Requirements(PRESETS[preset], **wanted))[0]
    ]


def changed(strategy: Strategy, **hardware: Any) -> Strategy:
    """The strategy with other needs."""
    values = strategy.model_dump()
    return Strategy.model_validate({**values, "hardware": {**values["hardware"], **hardware}})


@pytest.mark.parametrize("examples", [10, 50, 120])
def test_untrained_heads_come_first_as_far_as_they_were_measured_as_good(
    shipped: Strategies, examples: int
) -> None:
    names = fitting(shipped, "laptop_cpu", task="classification", dataset_size=examples)
    assert set(names[:2]) == {"lite_oneshot", "clip_oneshot"}
    lite = judge(shipped.get("lite_oneshot"), Requirements(PRESETS["laptop_cpu"], dataset_size=examples))
    assert "88.2% right on average and training 86.1 to 88.9% (docs/training.md)" in lite.reason


def test_beyond_that_the_usual_order_holds_and_nothing_is_claimed(shipped: Strategies) -> None:
    names = fitting(shipped, "laptop_cpu", task="classification", dataset_size=121)
    assert names[0] not in ("lite_oneshot", "clip_oneshot")
    lite = judge(shipped.get("lite_oneshot"), Requirements(PRESETS["laptop_cpu"], dataset_size=121))
    assert "docs/training.md" not in lite.reason


def test_only_a_strategy_that_trains_nothing_may_say_it_is_as_good(shipped: Strategies) -> None:
    values = shipped.get("lite_fewshot").model_dump()
    with pytest.raises(ValueError, match="a strategy without a method"):
        Strategy.model_validate(
            {**values, "as_good_as_training": {"up_to_examples": 9, "says": "It was seen."}}
        )


def test_time_grows_with_examples_from_what_passes_anyway(shipped: Strategies) -> None:
    lite, machine = shipped.get("lite_fewshot"), Machine()
    at_50, at_100 = (estimate_time(lite, examples, machine) for examples in (50, 100))
    assert (at_50.seconds, at_50.examples) == (52, 50)
    assert at_100.seconds == 15 + (52 - 15) * 2
    assert at_100.note == "Estimated from 52 s for 50 examples on 1 CPU core."
    assert estimate_time(lite, None, machine).examples == 50
    oneshot = shipped.get("lite_oneshot")
    assert estimate_time(oneshot, 40, machine).seconds == pytest.approx(40 * 0.05)
    assert estimate_time(oneshot, None, machine).examples is None


def test_time_shrinks_with_cores_as_far_as_they_are_of_use(shipped: Strategies) -> None:
    siamese = shipped.get("siamese_oneshot")
    seconds = [estimate_time(siamese, 50, Machine(cores=cores)).seconds for cores in (1, 2, 4, 8, 64)]
    assert seconds == [22, 11, 5.5, 2.75, 2.75]
    lite = shipped.get("lite_fewshot")  # trained on one thread
    assert estimate_time(lite, 50, Machine(cores=64)).seconds == 52


def test_gpus_are_assumed_faster_and_it_is_said(shipped: Strategies) -> None:
    many = shipped.get("custom_manyshot")
    one, four = PRESETS["a100_40gb"], PRESETS["4x_a100_40gb"]
    alone = estimate_time(many, 1_000, one)
    assert alone.seconds == pytest.approx(300 / ASSUMED_GPU_SPEED)
    assert "assumed" in alone.note
    together = estimate_time(many, 1_000, four, processes=4)
    assert together.seconds == pytest.approx(300 / ASSUMED_GPU_SPEED / (1 + 3 * GPU_EFFICIENCY), abs=0.001)
    lite = estimate_time(shipped.get("lite_fewshot"), 50, one)
    assert lite.seconds == 52
    assert "GPU" not in lite.note


def test_what_was_not_measured_has_no_time(shipped: Strategies) -> None:
    said = changed(
        shipped.get("custom_manyshot"),
        expected_time_s=None,
        expected_examples=None,
        expected_fixed_s=0,
        training_time_hours=(4, 48),
    )
    time = estimate_time(said, 1_000, PRESETS["a100_80gb"])
    assert time.seconds is None
    assert time.note == "4 to 48 hours, as its file says; nothing was measured."
    other = estimate_time(
        shipped.get("llava_fewshot"), 20, PRESETS["a100_80gb"], other_model="llava-1.5-7b-hf"
    )
    assert other.seconds is None
    assert "llava-1.5-7b-hf" in other.note
    hub = "llava-hf/llava-1.5-7b-hf"
    ready = make_finder([ModelInfo("llava-1.5-7b-hf", "llava", (hub,), default=True, kind="vlm")])
    served = judge(shipped.get("llava_fewshot"), Requirements(PRESETS["l4"], dataset_size=20), ready)
    assert (served.fits, served.time.seconds) == (True, None)


@pytest.mark.parametrize(
    ("gpu_gb", "host_gb", "settings"),
    [
        (40, 64, {"processes": 4, "deepspeed": "zero2"}),
        (24, 64, {"processes": 4, "deepspeed": "zero2"}),
        (16, 64, {"processes": 4, "deepspeed": "zero3"}),
        (16, None, {"processes": 4, "deepspeed": "zero3"}),
        (
            4,
            64,
            {
                "processes": 4,
                "deepspeed": "zero3",
                "offload_optimizer": True,
                "offload_parameters": True,
            },
        ),
        (16, 10, None),  # each process loads the whole base first
        (4, 30, None),  # nor is there room for what the GPUs do not hold
    ],
)
def test_several_gpus_get_processes_and_a_stage(
    shipped: Strategies, gpu_gb: float, host_gb: float | None, settings: dict[str, Any] | None
) -> None:
    needs = changed(shipped.get("custom_manyshot"), gpu_memory_gb=24, cpu_memory_gb=4)
    verdict: Verdict = judge(
        needs, Requirements(Machine(gpu_memory_gb=gpu_gb, gpus=4, cpu_memory_gb=host_gb))
    )
    assert verdict.fits == (settings is not None), verdict.reason
    assert verdict.params == (settings or {})
    assert ("held in host memory" in verdict.reason) == ("offload_parameters" in verdict.params)
    check_params("finetune", verdict.params)  # a job takes them as they are


def test_one_gpu_and_other_methods_get_none(shipped: Strategies) -> None:
    many = judge(shipped.get("custom_manyshot"), Requirements(PRESETS["a100_80gb"]))
    assert (many.params, many.larger_params) == ({}, {})
    assert judge(shipped.get("clip_fewshot_lora"), Requirements(PRESETS["4x_a100_40gb"])).params == {}


def test_larger_models_say_what_they_need_on_several_gpus(shipped: Strategies) -> None:
    small = Machine(gpu_memory_gb=16, gpus=2, cpu_memory_gb=64)
    many = judge(shipped.get("custom_manyshot"), Requirements(small))
    assert many.params == {"processes": 2, "deepspeed": "zero2"}
    assert many.larger_params["openai/clip-vit-large-patch14"]["deepspeed"] == "zero3"
    alone = judge(shipped.get("custom_manyshot"), Requirements(small.model_copy(update={"gpus": 1})))
    assert "openai/clip-vit-large-patch14" not in alone.larger


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("mac_m2", "mac_m2"),
        ("MAC-M2", "mac_m2"),
        ("A100 80GB", "a100_80gb"),
        (" 4x A100-40gb ", "4x_a100_40gb"),
        ("a100", None),
    ],
)
def test_a_machine_is_known_however_it_is_written(word: str, name: str | None) -> None:
    assert find_preset(word) == name


@pytest.mark.parametrize(
    ("preset", "limit", "answers", "trains", "many"),
    [
        ("mac_m2", "16 GB of memory", "3.2b", "0.8b", False),
        ("a100_80gb", "1 GPU of 80 GB", "32b", "4b", True),
        ("4x_a100_40gb", "4 GPUs of 40 GB", "16b", "8b", True),
        ("t4", "1 GPU of 16 GB", "6.4b", "0.8b", False),
    ],
)
def test_a_machine_says_what_its_memory_is_good_for(
    preset: str, limit: str, answers: str, trains: str, many: bool
) -> None:
    found = facts(PRESETS[preset])
    assert (found.memory_limit, found.max_model_size, found.max_trained_size) == (limit, answers, trains)
    assert ("many_shot" in found.recommended_learning) == many
    assert {"one_shot", "few_shot"} <= set(found.recommended_learning)
