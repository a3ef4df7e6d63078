"""blip-shapes: a small BLIP with its captioning head ("a red circle") or its question-answering head.

The captioner starts from the warmed-up tower, the answerer from the captioner's tower: train them in
that order. Questions about one image are encoded side by side in one row, each blind to the others.
"""

from __future__ import annotations

import argparse
import random
from functools import cache
from pathlib import Path

import torch
from easy_vqa_data import COLORS, SHAPES, UNKNOWN, Split, load_split
from shapes_lessons import Lessons, Questions
from shapes_pixels import MEAN, STD, augment, normalise, take_apart
from shapes_questions import caption, every_wording
from shapes_saving import save_checkpoint
from shapes_tokenizer import train_tokenizer
from shapes_training import Loss, train
from torch.nn import functional
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    BlipProcessor,
    BlipTextConfig,
    BlipVisionConfig,
    CLIPVisionModel,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

OPENINGS = ("a picture of", "a photo of", "an image of", "a photograph of", "there is", "this is")
"""Prompts that a caption may be asked to continue."""
IGNORED = -100
Built = tuple[PreTrainedModel, Loss]


def make_processor(split: Split) -> BlipProcessor:
    """Tokenizer learned from the training questions, in BLIP's "[CLS] text [SEP]" form, and 64 px images."""
    texts = list(every_wording()) + [text for q in split.queries for text in (q.question, q.answer)]
    texts += [f"{opening} {caption(c, s)}" for opening in OPENINGS for c in COLORS for s in SHAPES] * 10
    specials = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "bos_token": "[DEC]",
    }
    tokenizer = train_tokenizer(
        texts, vocabulary=480, specials=specials, wrap="[CLS] $A [SEP]", padding_side="right"
    )
    image_processor = BlipImageProcessorPil(
        size={"height": 64, "width": 64}, image_mean=list(MEAN), image_std=list(STD)
    )
    return BlipProcessor(image_processor=image_processor, tokenizer=tokenizer)


def make_config(tokenizer: PreTrainedTokenizerFast) -> BlipConfig:
    """BLIP's configuration, shrunk: the tower of the warm-up and two text layers a stack."""
    vision = BlipVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
        hidden_act="quick_gelu",
        initializer_range=0.02,
    )
    text = BlipTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.sep_token_id,
        sep_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())


def make_generation_config(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    """Greedy, and short."""
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=16,
        do_sample=False,
    )


def as_blip_tower(tower: CLIPVisionModel) -> dict[str, torch.Tensor]:
    """A CLIP tower's weights under BLIP's names; CLIP's layer norm before the first block has no place."""
    source = {name.removeprefix("vision_model."): weight for name, weight in tower.state_dict().items()}
    named = {}
    for name, weight in source.items():
        if name == "embeddings.class_embedding":
            named[name] = weight.view(1, 1, -1)
        elif name == "embeddings.position_embedding.weight":
            named["embeddings.position_embedding"] = weight[None]
        elif ".q_proj." in name:
            parts = [source[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            named[name.replace("q_proj", "qkv")] = torch.cat(parts)
        elif not any(part in name for part in ("k_proj", "v_proj", "pre_layrnorm", "position_ids")):
            named[name.replace("out_proj", "projection")] = weight
    named["embeddings.patch_embedding.bias"] = torch.zeros(len(named["post_layernorm.bias"]))
    return named


class Texts:
    """Token rows for both heads, every distinct text tokenised once."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.ids = cache(lambda text: tokenizer.encode(text, add_special_tokens=False))

    def pad(self, rows: list[list[int]], fill: int, width: int = 0) -> torch.Tensor:
        """Rows of ids to int64[n, widest]."""
        width = max([width, *map(len, rows)])
        return torch.tensor([row + [fill] * (width - len(row)) for row in rows])

    def replies(self, prompts: list[str], answers: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoder inputs[n, t] and next-token targets[n, t], which skip the prompts."""
        inputs, targets = [], []
        for prompt, answer in zip(prompts, answers, strict=True):
            given = [self.tokenizer.bos_token_id, *self.ids(prompt)]
            said = self.ids(f" {answer}" if prompt else answer)
            inputs.append(given + said)
            targets.append([IGNORED] * (len(given) - 1) + said + [self.tokenizer.sep_token_id])
        return self.pad(inputs, self.tokenizer.pad_token_id), self.pad(targets, IGNORED)

    def questions(self, asked: list[Questions]) -> torch.Tensor:
        """int64[b, s, t]: s questions about each of b images."""
        rows = [
            [self.tokenizer.cls_token_id, *self.ids(question), self.tokenizer.sep_token_id]
            for pairs in asked
            for question, _ in pairs
        ]
        return self.pad(rows, self.tokenizer.pad_token_id).view(len(asked), len(asked[0]), -1)


def caption_loss(
    model: BlipForConditionalGeneration, pixels: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy of the captions' tokens."""
    logits = model(pixel_values=pixels, input_ids=inputs).logits
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def answer_loss(
    model: BlipForQuestionAnswering,
    pixels: torch.Tensor,
    questions: torch.Tensor,
    replies: tuple[torch.Tensor, torch.Tensor],
    see_padding: bool,
) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens. BLIP's `generate` lets the decoder see the questions'
    padding, so training does too at times (`see_padding`)."""
    images = model.vision_model(pixel_values=pixels).last_hidden_state
    b, s, t = questions.shape
    real = questions != model.decoder_pad_token_id
    owner = torch.arange(s).repeat_interleave(t)
    mask = (owner[:, None] == owner[None, :])[None] & real.view(b, 1, s * t)
    encoded = model.text_encoder(
        input_ids=questions.view(b, s * t),
        position_ids=torch.arange(t).repeat(s)[None],
        attention_mask=torch.zeros(mask[:, None].shape).masked_fill(
            ~mask[:, None], torch.finfo(torch.float32).min
        ),
        encoder_hidden_states=images,
        is_decoder=False,
    ).last_hidden_state.view(b * s, t, -1)
    inputs, targets = replies
    logits = model.text_decoder(
        input_ids=inputs,
        encoder_hidden_states=encoded,
        encoder_attention_mask=None if see_padding else real.view(b * s, t).long(),
        use_cache=False,
    ).logits
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def captioner(split: Split, processor: BlipProcessor, options: argparse.Namespace) -> Built:
    """The captioning model on the warmed-up tower, and its loss."""
    model = BlipForConditionalGeneration(make_config(processor.tokenizer))
    model.vision_model.load_state_dict(
        as_blip_tower(CLIPVisionModel.from_pretrained(options.work / "vision"))
    )
    texts, scenes = Texts(processor.tokenizer), take_apart(split.images)
    known = ((split.colors != UNKNOWN) & (split.shapes != UNKNOWN)).nonzero().squeeze(1)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        rng = random.Random(options.seed * 1_000_003 + step)
        rows = known[torch.randint(len(known), (options.batch,), generator=generator)]
        answers = [caption(COLORS[split.colors[r]], SHAPES[split.shapes[r]]) for r in rows.tolist()]
        prompts = [rng.choice(OPENINGS) if rng.random() < 0.3 else "" for _ in answers]
        pixels = normalise(augment(scenes, rows, generator))
        with torch.autocast("cpu", torch.bfloat16):
            return caption_loss(model, pixels, *texts.replies(prompts, answers))

    return model, loss_of


def answerer(split: Split, processor: BlipProcessor, options: argparse.Namespace) -> Built:
    """The question-answering model on the captioner's tower, and its loss."""
    model = BlipForQuestionAnswering(make_config(processor.tokenizer))
    model.vision_model.load_state_dict(torch.load(options.work / "blip-tower.pt", weights_only=True))
    texts, scenes = Texts(processor.tokenizer), take_apart(split.images)
    lessons = Lessons(split, options.questions)
    asked_about = torch.tensor([row for row, own in enumerate(lessons.own) if own])

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        rng = random.Random(options.seed * 1_000_003 + step)
        rows = asked_about[torch.randint(len(asked_about), (options.batch,), generator=generator)]
        asked = [lessons.about(row, rng) for row in rows.tolist()]
        replies = texts.replies(
            [""] * (len(asked) * options.questions), [a for pairs in asked for _, a in pairs]
        )
        pixels = normalise(augment(scenes, rows, generator))
        with torch.autocast("cpu", torch.bfloat16):
            return answer_loss(model, pixels, texts.questions(asked), replies, rng.random() < 0.5)

    return model, loss_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("head", choices=("caption", "vqa"))
    parser.add_argument("--work", type=Path, default=Path("build/shapes"), help="where states and logs go")
    parser.add_argument(
        "--out", type=Path, default=Path("app/checkpoints"), help="blip-shapes-<head> goes in here"
    )
    parser.add_argument("--steps", type=int, default=0, help="default: 450 for captions, 1600 for questions")
    parser.add_argument("--batch", type=int, default=0, help="images a step; default: 64 and 48")
    parser.add_argument("--questions", type=int, default=8, help="questions an image a step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    captions = options.head == "caption"
    options.batch = options.batch or (64 if captions else 48)

    split = load_split("train")
    processor = make_processor(split)
    model, loss_of = (captioner if captions else answerer)(split, processor, options)
    model.generation_config = make_generation_config(processor.tokenizer)
    print(f"{model.num_parameters():,} parameters", flush=True)
    seconds = train(
        model,
        loss_of,
        steps=options.steps or (450 if captions else 1600),
        state=options.work / f"blip-{options.head}.pt",
        seed=options.seed,
        peak=options.lr,
        resume=options.resume,
    )
    if captions:
        torch.save(model.vision_model.state_dict(), options.work / "blip-tower.pt")
    folder = options.out / f"blip-shapes-{options.head}"
    save_checkpoint(model, processor, folder)
    print(f"{folder} after {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
