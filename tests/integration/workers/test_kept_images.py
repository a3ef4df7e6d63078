"""What a frozen image tower makes of unchanged images is kept: each is computed once, and nothing learned differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.families.loading import locate_vlm
from app.families.vlms import resolve_vlm
from app.inference.prompts import Prompt
from app.inference.sources import EncoderConfig
from app.settings import Settings
from tests import shapes
from tests.training import Trained, train_model
from workers.methods.common.vlm.kept_images import KeptImages
from workers.methods.common.vlm.lessons import Lessons, lessons_for
from workers.shared.examples import Examples, Item

NUMBERS = sorted(shapes.list_shapes())[:3]


def lessons(base: str, folder: Path) -> Lessons:
    config = EncoderConfig.from_settings(Settings(data_dir=folder, device="cpu"))
    found = locate_vlm(resolve_vlm(base), config)
    model = found.model("cpu", torch.float32, attn_implementation="eager").eval()
    model.requires_grad_(False)
    return lessons_for(found.family_class(found.name, model, found.processor(), torch.device("cpu")))


@pytest.mark.parametrize(
    "base", ["llava-shapes", "flamingo-shapes", "blip-shapes-vqa", "blip-shapes-caption"]
)
@pytest.mark.parametrize("images", [3, 1, 0], ids=["room for all", "room for one", "no room"])
def test_each_image_is_computed_once_as_far_as_there_is_room(base: str, images: int, tmp_path: Path) -> None:
    made = lessons(base, tmp_path)
    task: Any = "caption" if base.endswith("caption") else "vqa"
    items = [Item(str(number), question="a photo of", answer="three") for number in NUMBERS]

    def fresh(item: Item) -> dict[str, torch.Tensor]:
        return made.lesson(Prompt(shapes.image(int(item.sha256)), "a photo of", task, 0), "three")

    plain = made.answer_losses(made.stack([fresh(item) for item in items]))
    tower = made.vlm.model.get_submodule(made.vlm.tower)
    computed: list[int] = []
    own = tower.forward

    def counted(pixel_values: torch.Tensor, *args: Any, **options: Any) -> Any:
        computed.append(len(pixel_values))
        return own(pixel_values, *args, **options)

    tower.forward = counted
    probe = KeptImages(made.vlm, 1 << 30)
    with torch.no_grad(), probe.showing([items[0].sha256]):
        made.answer_losses(made.stack([probe.lesson(items[0], lambda: fresh(items[0]))]))
    each = (1 << 30) - probe._room
    probe.close()
    tower.forward = counted
    computed.clear()
    kept = KeptImages(made.vlm, each * images + images)
    for _ in range(3):
        batch = made.stack([kept.lesson(item, lambda item=item: fresh(item)) for item in items])
        with torch.no_grad(), kept.showing([item.sha256 for item in items]):
            torch.testing.assert_close(made.answer_losses(batch), plain, rtol=1e-4, atol=1e-5)
    assert sum(computed) == {3: 3, 1: 7, 0: 9}[images]
    # the same names mean nothing where images are changed
    with torch.no_grad():
        changed = made.stack([fresh(item) for item in reversed(items)])
        torch.testing.assert_close(made.answer_losses(changed), plain.flip(0), rtol=1e-4, atol=1e-5)


def test_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    def learned(name: str, room: int) -> Trained:
        items = [
            Item(str(number), split, question="what tint?", answer=shapes.list_shapes()[number][0])
            for number, split in zip(NUMBERS, ("train", "train", "validation"), strict=True)
        ]
        params = {"steps": 4, "batch_size": 2, "evaluate_every": 2, "rehearsal": 0, "augment": False}
        return train_model(
            Examples("vqa", items, lambda number: shapes.data(int(number))),
            "lora",
            tmp_path / name,
            base="llava-shapes",
            kind="vlm",
            params={**params, "image_cache_mb": room},
            settings=Settings(data_dir=tmp_path / "data", device="cpu", threads=1),
        )

    with_room, without = learned("with", 64), learned("without", 0)
    one, other = (load_file(made.folder / "adapter_model.safetensors") for made in (with_room, without))
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], rtol=1e-4, atol=1e-5)
    assert with_room.evaluation["exact_match"] == without.evaluation["exact_match"]
