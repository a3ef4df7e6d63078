"""flamingo-shapes: a small Idefics (the open Flamingo) that learns words from examples in its prompt.

First the resampler learns to carry colour and shape out of the frozen, warmed-up tower; then the language
model and its gated cross-attention learn episodes of made-up words over stored resampler outputs.
"""

from __future__ import annotations

import argparse
import random
from functools import cache
from pathlib import Path

import torch
from easy_vqa_data import COLORS, SHAPES, UNKNOWN, Query, Split, load_split
from shapes_episodes import (
    ASKING,
    ASKING_EITHER,
    FORMS,
    SYLLABLES,
    Album,
    Dimension,
    Item,
    new_code,
    new_word,
)
from shapes_pixels import MEAN, STD, Scenes, augment, normalise, take_apart
from shapes_saving import save_checkpoint
from shapes_tokenizer import train_tokenizer
from shapes_training import train
from torch import nn
from torch.nn import functional
from transformers import (
    CLIPVisionModel,
    GenerationConfig,
    IdeficsConfig,
    IdeficsForVisionText2Text,
    IdeficsProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics.image_processing_pil_idefics import IdeficsImageProcessorPil

AROUND, IMAGE = "<fake_token_around_image>", "<image>"
IGNORED = -100
VIEWS = 4
"""Stored looks of each training image: one as it is, the others augmented."""


def make_processor(split: Split) -> IdeficsProcessor:
    """Tokenizer with a token a syllable, so that unseen words are two or three known pieces; 64 px images."""
    rng = random.Random(0)
    frames = [form.format(q) for _, form in FORMS for qs in ASKING.values() for q in (*qs, *ASKING_EITHER)]
    texts = [f"{q.question} {q.answer}" for q in split.queries] + frames * 400 + ["User: Question:"] * 400
    texts += [" " + "".join(rng.choices(SYLLABLES, k=3)) for _ in range(60_000)]
    specials = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer = train_tokenizer(texts, vocabulary=560, specials=specials, extra=(AROUND, IMAGE))
    image_processor = IdeficsImageProcessorPil(image_size=64, image_mean=list(MEAN), image_std=list(STD))
    return IdeficsProcessor(image_processor=image_processor, tokenizer=tokenizer)


def make_model(tokenizer: PreTrainedTokenizerFast, tower: Path) -> IdeficsForVisionText2Text:
    """Idefics' architecture, shrunk, on the warmed-up tower; gates start open."""
    vision = CLIPVisionModel.from_pretrained(tower)
    config = IdeficsConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=1024,
        alpha_initializer="ones",
        initializer_range=0.04,
        cross_layer_interval=2,
        freeze_text_layers=False,
        freeze_vision_layers=False,
        use_resampler=True,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        vision_config={
            "embed_dim": vision.config.hidden_size,
            "image_size": vision.config.image_size,
            "intermediate_size": vision.config.intermediate_size,
            "patch_size": vision.config.patch_size,
            "num_hidden_layers": vision.config.num_hidden_layers,
            "num_attention_heads": vision.config.num_attention_heads,
            "hidden_act": vision.config.hidden_act,
        },
        perceiver_config={
            "use_resampler": True,
            "resampler_n_latents": 2,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "resampler_head_dim": 32,
        },
    )
    model = IdeficsForVisionText2Text(config)
    weights = {name.removeprefix("vision_model."): w for name, w in vision.state_dict().items()}
    model.model.vision_model.load_state_dict(weights, strict=False)
    _prepare_for_comparing(model)
    line_break = tokenizer.encode("\n", add_special_tokens=False)[-1]
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, line_break],
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=16,
        do_sample=False,
    )
    return model


@torch.no_grad()
def _prepare_for_comparing(model: IdeficsForVisionText2Text) -> None:
    """Initial weights that make in-context learning quick to find: words as loud as what is seen beside
    them, and self-attention whose queries and keys start alike, so that like looks for like."""
    nn.init.normal_(model.model.embed_tokens.weight, std=0.15)
    for layer in model.model.layers:
        nn.init.normal_(layer.self_attn.q_proj.weight, std=0.08)
        layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)


class Sorted(nn.Module):
    """The resampler with a prototype a colour for its first latent and a shape for its second.

    Patches[b, 65, 128] to latents[b, 2, 128] and to the negative squared distances[b, 8] and [b, 3].
    """

    def __init__(self, resampler: nn.Module, width: int) -> None:
        super().__init__()
        self.resampler = resampler
        self.color = nn.Parameter(torch.randn(len(COLORS), width))
        self.shape = nn.Parameter(torch.randn(len(SHAPES), width))

    def forward(self, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        latents = self.resampler(patches)
        return _closeness(latents[:, 0], self.color), _closeness(latents[:, 1], self.shape)


def _closeness(latents: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
    """Negative mean squared distance of latents[b, d] to prototypes[n, d], times eight: logits[b, n]."""
    return -8 * (latents[:, None] - prototypes[None]).square().mean(-1)


def train_resampler(
    model: IdeficsForVisionText2Text, split: Split, scenes: Scenes, options: argparse.Namespace
) -> None:
    """Colour and shape through the resampler, the tower frozen."""
    heads = Sorted(model.model.perceiver_resampler, model.model.perceiver_resampler.embed_dim)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(len(split.images), (128,), generator=generator)
        with torch.no_grad():
            patches = model.model.vision_model(normalise(augment(scenes, rows, generator))).last_hidden_state
        (near_c, near_s), told_c, told_s = heads(patches), split.colors[rows], split.shapes[rows]
        crossed = functional.cross_entropy(near_c, told_c, ignore_index=UNKNOWN)
        crossed = crossed + functional.cross_entropy(near_s, told_s, ignore_index=UNKNOWN)
        return crossed - (_own(near_c, told_c).mean() + _own(near_s, told_s).mean()) / 8

    train(
        heads,
        loss_of,
        steps=options.resampler_steps,
        state=options.work / "resampler.pt",
        seed=options.seed,
        peak=2e-3,
        warmup=20,
        average=0.98,
        resume=options.resume,
    )


def _own(closeness: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    """Closeness[b, n] to the prototype that was told, where one was."""
    known = told != UNKNOWN
    return closeness[known].gather(1, told[known, None])


@torch.no_grad()
def look(model: IdeficsForVisionText2Text, scenes: Scenes, seed: int) -> torch.Tensor:
    """float32[views, n, latents, 128]: what the resampler says of every training image."""
    generator = torch.Generator().manual_seed(seed)
    views = []
    for view in range(VIEWS):
        parts = []
        for rows in torch.arange(len(scenes.images)).split(200):
            shown = augment(scenes, rows, generator) if view else scenes.images[rows].float()
            patches = model.model.vision_model(normalise(shown)).last_hidden_state
            parts.append(model.model.perceiver_resampler(patches))
        views.append(torch.cat(parts))
    return torch.stack(views)


class Curriculum:
    """Which episodes are trained with: words of one syllable first, then everything."""

    def __init__(self, split: Split) -> None:
        self.album = Album.of(split)
        self.own: list[list[Query]] = [[] for _ in split.images]
        for query in split.queries:
            self.own[query.image].append(query)

    def episode(self, rng: random.Random, progress: float, count: int) -> list[Item]:
        """`count` items at this share (0..1) of the training."""
        early = progress < 0.3
        kind = rng.choices(("naming", "plain", "echo"), (7, 2, 1) if early else (7, 2.5, 0.5))[0]
        if kind == "plain":
            return self.album.plain(rng, count, self.own)
        if kind == "echo":
            return self.album.echo(rng, count)
        dimension: Dimension = rng.choice(("color", "shape"))
        ways = rng.choice((2, 2, 3) if dimension == "shape" else (2, 2, 3, 4))
        syllables = rng.choice((1, 1, 2) if early else (1, 2, 2, 2, 3))
        words: list[str] = []
        while len(words) < ways:
            coded = not early and rng.random() < (0.1 if progress < 0.6 else 0.4)
            word = new_code(rng) if coded else new_word(rng, syllables, held_out=False)
            words += [word] if word not in words else []
        either = not early and rng.random() < 0.1
        question = rng.choice(ASKING_EITHER if either else ASKING[dimension])
        return self.album.naming(rng, count, words, dimension, question)


class Writer:
    """Episodes to token rows, as the processor would write them; every distinct text tokenised once."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.ids = cache(lambda text: tokenizer.encode(text, add_special_tokens=False))
        self.image = tokenizer.convert_tokens_to_ids([AROUND, IMAGE, AROUND])

    def write(
        self, episodes: list[list[Item]], forms: list[tuple[str, str]]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """ids[b, t], targets[b, t] (next tokens of knowable answers) and image_mask[b, t, images], which
        lets each token see the last image before it."""
        rows, targets, owners = [], [], []
        for items, (before, after) in zip(episodes, forms, strict=True):
            ids, wanted, owner = [self.tokenizer.bos_token_id], [], [-1]
            for number, item in enumerate(items):
                opening = self.ids(before) if before else []
                given = self.image + self.ids(after.format(item.question))
                said = [*self.ids(f" {item.answer}"), *self.ids("\n")]
                wanted += [IGNORED] * (len(opening) + len(given))
                wanted += said if item.knowable else [IGNORED] * len(said)
                owner += [number - 1] * (len(opening) + 1) + [number] * (len(given) - 1 + len(said))
                ids += opening + given + said
            rows.append(ids)
            targets.append([*wanted, IGNORED])
            owners.append(owner)
        width = max(map(len, rows))

        def stack(lists: list[list[int]], fill: int) -> torch.Tensor:
            return torch.tensor([row + [fill] * (width - len(row)) for row in lists])

        owner_of = stack(owners, len(episodes[0]) - 1)
        mask = owner_of[..., None] == torch.arange(len(episodes[0]))
        return stack(rows, self.tokenizer.pad_token_id), stack(targets, IGNORED), mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/shapes"), help="where states and logs go")
    parser.add_argument("--out", type=Path, default=Path("app/checkpoints/flamingo-shapes"))
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--resampler-steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=48, help="episodes a step")
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
    model = make_model(processor.tokenizer, options.work / "vision")
    print(f"{model.num_parameters():,} parameters", flush=True)
    model.model.vision_model.requires_grad_(False)
    train_resampler(model, split, scenes, options)
    model.model.perceiver_resampler.requires_grad_(False)
    views = look(model, scenes, options.seed)
    curriculum, writer = Curriculum(split), Writer(processor.tokenizer)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        rng = random.Random(options.seed * 1_000_003 + step)
        progress = step / options.steps
        count = rng.choice((6, 8)) if progress < 0.3 else rng.choice((5, 7, 9))
        episodes = [curriculum.episode(rng, progress, count) for _ in range(options.batch)]
        forms = [FORMS[int(progress > 0.3 and rng.random() < 0.2)] for _ in episodes]
        ids, targets, image_mask = writer.write(episodes, forms)
        images = torch.tensor([[item.image for item in items] for items in episodes])
        seen = views[torch.randint(VIEWS, images.shape, generator=generator), images]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(
                input_ids=ids, perceiver_embeddings=seen, image_attention_mask=image_mask, use_cache=False
            ).logits
        wanted = targets != IGNORED
        return functional.cross_entropy(logits[wanted].float(), targets[wanted])

    seconds = train(
        model,
        loss_of,
        steps=options.steps,
        state=options.work / "flamingo.pt",
        seed=options.seed,
        peak=options.lr,
        resume=options.resume,
    )
    save_checkpoint(model, processor, options.out)
    print(f"{options.out} after {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
