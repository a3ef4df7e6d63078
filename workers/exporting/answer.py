"""Answers a question about an image by ONNX Runtime alone: python answer.py image.png "what color is the shape?"

Needs onnxruntime, numpy, pillow and tokenizers, and the files beside it: generation.json says how the model is asked
and when an answer ends, preprocessing.json what becomes of an image. README.md explains the graphs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from tokenizers import Tokenizer

Arrays = dict[str, Any]


class Model:
    """An exported vision-language model; answers greedily, one image at a time."""

    def __init__(self, folder: Path) -> None:
        self.note = json.loads((folder / "generation.json").read_text("utf-8"))
        self.steps = json.loads((folder / "preprocessing.json").read_text("utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.graphs = {
            name: onnxruntime.InferenceSession(
                str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"]
            )
            for name in self.note["graphs"]
        }

    def answer(self, image: Image.Image, question: str | None = None) -> tuple[str, list[int]]:
        """The answer to the question, or without one a caption; and its tokens."""
        note, tokens = self.note, list[int]()
        ids = np.array([self.read_prompt(question)], np.int64)
        if ids.size + note["max_new_tokens"] > note["context_length"]:
            raise ValueError(f"The question is too long: all in all {note['context_length']} tokens fit.")
        values = {"pixel_values": self.read_pixels(image), "input_ids": ids}
        values["attention_mask"] = np.ones_like(ids)
        for name in note["before"]:
            values.update(self.run(name, values))
        for past in self.graphs["decoder"].get_inputs():
            if past.name.startswith("past_key_values."):
                values[past.name] = np.zeros((1, past.shape[1], 0, past.shape[3]), np.float32)
        step = ids if note["start"] is None else np.array([[note["start"]]], np.int64)
        length = 0
        while len(tokens) < note["max_new_tokens"]:
            length += step.shape[1]
            values |= {"input_ids": step, "attention_mask": np.ones((1, length), np.int64)}
            is_image = step == note["image_token_id"]
            # what comes after the image sees it, and so do all later tokens
            sees = np.cumsum(is_image, axis=1) > 0 if not tokens else step == step
            values["image_attention_mask"] = sees[..., None].astype(np.int64)
            if "embed_tokens" in self.graphs:
                values.update(self.run("embed_tokens", values))
                if not tokens:
                    values["inputs_embeds"][is_image] = values["image_embeds"][0]
            outputs = self.run("decoder", values)
            token = int(outputs.pop("logits")[0, -1].argmax())
            if token in note["end_tokens"]:
                break
            tokens.append(token)
            values |= {name.replace("present", "past_key_values"): past for name, past in outputs.items()}
            step = np.array([[token]], np.int64)
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        for before, after in note["clean_up"]:
            text = text.replace(before, after)
        return text.strip(), tokens

    def run(self, name: str, values: Arrays) -> Arrays:
        """One graph's outputs by name; it takes those of the values that it knows by name."""
        graph = self.graphs[name]
        outputs = graph.run(None, {wanted.name: values[wanted.name] for wanted in graph.get_inputs()})
        return dict(zip((output.name for output in graph.get_outputs()), outputs, strict=True))

    def read_prompt(self, question: str | None) -> list[int]:
        """Token ids of the question as the model was taught to read one, without control tokens that it may hold."""
        note, text, before = self.note, question or "", None
        while before != text:  # taking one out may put another together
            before = text
            for token in note["special_tokens"]:
                text = text.replace(token, " ")
        text = note["prompt"].replace("{question}", text.strip() or note["caption"])
        if note["image_token"]:
            text = text.replace(note["image_token"], note["image_token"] * note["image_tokens"])
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=note["add_special_tokens"]).ids
        return ids

    def read_pixels(self, image: Image.Image) -> Any:
        """float32[1, 3, h, w] of an image of 8 bits a channel; transparency is laid on white."""
        steps, image = self.steps, ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        limit = steps["max_aspect"] * min(image.size)
        image = crop_middle(image.convert("RGB"), limit, limit)
        if steps["shortest_edge"]:
            edge, (width, height) = steps["shortest_edge"], image.size
            size = (max(edge, int(edge * width / height)), max(edge, int(edge * height / width)))
        else:
            size = (steps["width"], steps["height"])
        image = image.resize(size, Image.Resampling(steps["resample"]))
        if steps["crop"]:
            image = crop_middle(image, *steps["crop"])
        values: Any = np.asarray(image, np.float32) * np.float32(steps["scale"])
        values = (values - np.array(steps["mean"], np.float32)) / np.array(steps["std"], np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)


def crop_middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of an image, at most this large."""
    width, height = min(width, image.width), min(height, image.height)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


if __name__ == "__main__":
    model = Model(Path(__file__).parent)
    if len(sys.argv) != 3 and not (len(sys.argv) == 2 and "caption" in model.note["tasks"]):
        sys.exit("usage: python answer.py IMAGE QUESTION" + " | IMAGE" * ("caption" in model.note["tasks"]))
    if len(sys.argv) == 3 and "vqa" not in model.note["tasks"]:
        sys.exit("This model writes captions: name an image and no question.")
    try:
        with Image.open(sys.argv[1]) as opened:
            opened.load()
            sys.stdout.write(model.answer(opened, *sys.argv[2:])[0] + "\n")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        sys.exit(f"{sys.argv[1]} cannot be read as an image: {getattr(error, 'strerror', None) or error}")
    except ValueError as error:
        sys.exit(str(error))
