"""The loop that generates answers: rows join, leave and are chosen for on their own, whatever shape the steps have."""

from __future__ import annotations

import json
import logging
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from app.families.transformers_vlm import TransformersVlm
from app.families.vlms import load_vlm, resolve_vlm
from app.inference.generation.choosing import choose
from app.inference.prompts import Answer, AnswerExample, Generation, Prompt, Sampling
from app.inference.sources import CHECKPOINTS, EncoderConfig
from app.settings import Settings
from tests import shapes
from tests.integration.families.test_vlm_formats import save_llava, save_smolvlm
from tests.replayed import ReplayedGraph, replayed_graphs

__all__ = ["replayed_graphs"]
SHIPPED = ("llava-shapes", "blip-shapes-vqa", "blip-shapes-caption", "flamingo-shapes")
GREEDY = Sampling()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EncoderConfig:
    return EncoderConfig.from_settings(Settings(data_dir=tmp_path_factory.mktemp("data"), device="cpu"))


@pytest.fixture(params=SHIPPED)
def vlm(request: pytest.FixtureRequest, config: EncoderConfig) -> TransformersVlm:
    return load_vlm(resolve_vlm(request.param), config)


@pytest.fixture
def llava(config: EncoderConfig) -> TransformersVlm:
    return load_vlm(resolve_vlm("llava-shapes"), config)


def prompts_for(vlm: TransformersVlm, count: int, sampling: Sampling = GREEDY) -> list[Prompt]:
    """Of various lengths, and with examples where the family takes them."""
    asks = "vqa" in vlm.tasks
    texts = (
        ("what color is the shape?", "is there a red circle in the image?", "describe the image.")
        if asks
        else ("a photo of", "the", "a picture of a")
    )
    example = AnswerExample(shapes.image(50), "what color is the shape?", "blue")
    return [
        Prompt(
            shapes.image(number),
            texts[number % 3],
            "vqa" if asks else "caption",
            (2, 7, 24)[number % 3] + number,
            (example,) * (number % 2) if vlm.family != "blip" else (),
            sampling,
        )
        for number in range(count)
    ]


def alone(vlm: TransformersVlm, prompts: list[Prompt]) -> list[Answer]:
    return [vlm.generate([vlm.pack(prompt)])[0] for prompt in prompts]


class Arrivals:
    """Generations that come one or two at a time, as long as the model takes them."""

    def __init__(self, waiting: list[Generation]) -> None:
        self.waiting = deque(waiting)
        self.joined = 0

    def join(self, fits: Callable[[Generation], bool]) -> list[Generation]:
        taken = []
        while self.waiting and len(taken) < 2 and fits(self.waiting[0]):
            taken.append(self.waiting.popleft())
        self.joined += len(taken)
        return taken


def test_rows_that_join_answer_as_they_would_alone(vlm: TransformersVlm) -> None:
    prompts = prompts_for(vlm, 12)
    wanted = alone(vlm, prompts)
    packed = [vlm.pack(prompt) for prompt in prompts]
    longest = max(packed, key=vlm.loop.columns)
    vlm.generate([longest])  # slots as long as all of them need
    vlm.drop_workspace()
    vlm.limit_generation(max_rows=3, cache_bytes=1 << 30)
    first = next(place for place, row in enumerate(packed) if row is longest)
    rest = packed[:first] + packed[first + 1 :]
    arrivals = Arrivals(rest)
    said = vlm.generate([longest], arrivals.join)
    assert arrivals.joined > 3  # more than there are slots beside the first
    others = wanted[:first] + wanted[first + 1 :]
    assert said == [wanted[first], *others[: arrivals.joined]]


def test_steps_that_are_captured_and_run_ahead_say_the_same(
    vlm: TransformersVlm, replayed_graphs: list[ReplayedGraph]
) -> None:
    prompts = prompts_for(vlm, 7)
    wanted = alone(vlm, prompts)
    vlm.static_cache = True
    vlm.loop.captured.is_able = True
    vlm.loop.ahead = 1
    for _ in range(2):
        assert vlm.generate([vlm.pack(prompt) for prompt in prompts]) == wanted
    shapes_of_steps = vlm.loop.captured.shapes
    assert all(used % 128 == 0 for _, used, _ in shapes_of_steps)
    assert len(replayed_graphs) == len(shapes_of_steps)
    assert sum(graph.replays for graph in replayed_graphs) > len(replayed_graphs)


def test_where_capturing_fails_steps_run_as_they_are_and_the_log_says_so(
    llava: TransformersVlm,
    replayed_graphs: list[ReplayedGraph],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="app")  # whatever a service in this process has set
    prompts = prompts_for(llava, 5)
    wanted = alone(llava, prompts)

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(ReplayedGraph, "capture_begin", refuse)
    llava.static_cache = True
    llava.loop.captured.is_able = True
    assert llava.generate([llava.pack(prompt) for prompt in prompts]) == wanted
    assert llava.generate([llava.pack(prompt) for prompt in prompts]) == wanted
    assert [record.message for record in caplog.records if "without CUDA graphs" in record.message] == [
        "llava-shapes answers without CUDA graphs: operation not permitted when stream is capturing"
    ]


def test_nothing_is_captured_of_weights_that_are_trained(
    llava: TransformersVlm, replayed_graphs: list[ReplayedGraph]
) -> None:
    llava.static_cache = True
    llava.loop.captured.is_able = True
    llava.model.lm_head.weight.requires_grad_(True)
    try:
        alone(llava, prompts_for(llava, 3))
    finally:
        llava.model.lm_head.weight.requires_grad_(False)
    assert replayed_graphs == []


def test_each_row_of_a_batch_is_chosen_for_in_its_own_way(llava: TransformersVlm) -> None:
    cold = prompts_for(llava, 6)
    wanted = alone(llava, cold)
    hot = prompts_for(llava, 6, Sampling(temperature=3.0))
    said = llava.generate([llava.pack(prompt) for pair in zip(cold, hot, strict=True) for prompt in pair])
    assert said[::2] == wanted
    assert said[1::2] != wanted


def test_words_are_drawn_by_their_shares() -> None:
    torch.manual_seed(0)
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rows = 4000
    logits = shares.log().repeat(rows, 1)

    def drawn(sampling: Sampling, top_k: int = 0) -> list[float]:
        chosen = choose(logits, [sampling] * rows, top_k)
        return (torch.bincount(chosen, minlength=4) / rows).tolist()

    assert drawn(Sampling(1.0)) == pytest.approx(shares.tolist(), abs=0.03)
    assert drawn(Sampling(0.5)) == pytest.approx((shares**2 / (shares**2).sum()).tolist(), abs=0.03)
    assert drawn(Sampling(1.0, top_p=0.75)) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert drawn(Sampling(1.0, top_p=0.01)) == [1, 0, 0, 0]
    assert drawn(Sampling(1.0), top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    mixed = choose(logits, [Sampling(), Sampling(1.0)] * (rows // 2), 0)
    assert set(mixed[::2].tolist()) == {0}
    assert set(mixed[1::2].tolist()) == {0, 1, 2, 3}


def test_a_small_cache_lets_fewer_rows_run_at_once(llava: TransformersVlm) -> None:
    prompts = prompts_for(llava, 6)
    wanted = alone(llava, prompts)
    llava.drop_workspace()
    before = llava.memory_bytes
    row_bytes = 2 * 3 * 4 * 32 * 4 * 128  # keys and values, layers, heads, width, float32, columns
    llava.limit_generation(max_rows=16, cache_bytes=2 * row_bytes)
    assert llava.generate([llava.pack(prompt) for prompt in prompts]) == wanted
    assert llava.memory_bytes == before + 2 * row_bytes
    slots = llava.base.workspace if llava.base else None
    assert slots.slots == 2
    llava.generate([llava.pack(prompts[0])])
    assert llava.base is not None
    assert llava.base.workspace is slots


def test_running_out_of_memory_halves_the_rows_and_gives_the_slots_back(
    llava: TransformersVlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = prompts_for(llava, 8)
    wanted = alone(llava, prompts)
    decoder = llava.loop.decoder
    read, rows = decoder.read_prompts, []

    def with_little_memory(model: Any, inputs: Any, lengths: Any, slots: Any, first: int) -> torch.Tensor:
        rows.append(len(lengths))
        if len(lengths) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(model, inputs, lengths, slots, first)

    monkeypatch.setattr(decoder, "read_prompts", with_little_memory)
    llava.limit_generation(max_rows=8, cache_bytes=1 << 30)
    with pytest.raises(torch.OutOfMemoryError):
        llava.generate([llava.pack(prompt) for prompt in prompts])
    assert llava.base is not None
    assert llava.base.workspace is None
    assert llava.generate([llava.pack(prompt) for prompt in prompts]) == wanted
    assert rows[:2] == [8, 4]


def with_a_window(folder: Path) -> None:
    """LLaVA over a language model that looks back 32 tokens, which is less than an image has."""
    save_llava(folder)
    config = transformers.LlavaConfig.from_pretrained(folder)
    text = config.text_config.to_dict()
    config.text_config = transformers.MistralConfig(
        **{key: text[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")},
        **{key: text[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        sliding_window=32,
    )
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)


def with_a_penalty(folder: Path) -> None:
    shutil.copytree(CHECKPOINTS / "llava-shapes", folder)
    generation = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(generation | {"repetition_penalty": 1.8}))


@pytest.mark.parametrize(
    ("save", "is_looped"),
    [(save_llava, True), (save_smolvlm, True), (with_a_window, False), (with_a_penalty, False)],
)
def test_answers_are_those_of_transformers(
    config: EncoderConfig, tmp_path: Path, save: Callable[[Path], None], is_looped: bool
) -> None:
    """In the loop, or by `generate` itself where a checkpoint asks for what the loop does not do."""
    save(tmp_path / "model")
    vlm = load_vlm(resolve_vlm(str(tmp_path / "model")), config)
    assert vlm.loop.decoder.is_supported == is_looped
    prompts = [
        Prompt(shapes.image(number), text, "vqa", 12)
        for number, text in enumerate(["what is this?", "what color is the shape?", "is it red?"])
    ]
    packed = [vlm.pack(prompt) for prompt in prompts]
    said = [answer.text for answer in vlm.generate(packed)]
    for generation, text in zip(packed, said, strict=True):
        tokens = vlm.model.generate(**generation.packed, max_new_tokens=12, do_sample=False)
        new = tokens[0, generation.prompt_tokens :]
        assert text == vlm.processor.tokenizer.decode(new, skip_special_tokens=True).strip()


def test_what_pads_a_shorter_question_changes_nothing(config: EncoderConfig) -> None:
    vlm = load_vlm(resolve_vlm("blip-shapes-vqa"), config)
    seen: list[torch.Tensor] = []
    vlm.model.text_decoder.cls.register_forward_hook(lambda _, __, logits: seen.append(logits.flatten(0, -2)))
    long = " ".join(["is there a red circle in the image"] * 4)
    short, longer = (vlm.pack(Prompt(shapes.image(7), text, "vqa", 8)) for text in ("what shape?", long))

    def read(*together: Generation) -> torch.Tensor:
        seen.clear()
        vlm.generate(list(together))
        return torch.stack([logits[0] for logits in seen[:2]])  # the first row's first two tokens

    lone = read(short)
    vlm.drop_workspace()
    torch.testing.assert_close(read(short, longer), lone, atol=1e-3, rtol=0)
