"""What a bounded child does with an uploaded model: build it, load it, use it once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from app.errors import CheckLimitError, InvalidInputError, VisionError
from app.families import FAMILIES
from app.families.changed import ADAPTER
from app.families.encoders import load_encoder, resolve
from app.families.vlms import load_vlm, resolve_vlm
from app.inference import adapters
from app.inference.errors import OutOfMemoryError
from app.inference.prompts import AnswerExample, Prompt, Task
from app.inference.protocols import TextEncoder
from app.inference.sources import EncoderConfig, read_json
from app.models.model_checks.tensors import count_numbers

_MIN_NORM = 0.5
"""An encoder's vectors have length one; those that could not be computed have none."""
_SPARE_NUMBERS = 1_000_000
_NEW_TOKENS = 2
_EXAMPLES = 2
_SIDE = 224


def try_request(
    *,
    folder: str,
    kind: str,
    task: str,
    dim: int | None,
    is_usable: bool,
    question_chars: int,
    config: dict[str, Any],
) -> None:
    """Use the model in `folder` once. Raises InvalidInputError, in a sentence, for one that cannot be used."""
    path = Path(folder)
    settings = EncoderConfig(**{**config, "cache_dir": Path(config["cache_dir"])})
    try:
        if (path / ADAPTER).is_file():
            adapters.read(path)
        elif (path / "config.json").is_file():
            _check_size(path, kind)
        if is_usable and kind == "vlm":
            _answer(path, task, question_chars, settings)
        elif is_usable:
            _embed(path, dim, settings)
    except (InvalidInputError, CheckLimitError):
        raise
    except OutOfMemoryError:
        raise MemoryError from None  # of this process's limit, not of a device
    except VisionError as error:
        raise InvalidInputError(f"The model cannot be used: {error.detail}", **error.context) from None
    except MemoryError:
        raise
    except BaseException as error:  # whatever libraries raise over such files, panics of native code included
        if "memory" in str(error).lower() or _is_of_system(error):
            raise
        cause = f"{type(error).__name__}: {error}"
        raise InvalidInputError("The model cannot be used: its files do not work.", cause=cause) from None


def _is_of_system(error: BaseException) -> bool:
    """Whether the machine is to blame: transformers raises an OSError without a number for files that it cannot use."""
    return isinstance(error, OSError) and error.errno is not None


def _check_size(folder: Path, kind: str) -> None:
    """Refuse a configuration that asks for a larger model than the weights beside it are of: built without numbers."""
    import transformers

    config_json = read_json(folder, "config.json")
    family = FAMILIES.of_config(config_json, "vlm" if kind == "vlm" else "encoder")
    architecture = "" if family is None else str(family.accepted_architecture(config_json))
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            model = getattr(transformers, architecture)(config)
    except MemoryError:
        raise
    except Exception as error:
        if _is_of_system(error):
            raise
        raise InvalidInputError("config.json: no model can be built of it.", cause=str(error)) from None
    wanted = sum(parameter.numel() for parameter in model.parameters())
    held = sum(count_numbers(path) for path in folder.glob("*.safetensors"))
    # twice: weights that are tied lie there once
    if wanted > 2 * held + _SPARE_NUMBERS:
        raise InvalidInputError("config.json asks for a larger model than the weights beside it are of.")


def _answer(folder: Path, task: str, question_chars: int, config: EncoderConfig) -> None:
    """As long a question as a client may ask, with examples, so that nothing later takes longer."""
    vlm = load_vlm(resolve_vlm(str(folder)), config)
    if task not in vlm.tasks:
        raise InvalidInputError(f"vision.json: task: the model does {' and '.join(sorted(vlm.tasks))}.")
    image = _image()
    examples = tuple(AnswerExample(image, "What is it?", "A ball.") for _ in range(_EXAMPLES))
    wanted: Task = "caption" if task == "caption" else "vqa"
    vlm.answer_lead()
    for text, shown in (
        ("What is it? ä 1", examples),
        (("what is 12 ä? " * question_chars)[:question_chars], ()),
    ):
        prompt = Prompt(image, text, wanted, _NEW_TOKENS, shown)
        try:
            packed = vlm.pack(prompt)
        except InvalidInputError:  # it does not fit into the context, which took the tokenizer to find out
            continue
        if text == "What is it? ä 1":
            vlm.generate([packed])


def _embed(folder: Path, dim: int | None, config: EncoderConfig) -> None:
    encoder = load_encoder(resolve(str(folder)), config)
    if encoder.dim != dim:
        raise InvalidInputError(
            f"vision.json: dim: the encoder's vectors have {encoder.dim} numbers, not {dim}."
        )
    pixels = encoder.preprocess(_image())
    vectors = encoder.encode_images(pixels[None])
    if isinstance(encoder, TextEncoder):
        vectors = np.concatenate([vectors, encoder.encode_texts(["a photo"])])
    if not np.all(np.linalg.norm(vectors, axis=1) > _MIN_NORM):  # also where they are no numbers
        raise InvalidInputError(
            "The model's encoder computes no numbers: its weights are too large or damaged."
        )


def _image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), np.uint8))
