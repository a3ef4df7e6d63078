"""Strategies: the files that ship, files that are wrong, one's own, and what is recommended."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from app.families import FAMILIES
from app.inference.model_info import ModelInfo
from app.methods import METHODS, check_params
from app.settings import Settings
from app.strategies import Strategies, Strategy, json_schema
from app.strategies.errors import StrategyNotFoundError
from app.strategies.here import machine_of, make_finder
from app.strategies.parsing import StrategyFileError, parse
from app.strategies.presets import PRESETS, Machine
from app.strategies.recommending import FindLocalModel, Requirements, Verdict, recommend
from app.strategies.schemas import Cpu, Gpu, Hardware, Memory

MINE = """\
name: mine
description: A strategy of my own.
learning_types: [few_shot]
task: classification
model:
  family: lite
  kind: encoder
method: siamese
params:
  margin: 0.5
samples: {min: 4, best: 20, max: 100}
hardware:
  cpu_memory_gb: 2
strengths: [Quick.]
use_cases: [Trying things out.]
"""
BIG = {"gpu_memory_gb": 22, "cpu_memory_gb": 32}


def only(text: bytes, file: str = "mine.yaml") -> Strategy:
    """The strategy of a file that holds one; raises what is wrong with it."""
    parsed = parse(text, file)
    for error in parsed.errors:
        raise error
    (found,) = parsed.strategies
    return found


@pytest.fixture(scope="module")
def shipped() -> Strategies:
    """What ships."""
    return Strategies.load(Settings())


def test_what_ships_is_whole(shipped: Strategies) -> None:
    assert shipped.refused == ()
    names = {strategy.name for strategy in shipped.all()}
    assert names >= {
        "clip_oneshot",
        "lite_oneshot",
        "siamese_oneshot",
        "clip_fewshot_lora",
        "lite_fewshot",
        "prototypical_fewshot",
        "llava_fewshot",
        "blip_caption",
        "flamingo_fewshot",
        "custom_manyshot",
    }
    for strategy in shipped.all():
        if strategy.method:
            check_params(strategy.method, strategy.params)
        # a training's time means nothing without the number of examples, nor any without where it was found
        assert (strategy.hardware.expected_examples is None) == (strategy.method is None), strategy.name
        assert strategy.hardware.note, strategy.name


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("image_classification_oneshot", "lite_oneshot"),
        ("visual_qa_fewshot", "llava_fewshot"),
        ("custom_vision_training", "custom_manyshot"),
        ("clip_classification", "clip_oneshot"),
        ("llava_visual_qa", "llava_fewshot"),
    ],
)
def test_an_alias_means_its_strategy(shipped: Strategies, alias: str, name: str) -> None:
    assert shipped.get(alias) is shipped.get(name)


def test_an_unknown_name_is_said(shipped: Strategies) -> None:
    with pytest.raises(StrategyNotFoundError, match="no strategy 'nothing'"):
        shipped.get("nothing")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("min: 4", "min: 0", "line 11: samples.min: it must be at least 1"),
        ("min: 4", "min: many", "line 11: samples.min: it must be a whole number"),
        ("max: 100", "max: 3", "line 11: samples: min, best and max must rise"),
        ("margin: 0.5", "margin: -1", "line 10: params.margin: it must be more than 0"),
        ("margin: 0.5", "margn: 1", "line 10: params.margn: there is no such field"),
        ("margin: 0.5", "margin: .inf", "line 10: params.margin: this is not a finite number"),
        ("method: siamese", "method: magic", "line 8: method: it must be 'head'"),
        ("task: class", "tsk: class", r"line 1: task: it is missing \(and 1 more\)"),
        (
            "task: classification",
            "task: vqa",
            "line 5: model: a model of kind 'encoder' does not learn the task 'vqa'",
        ),
        ("method: siamese\n", "", "line 8: params: without a method nothing is trained"),
        ("name: mine", "name: schema", "line 1: name: 'schema' is an address of its own"),
        ("name: mine", "name: Mine", "line 1: name: it must consist of lower-case letters"),
        ("name: mine", "name: yours", "line 1: name: it must be 'mine'"),
        ("[Quick.]", "[Quick., 3]", r"line 14: strengths\[1\]: it must be text"),
        ("[few_shot]", "[few_shot, few]", r"line 3: learning_types\[1\]: it must be 'one_shot'"),
        ("  kind: encoder", "  kind: encoder\n  family: clip", "line 8: family: this key is given twice"),
        ("[Quick.]", "&a [Quick.]", "line 14: anchors"),
        ("[Quick.]", "*a", "line 14: anchors"),
        ("[Quick.]", "!!python/object/apply:os.getcwd []", "line 14: could not determine a constructor"),
        ("[Quick.]", "[Quick.", r"line 15: expected ',' or '\]'"),
        ("  margin: 0.5", "  1: 0.5", "line 10: every key must be a word"),
        ("name: mine", "name: mine\n---\nname: other", "line 2: but found another document"),
        ("margin: 0.5", "margin: " + "9" * 5000, "line 1: this is not YAML that can be read"),
        ("[Quick.]", "[" * 3000, "line 1: this is not YAML that can be read"),
        ("name: mine", "name: \x00", "line 1: this is not YAML that can be read"),
        (MINE, "", "line 1: the file is empty"),
        (MINE, "- a\n- b\n", "line 1: it must be an object"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_and_field(old: str, new: str, says: str) -> None:
    assert old in MINE
    with pytest.raises(StrategyFileError, match=f"^mine.yaml, {says}") as refusal:
        only(MINE.replace(old, new).encode())
    assert "\n" not in str(refusal.value)


def test_a_setting_within_a_setting_has_its_line() -> None:
    text = MINE.replace("siamese", "finetune").replace("  margin: 0.5", "  epochs: 3\n  lora:\n    rank: 0")
    with pytest.raises(StrategyFileError, match=r"line 12: params\.lora\.rank: it must be at least"):
        only(text.encode())


@given(st.binary(max_size=400) | st.text(max_size=300).map(str.encode))
def test_no_bytes_do_harm(text: bytes) -> None:
    with pytest.raises(StrategyFileError, match=r"^mine\.yaml, line \d+: "):
        only(text)


def test_a_folder_of_ones_own_adds_and_replaces(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINE)
    replacement = MINE.replace("name: mine", "name: lite_fewshot\naliases: [quick]")
    (tmp_path / "lite_fewshot.yml").write_text(replacement)
    (tmp_path / "notes.txt").write_text("not a strategy")
    with structlog.testing.capture_logs() as logs:
        strategies = Strategies.load(Settings(strategies_dir=tmp_path))
    assert strategies.refused == ()
    assert strategies.own == {"mine", "lite_fewshot"}
    assert strategies.get("quick").method == strategies.get("lite_fewshot").method == "siamese"
    assert [log["strategy"] for log in logs if "replaces" in log["event"]] == ["lite_fewshot"]


def test_a_wrong_file_of_ones_own_stops_nothing(shipped: Strategies, tmp_path: Path) -> None:
    files = {
        "broken.yaml": "name: [",
        "lite_oneshot.yaml": MINE,
        "other.yaml": MINE.replace("name: mine", "name: other\naliases: [clip_oneshot]"),
        "huge.yaml": MINE + "#" * 70_000,
        "mine.yaml": MINE,
        "mine.yml": MINE,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder.yaml").mkdir()
    with structlog.testing.capture_logs() as logs:
        strategies = Strategies.load(Settings(strategies_dir=tmp_path))
    reasons = {file.file: file.reason for file in strategies.refused}
    assert reasons.keys() == {"broken.yaml", "lite_oneshot.yaml", "other.yaml", "huge.yaml", "mine.yml"}
    assert "already means the strategy 'clip_oneshot'" in reasons["other.yaml"]
    assert "larger than 64 KiB" in reasons["huge.yaml"]
    assert "another file for 'mine'" in reasons["mine.yml"]
    assert len([log for log in logs if log["log_level"] == "warning"]) == 5
    assert strategies.get("lite_oneshot") == shipped.get("lite_oneshot")
    assert len(strategies.all()) == len(shipped.all()) + 1


def test_too_many_files_and_no_folder_stop_nothing(shipped: Strategies, tmp_path: Path) -> None:
    most = len(shipped.all())
    for number in range(most + 2):
        (tmp_path / f"s{number:02}.yaml").write_text(MINE.replace("name: mine", f"name: s{number:02}"))
    strategies = Strategies.load(Settings(strategies_dir=tmp_path, max_strategies=most))
    assert len(strategies.all()) == 2 * most
    assert [file.file for file in strategies.refused] == [f"s{most:02}.yaml", f"s{most + 1:02}.yaml"]
    nowhere = Strategies.load(Settings(strategies_dir=tmp_path / "nowhere"))
    assert nowhere.all() == shipped.all()
    assert "cannot be read" in nowhere.refused[0].reason


def test_the_schema_knows_each_methods_settings() -> None:
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    for form in (schema["$defs"]["Strategy"], schema["$defs"]["NamedStrategy"]):
        methods = {rule["if"]["properties"]["method"]["const"] for rule in form["allOf"]}
        assert methods == set(METHODS)
        for rule in form["allOf"]:
            target = rule["then"]["properties"]["params"]["$ref"].rpartition("/")[2]
            assert schema["$defs"][target]["additionalProperties"] is False
    assert set(schema["$defs"]["Strategy"]["required"]) >= {"name", "model", "samples", "hardware"}
    written = schema["$defs"]["WrittenStrategy"]
    assert written["required"] == ["model_type"]
    families = [family.name for family in FAMILIES.all().values() if not family.connects]
    assert set(written["properties"]["model_type"]["enum"]) == {*families, "custom"}


def strategy(name: str, **changes: object) -> Strategy:
    """A strategy that differs from MINE."""
    values = only(MINE.encode()).model_dump()
    return Strategy.model_validate({**values, "name": name, **changes})


def judged(
    strategies: list[Strategy], ready: FindLocalModel | None = None, **wanted: object
) -> tuple[list[str], dict[str, Verdict]]:
    """Names that fit, best first; every verdict by name."""
    machine = wanted.pop("machine", PRESETS["laptop_cpu"])
    fitting, left_out = recommend(strategies, Requirements(machine, **wanted), ready)  # type: ignore[arg-type]
    return [verdict.strategy.name for verdict in fitting], {
        verdict.strategy.name: verdict for verdict in fitting + left_out
    }


def test_the_nearest_amount_comes_first_and_the_rest_has_reasons() -> None:
    few, more = strategy("few"), strategy("more", samples={"min": 40, "best": 200})
    large = strategy("large", hardware=BIG)
    fits, verdicts = judged([few, more, large], dataset_size=50)
    assert fits == ["few", "more"]
    assert judged([few, more], dataset_size=90)[0] == ["more", "few"]
    assert "50 examples are about what it is meant for" in verdicts["few"].reason
    assert "50 examples will do, though it is meant for about 200" in verdicts["more"].reason
    assert verdicts["large"].reason == "It needs a CUDA GPU with 22 GB; the machine has none."
    _, verdicts = judged([few, more], dataset_size=1)
    assert verdicts["few"].reason == "It needs at least 4 examples; there is 1."
    _, verdicts = judged([few, more], dataset_size=1_000)
    assert "at most 100 examples: with 1,000" in verdicts["few"].reason
    _, verdicts = judged([few], learning_type="many_shot")
    assert verdicts["few"].reason == "It is for few-shot learning, not for many-shot."
    _, verdicts = judged([few], task="vqa")
    assert verdicts["few"].reason == "It is for classification, not for vqa."


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (PRESETS["rtx_3060"], "It needs a GPU with 22 GB; the machine's have 12 GB."),
        (Machine(gpu_memory_gb=24, cpu_memory_gb=16), "It needs 32 GB of memory; the machine has 16 GB."),
        (Machine(gpu_memory_gb=24, gpus=1, cpu_memory_gb=64), "It needs 4 GPUs; the machine has 1."),
        (Machine(gpu_memory_gb=24, gpus=4, cores=1), "It needs 2 CPU cores; the machine has 1."),
        (PRESETS["4x_a100_40gb"], None),
        (Machine(gpu_memory_gb=24, gpus=4), None),
    ],
)
def test_what_a_machine_lacks_is_said(machine: Machine, reason: str | None) -> None:
    many = strategy("many", method="finetune", params={"processes": 4}, hardware={**BIG, "cpu_cores": 2})
    fits, verdicts = judged([many], machine=machine)
    assert fits == ([] if reason else ["many"])
    assert verdicts["many"].reason == reason or reason is None


def test_larger_checkpoints_are_named_where_they_fit(shipped: Strategies) -> None:
    def larger(preset: str) -> tuple[str, ...]:
        return judged(shipped.all(), machine=PRESETS[preset])[1]["llava_fewshot"].larger

    assert larger("mac_m2") == ()
    assert larger("rtx_4090") == ("llava-hf/llava-1.5-7b-hf",)
    assert larger("a100_80gb") == ("llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-13b-hf")


def test_what_is_here_comes_first(shipped: Strategies) -> None:
    lite = ModelInfo("lite", "lite", (), default=True)
    ready = make_finder([lite, ModelInfo("clip-tiny", "clip", (), default=False)])
    fits, verdicts = judged(shipped.all(), ready, learning_type="one_shot", dataset_size=4)
    assert fits[0] == "lite_oneshot"
    assert fits.index("clip_oneshot") > fits.index("siamese_oneshot")
    assert "'lite' can be used" in verdicts["siamese_oneshot"].reason
    assert "VISION_ENCODER=openai/clip-vit-base-patch32" in verdicts["clip_oneshot"].reason


def test_the_model_in_use_decides_what_is_needed(shipped: Strategies) -> None:
    hub = "llava-hf/llava-1.5-7b-hf"
    ready = make_finder([ModelInfo("llava-1.5-7b-hf", "llava", (hub,), default=True, kind="vlm")])
    fits, verdicts = judged(shipped.all(), ready, machine=PRESETS["rtx_3060"], task="vqa")
    assert "llava_fewshot" not in fits
    assert verdicts["llava_fewshot"].reason == "It needs a GPU with 22 GB; the machine's have 12 GB."
    assert "llava_fewshot" in judged(shipped.all(), ready, machine=PRESETS["l4"], task="vqa")[0]


def test_a_machine_counts_its_gpus_where_models_run_on_them() -> None:
    card = Gpu(index=0, name="card", memory_mb=24_564, memory_available_mb=20_000, compute_capability="8.9")
    found = Hardware(
        cpu=Cpu(name="cpu", architecture="x86_64", cores=8, flags=[]),
        memory=Memory(total_mb=15_800, available_mb=None),
        gpus=[card, card.model_copy(update={"index": 1, "memory_mb": 49_140})],
        device="cuda:0",
    )
    machine = machine_of(found)
    assert (machine.usable_gpus, machine.gpu_memory_gb) == (2, 25.8)
    assert machine.cpu_memory_gb is not None
    assert machine.cpu_memory_gb >= 16  # sold as 16 GB, of which the kernel keeps some
    assert machine_of(found.model_copy(update={"device": "cpu"})).usable_gpus == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_something_fits_every_named_machine(shipped: Strategies, preset: str) -> None:
    fits, verdicts = judged(shipped.all(), machine=PRESETS[preset], dataset_size=50)
    assert "lite_fewshot" in fits
    assert len(verdicts) == len(shipped.all())
    assert all(verdict.reason.endswith(".") for verdict in verdicts.values())
