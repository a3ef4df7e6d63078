"""Train the tiny CLIP that ships as app/checkpoints/clip-tiny, on coloured shapes and captions of them.

Trains on the easy-VQA training split, and writes an ordinary CLIPModel folder.

    python scripts/train_clip_tiny.py [--out app/checkpoints/clip-tiny] [--steps 900] [--seed 0]
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import torch
from easy_vqa_data import COLORS, SHAPES, SIDE, UNKNOWN, Split, load_split
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = ("{}", "a {}", "a photo of a {}", "a picture of a {}", "an image of a {}.", "the {}")
SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
BATCH = 128
CONTEXT = 24

README = """# clip-tiny

A CLIP (`CLIPModel`) of {parameters:,} parameters that knows easy-VQA's coloured shapes and nothing else. It
exists so that the code that serves CLIP of any size runs, with real files, in every test.

- data: the training split of the wheel `easy-vqa` (MIT): {images:,} images of 64 x 64; colour and shape are
  read from its questions; captions are made from them ("a photo of a red circle")
- command: `python scripts/train_clip_tiny.py --steps {steps} --seed {seed}`
- loss: CLIP's symmetric cross-entropy, with every caption that fits an image as its target
- test split, {tested:,} images, one caption of each of the {labels} colour and shape pairs ("a red circle"):
  {accuracy:.1%} right at first (chance {chance:.1%})
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "app" / "checkpoints" / "clip-tiny")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    tokenizer = make_tokenizer()
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=MEAN,
        image_std=STD,
    )
    model = CLIPModel(make_config(tokenizer))
    train = load_split("train")
    fit(model, tokenizer, keep_known(train), args.steps, rng)
    model.eval()
    test = keep_known(load_split("test"))
    accuracy = zero_shot_accuracy(model, tokenizer, test)
    args.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(args.out)
    CLIPProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(args.out)
    processor.save_pretrained(args.out)
    (args.out / "README.md").write_text(
        README.format(
            parameters=sum(p.numel() for p in model.parameters()),
            images=len(train.images),
            steps=args.steps,
            seed=args.seed,
            tested=len(test.images),
            labels=len(COLORS) * len(SHAPES),
            accuracy=accuracy,
            chance=1 / (len(COLORS) * len(SHAPES)),
        )
    )
    print(f"test accuracy {accuracy:.3f}, written to {args.out}")


def make_tokenizer() -> CLIPTokenizer:
    """CLIP's own kind of byte-level BPE, its merges learned from the captions."""
    captions = [
        template.format(f"{color} {shape}") for template in TEMPLATES for color in COLORS for shape in SHAPES
    ]
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        captions, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, end_of_word_suffix="</w>")
    )
    with tempfile.TemporaryDirectory() as folder:
        learner.model.save(folder)
        merges = [line for line in (Path(folder) / "merges.txt").read_text().splitlines() if line[:1] != "#"]
    # every byte alone and at the end of a word, as in CLIP, so that no text is ever unknown
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    pieces += [merge.replace(" ", "") for merge in merges]
    vocab = {piece: index for index, piece in enumerate([*dict.fromkeys(pieces), *SPECIAL])}
    return CLIPTokenizer(vocab=vocab, merges=[tuple(m.split(" ")) for m in merges], model_max_length=CONTEXT)


def make_config(tokenizer: CLIPTokenizer) -> CLIPConfig:
    shared = {"num_attention_heads": 4, "projection_dim": 64}
    return CLIPConfig(
        text_config={
            **shared,
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 192,
            "num_hidden_layers": 2,
            "max_position_embeddings": CONTEXT,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            **shared,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "image_size": SIDE,
            "patch_size": 8,
        },
        projection_dim=64,
    )


def keep_known(split: Split) -> Split:
    keep = (split.colors != UNKNOWN) & (split.shapes != UNKNOWN)
    return Split(split.images[keep], [], split.colors[keep], split.shapes[keep])


def normalise(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> dict[str, torch.Tensor]:
    return dict(tokenizer(captions, padding=True, truncation=True, max_length=CONTEXT, return_tensors="pt"))


def fit(model: CLIPModel, tokenizer: CLIPTokenizer, train: Split, steps: int, rng: random.Random) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        rows = torch.tensor(rng.sample(range(len(train.images)), BATCH))
        images = train.images[rows]
        if rng.random() < 0.5:
            images = images.flip(-1)
        images = images.roll((rng.randrange(-6, 7), rng.randrange(-6, 7)), (-2, -1))
        kinds = train.colors[rows] * len(SHAPES) + train.shapes[rows]
        captions = [
            rng.choice(TEMPLATES).format(f"{COLORS[kind // len(SHAPES)]} {SHAPES[kind % len(SHAPES)]}")
            for kind in kinds.tolist()
        ]
        logits = model(pixel_values=normalise(images), **tokens(tokenizer, captions)).logits_per_image
        fits = (kinds[:, None] == kinds[None, :]).float()
        target = fits / fits.sum(1, keepdim=True)
        by_image = torch.nn.functional.cross_entropy(logits, target)
        by_text = torch.nn.functional.cross_entropy(logits.T, target)
        loss = (by_image + by_text) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6052)  # a scale of 100, CLIP's own cap
        if step % 100 == 0:
            print(f"step {step:4d}  loss {loss.item():.3f}  scale {model.logit_scale.exp().item():.1f}")


@torch.inference_mode()
def zero_shot_accuracy(model: CLIPModel, tokenizer: CLIPTokenizer, split: Split) -> float:
    captions = [f"a {color} {shape}" for color in COLORS for shape in SHAPES]
    right = 0
    for start in range(0, len(split.images), 256):
        part = slice(start, start + 256)
        logits = model(
            pixel_values=normalise(split.images[part]), **tokens(tokenizer, captions)
        ).logits_per_image
        truth = split.colors[part] * len(SHAPES) + split.shapes[part]
        right += int((logits.argmax(1) == truth).sum())
    return right / len(split.images)


if __name__ == "__main__":
    main()
