"""Accuracy of the shapes checkpoints on easy-VQA's untouched test split, loaded as anyone would load them.

Prints answers right by question type with the majority answer beside them, captions right, and for the
in-context checkpoint accuracy against the number of examples.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import torch
from easy_vqa_data import COLORS, SHAPES, Query, Split, load_split
from PIL import Image
from shapes_questions import caption
from transformers import (
    AutoProcessor,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    LlavaForConditionalGeneration,
)


def pictures(split: Split) -> list[Image.Image]:
    """The split's images as a user would hand them in."""
    return [Image.fromarray(pixels.permute(1, 2, 0).numpy()) for pixels in split.images]


def llava_answers(folder: Path, images: list[Image.Image], queries: list[Query], batch: int) -> list[str]:
    """Greedy answers through the processor's chat template."""
    processor = AutoProcessor.from_pretrained(folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    answers: list[str] = []
    for start in range(0, len(queries), batch):
        part = queries[start : start + batch]
        prompts = [
            processor.apply_chat_template(
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": q.question}]}],
                add_generation_prompt=True,
            )
            for q in part
        ]
        inputs = processor(
            text=prompts, images=[images[q.image] for q in part], padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=6)
        new = output[:, inputs["input_ids"].shape[1] :]
        answers += [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]
    return answers


def blip_answers(folder: Path, images: list[Image.Image], queries: list[Query], batch: int) -> list[str]:
    """Greedy answers of the question-answering head."""
    processor = AutoProcessor.from_pretrained(folder)
    model = BlipForQuestionAnswering.from_pretrained(folder).eval()
    answers: list[str] = []
    for start in range(0, len(queries), batch):
        part = queries[start : start + batch]
        inputs = processor(
            images=[images[q.image] for q in part],
            text=[q.question for q in part],
            padding=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=6)
        answers += [text.strip() for text in processor.batch_decode(output, skip_special_tokens=True)]
    return answers


def blip_captions(folder: Path, images: list[Image.Image], batch: int) -> list[str]:
    """Greedy captions without a prompt."""
    processor = AutoProcessor.from_pretrained(folder)
    model = BlipForConditionalGeneration.from_pretrained(folder).eval()
    captions: list[str] = []
    for start in range(0, len(images), batch):
        inputs = processor(images=images[start : start + batch], return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=10)
        captions += [text.strip() for text in processor.batch_decode(output, skip_special_tokens=True)]
    return captions


def report(queries: list[Query], answers: list[str], train: Split) -> dict[str, dict[str, float]]:
    """Share right by question type, the training split's majority answer to that type beside it."""
    told: dict[str, list[str]] = defaultdict(list)
    for query in train.queries:
        told[query.kind].append(query.answer)
    majority = {kind: Counter(said).most_common(1)[0][0] for kind, said in told.items()}
    table = {}
    for kind in ("color", "shape", "yes/no", "all"):
        rows = [(q, a) for q, a in zip(queries, answers, strict=True) if kind in (q.kind, "all")]
        table[kind] = {
            "questions": len(rows),
            "right": round(sum(q.answer == a for q, a in rows) / len(rows), 4),
            "majority": round(sum(q.answer == majority[q.kind] for q, _ in rows) / len(rows), 4),
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=("llava", "blip-vqa", "blip-caption"))
    parser.add_argument("--folder", type=Path, help="default: app/checkpoints/<its name>")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--limit", type=int, default=0, help="only the first so many questions or images")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = {"llava": "llava-shapes", "blip-vqa": "blip-shapes-vqa", "blip-caption": "blip-shapes-caption"}
    folder = options.folder or Path("app/checkpoints") / names[options.family]
    test = load_split("test")
    images = pictures(test)
    if options.family == "blip-caption":
        truth = truths(test)
        told = [row for row in truth if not options.limit or row < options.limit]
        said = blip_captions(folder, [images[row] for row in told], options.batch)
        right = sum(truth[row] == text for row, text in zip(told, said, strict=True)) / len(told)
        most = Counter(truth.values()).most_common(1)[0][1] / len(truth)
        print(json.dumps({"captions": len(told), "exact": round(right, 4), "majority": round(most, 4)}))
        return
    queries = test.queries[: options.limit or None]
    queries = sorted(queries, key=lambda q: len(q.question))
    ask = llava_answers if options.family == "llava" else blip_answers
    print(
        json.dumps(
            report(queries, ask(folder, images, queries, options.batch), load_split("train")), indent=2
        )
    )


def truths(split: Split) -> dict[int, str]:
    """Caption by image, wherever the questions and answers settle both colour and shape."""
    pairs = enumerate(zip(split.colors.tolist(), split.shapes.tolist(), strict=True))
    return {row: caption(COLORS[c], SHAPES[s]) for row, (c, s) in pairs if c >= 0 and s >= 0}


if __name__ == "__main__":
    main()
