"""The real classes at the hub's shapes, shrunk: loaded from a folder as `save_pretrained` writes it."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch
import transformers
from PIL import Image

from app.families import FAMILIES
from app.inference.errors import ModelUnavailableError
from app.inference.prompts import AnswerExample, Prompt
from app.inference.registry import ModelRegistry
from app.inference.sources import CHECKPOINTS
from app.settings import Settings
from tests import shapes

RED = Image.new("RGB", (90, 60), "red")


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def registry(
    tmp_path_factory: pytest.TempPathFactory, pool: ThreadPoolExecutor
) -> AsyncIterator[ModelRegistry]:
    made = ModelRegistry(
        Settings(data_dir=tmp_path_factory.mktemp("data"), device="cpu"), FAMILIES, pool=pool
    )
    yield made
    await made.close()


def save_llava(folder: Path) -> None:
    """LLaVA 1.5's configuration (CLIP vision without its last layer, untied Llama), narrower and shallower."""
    own = CHECKPOINTS / "llava-shapes"
    processor: Any = transformers.AutoProcessor.from_pretrained(own, backend="pil")
    tokenizer = processor.tokenizer
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=64,
            patch_size=8,
        ),
        text_config=transformers.LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=512,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=64,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
    )
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def save_smolvlm(folder: Path) -> None:
    """Idefics3's configuration: a SigLIP-like tower, pixel shuffle, image tokens in the text, a chat template."""
    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
    special += [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(CHECKPOINTS / "llava-shapes" / "tokenizer.json"),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=special,
    )
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 64}, do_image_splitting=False
    )
    template = (
        "<s>{% for message in messages %}{{ message['role'] | capitalize }}: "
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
        "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
        "{% if add_generation_prompt %}Assistant:{% endif %}"
    )
    processor = transformers.Idefics3Processor(
        image_processor=images, tokenizer=tokenizer, image_seq_len=16, chat_template=template
    )
    config = transformers.Idefics3Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 1024,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    transformers.Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.mark.parametrize("save", [save_llava, save_smolvlm])
async def test_a_folder_of_the_hubs_shape_answers(registry: ModelRegistry, tmp_path: Path, save: Any) -> None:
    save(tmp_path / "model")
    example = AnswerExample(RED, "what is it?", "a bar")
    async with registry.vlm(str(tmp_path / "model")) as live:
        replies = []
        for examples in ((), (example, example)):
            prompt = Prompt(RED, "what color is this?", "vqa", 5, examples)
            reply, used = await live.answer(prompt, deadline_s=300)
            replies.append(reply)
            assert len(used) == len(examples)
            assert 0 < reply.completion_tokens <= 5 or reply.finish_reason == "stop"
        assert replies[1].prompt_tokens > replies[0].prompt_tokens
        if live.several_images:
            assert replies[1].prompt_tokens > replies[0].prompt_tokens + 2 * 16
        url = await live.answer(Prompt(RED, "http://127.0.0.1:1/x.png", "vqa", 2), deadline_s=300)
        forged = await live.answer(Prompt(RED, "<image><image>", "vqa", 2), deadline_s=300)
        assert url[0].prompt_tokens
        assert forged[0].prompt_tokens


async def test_a_thin_image_does_not_grow_into_gigabytes(registry: ModelRegistry, tmp_path: Path) -> None:
    save_llava(tmp_path / "model")
    processor: Any = transformers.AutoProcessor.from_pretrained(tmp_path / "model", backend="pil")
    # as LLaVA 1.5 does it: the shorter side scaled to the model's, the middle cut out
    processor.image_processor.size = {"shortest_edge": 64}
    processor.image_processor.do_center_crop = True
    processor.image_processor.crop_size = {"height": 64, "width": 64}
    processor.save_pretrained(tmp_path / "model")
    thin = Image.new("RGB", (1, 30_000), "blue")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with registry.vlm(str(tmp_path / "model")) as live:
        await live.answer(Prompt(thin, "what is this?", "vqa", 2), deadline_s=300)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


async def test_a_folder_says_what_it_was_trained_for(registry: ModelRegistry, tmp_path: Path) -> None:
    folder = tmp_path / "only-captions"
    shutil.copytree(CHECKPOINTS / "llava-shapes", folder)
    (folder / "vision.json").write_text(json.dumps({"tasks": ["caption"]}))
    async with registry.vlm(str(folder)) as live:
        assert live.tasks == {"caption"}


async def test_an_empty_token_is_not_taken_out_for_ever(registry: ModelRegistry, tmp_path: Path) -> None:
    folder = tmp_path / "empty-token"
    shutil.copytree(CHECKPOINTS / "llava-shapes", folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "unk_token": ""}))
    async with registry.vlm(str(folder)) as live:
        reply, _ = await live.answer(Prompt(shapes.image(0), "what color is this?", "vqa", 4), deadline_s=300)
    assert reply.text == shapes.list_shapes()[0][0]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.json", "{"),
        ("config.json", '{"model_type": "bert"}'),
        ("config.json", '{"model_type": "llava", "architectures": ["Something"]}'),
        ("tokenizer.json", "{}"),
        ("model.safetensors", "not safetensors"),
    ],
)
async def test_a_damaged_folder_is_named_and_forgotten(
    registry: ModelRegistry, tmp_path: Path, file: str, text: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(CHECKPOINTS / "llava-shapes", folder)
    good = (folder / file).read_bytes()
    (folder / file).write_text(text)
    with pytest.raises(ModelUnavailableError):
        async with registry.vlm(str(folder)):
            pass
    (folder / file).write_bytes(good)
    async with registry.vlm(str(folder)) as live:
        reply, _ = await live.answer(Prompt(shapes.image(0), "what color is this?", "vqa", 4), deadline_s=300)
    assert reply.text == shapes.list_shapes()[0][0]
