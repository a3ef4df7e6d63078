"""llava-shapes: a LLaVA of a million parameters that answers questions about one shape.

Each image is encoded once; its questions follow as independent segments of one packed sequence
(block-causal mask, positions restarting after the image), which equals asking them one by one.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from easy_vqa_data import Split, load_split
from shapes_lessons import Lessons, Questions
from shapes_pixels import MEAN, STD, augment, normalise, take_apart
from shapes_questions import every_wording
from shapes_saving import save_checkpoint
from shapes_tokenizer import train_tokenizer
from shapes_training import train
from torch.nn import functional
from transformers import (
    CLIPVisionModel,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

IMAGE = "<image>"
PATCHES = 64
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] | upper }}: "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""The conversation format of LLaVA 1.5."""


def make_processor(split: Split) -> LlavaProcessor:
    """Tokenizer learned from the training questions, 64 px images, chat template of LLaVA 1.5."""
    texts = [f"USER: \n{text} ASSISTANT: {text}" for text in every_wording()]
    texts += [f"USER: \n{q.question} ASSISTANT: {q.answer}" for q in split.queries]
    texts += ["Question: Answer: Examples: Context:"] * 50
    specials = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer = train_tokenizer(texts, vocabulary=480, specials=specials, extra=(IMAGE,))
    image_processor = CLIPImageProcessorPil(
        size={"height": 64, "width": 64}, do_center_crop=False, image_mean=list(MEAN), image_std=list(STD)
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def make_model(processor: LlavaProcessor, tower: Path) -> LlavaForConditionalGeneration:
    """LLaVA with the warmed-up tower and a language model from random weights."""
    tokenizer = processor.tokenizer
    vision = CLIPVisionModel.from_pretrained(tower)
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=PATCHES,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(vision.state_dict())
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=16,
        do_sample=False,
    )
    return model


@dataclass(frozen=True)
class Packed:
    """A batch of packed conversations: ids[b, t], positions[b, t], labels[b, t] (-100: not an answer),
    mask bool[b, 1, t, t]."""

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor


class Packer:
    """Prefixes and question segments to `Packed`, every distinct text tokenised once."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.image = tokenizer.convert_tokens_to_ids(IMAGE)
        self.ids = cache(lambda text: tokenizer.encode(text, add_special_tokens=False))

    def pack(self, prefixes: list[str], asked: list[Questions]) -> Packed:
        """prefixes[b]: text before each image; asked[b]: (question, answer) pairs about it."""
        rows = []
        for prefix, pairs in zip(prefixes, asked, strict=True):
            ids = [self.tokenizer.bos_token_id, *self.ids(prefix), *[self.image] * PATCHES, *self.ids("\n")]
            start = len(ids)
            positions, segments, labels = list(range(start)), [0] * start, [-100] * start
            for number, (question, answer) in enumerate(pairs, 1):
                said = self.ids(f"{question} ASSISTANT:")
                reply = [*self.ids(f" {answer}"), self.tokenizer.eos_token_id]
                ids += said + reply
                positions += range(start, start + len(said) + len(reply))
                segments += [number] * (len(said) + len(reply))
                # the token before an answer's token predicts it
                labels += [-100] * (len(said) - 1) + reply + [-100]
            rows.append((ids, positions, segments, labels))
        width = max(len(row[0]) for row in rows)

        def stack(column: int, fill: int) -> torch.Tensor:
            return torch.tensor([row[column] + [fill] * (width - len(row[column])) for row in rows])

        segments_of = stack(2, -1)
        same = segments_of[:, :, None] == segments_of[:, None, :]
        to_prefix = (segments_of == 0)[:, None, :]
        causal = torch.ones(width, width, dtype=torch.bool).tril()
        mask = ((same | to_prefix) & causal)[:, None]
        return Packed(stack(0, self.tokenizer.pad_token_id), stack(1, 0), stack(3, -100), mask)


def answer_loss(model: LlavaForConditionalGeneration, pixels: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens for pixels[b, 3, 64, 64]."""
    inner = model.model
    features = inner.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
    embeds = inner.get_input_embeddings()(packed.ids)
    slots = (packed.ids == model.config.image_token_id)[..., None]
    embeds = embeds.masked_scatter(slots, torch.cat(list(features)).to(embeds.dtype))
    bias = torch.zeros(packed.mask.shape).masked_fill(~packed.mask, torch.finfo(torch.float32).min)
    hidden = inner.language_model(
        inputs_embeds=embeds, attention_mask=bias, position_ids=packed.positions, use_cache=False
    ).last_hidden_state
    answers = packed.labels != -100
    return functional.cross_entropy(model.lm_head(hidden[answers]).float(), packed.labels[answers])


def batch_of(lessons: Lessons, rows: list[int], rng: random.Random) -> tuple[list[str], list[Questions]]:
    """Prefixes and questions for these images; a quarter of the batches come with answered examples
    about other images, as earlier turns or in the question itself."""
    with_turns, with_lists = rng.choices(((False, False), (True, False), (False, True)), (6, 1, 1))[0]
    prefixes = ["USER: "] * len(rows)
    if with_turns:
        prefixes = [lessons.examples(rng, "USER: {} ASSISTANT: {} ") + "USER: " for _ in rows]
    asked = [lessons.about(row, rng) for row in rows]
    if with_lists:
        asked = [
            [(lessons.examples(rng, "Question: {} Answer: {}\n") + f"Question: {q}", a) for q, a in pairs[:3]]
            for pairs in asked
        ]
    return prefixes, asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/shapes"), help="where states and logs go")
    parser.add_argument("--out", type=Path, default=Path("app/checkpoints/llava-shapes"))
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--batch", type=int, default=48, help="images a step")
    parser.add_argument("--questions", type=int, default=8, help="questions an image a step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    split = load_split("train")
    scenes = take_apart(split.images)
    processor = make_processor(split)
    model = make_model(processor, options.work / "vision")
    packer, lessons = Packer(processor.tokenizer), Lessons(split, options.questions)
    asked_about = torch.tensor([row for row, own in enumerate(lessons.own) if own])
    print(f"{model.num_parameters():,} parameters", flush=True)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        rng = random.Random(options.seed * 1_000_003 + step)
        rows = asked_about[torch.randint(len(asked_about), (options.batch,), generator=generator)]
        pixels = normalise(augment(scenes, rows, generator))
        packed = packer.pack(*batch_of(lessons, rows.tolist(), rng))
        with torch.autocast("cpu", torch.bfloat16):
            return answer_loss(model, pixels, packed)

    seconds = train(
        model,
        loss_of,
        steps=options.steps,
        state=options.work / "llava.pt",
        seed=options.seed,
        peak=options.lr,
        resume=options.resume,
    )
    save_checkpoint(model, processor, options.out)
    print(f"{options.out} after {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
