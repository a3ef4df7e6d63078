"""What names and families mean without a workspace; nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.access.quota import StorageQuota
from app.families import Families
from app.inference.errors import ModelNotFoundError
from app.inference.registry import ModelRegistry
from app.models.resolver import ModelResolver
from app.models.service import TrainedModels
from app.settings import Settings
from app.storage.database import Database
from app.storage.files import FileStore

Make = Callable[..., ModelResolver]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with ThreadPoolExecutor(1) as pool:

        def made(**changed: Any) -> ModelResolver:
            settings = Settings(data_dir=tmp_path, **changed)
            registry = ModelRegistry(settings, Families(), pool=pool)
            database = Database("postgresql://nobody@127.0.0.1:1/none", pool_size=1)  # never asked
            quota = StorageQuota(database, (), settings.limits.max_workspace_mb)
            trained = TrainedModels(settings, database, FileStore.from_settings(settings), registry, quota)
            return ModelResolver(settings, registry, trained)

        yield made


def test_the_default_captioner(make: Make) -> None:
    """The one of the settings, else the default model where it captions or may, else the built-in one."""
    assert make(captioner="flamingo-shapes").default_vlm("caption") == "flamingo-shapes"
    assert make(vlm="blip-shapes-vqa", captioner="").default_vlm("caption") == "blip-shapes-caption"
    assert make(vlm="blip-shapes-vqa", captioner="").default_vlm("vqa") == "blip-shapes-vqa"
    hub = "someone/something-that-only-loading-knows"
    assert make(vlm=hub, captioner="").default_vlm("caption") == hub
    assert make(vlm="not-there-yet", captioner="").default_vlm("caption") == "blip-shapes-caption"


def test_a_name_means_the_word_of_the_settings_where_it_is_the_default(make: Make) -> None:
    models = make(encoder="openai/CLIP-vit-base-patch32", vlm="llava-hf/llava-1.5-7b-hf")
    assert models.get_encoder("clip-vit-base-patch32") == "openai/CLIP-vit-base-patch32"
    assert models.get_encoder("openai/CLIP-vit-base-patch32") == "openai/CLIP-vit-base-patch32"
    assert models.get_encoder("clip-tiny") == "clip-tiny"
    found = models.match("llava-1.5-7b-hf")
    assert found is not None
    assert models.word_of(found) == "llava-hf/llava-1.5-7b-hf"


@pytest.mark.parametrize("name", ["/etc", "~", "google/anything", "llava-shapes", "clip", ""])
def test_a_client_names_no_folder_no_hub_id_of_its_own_and_no_model_of_another_kind(
    make: Make, name: str
) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no model"):
        make().get_encoder(name)


def test_a_family_means_its_default_where_a_base_is_asked_for(make: Make) -> None:
    names = [info.name for info in make(encoder="openai/clip-vit-base-patch32").match_base("clip")]
    assert names[0] == "clip-vit-base-patch32"
    assert "clip-tiny" in names
    assert [info.name for info in make().match_base("blip", "vlm", "caption")] == ["blip-shapes-caption"]
    assert make().match_base("blip", "encoder") == []


def test_one_that_went_away_is_still_called_by_its_name_and_never_by_its_folder(
    make: Make, tmp_path: Path
) -> None:
    assert make().name_for_clients(str(tmp_path / "Gone"), "vlm") == "gone"
    assert make().name_for_clients(str(tmp_path / "Gone")) == "gone"
    assert make().name_for_clients("llava-shapes", "vlm") == "llava-shapes"
    assert make().is_same_encoder("openai/clip-vit-base-patch32", "clip-vit-base-patch32")


def test_the_sentence_names_near_ones_else_those_that_would_do(make: Make) -> None:
    models = make()
    assert str(models.absent("llava-shape")) == (
        "There is no model 'llava-shape' here: did you mean 'llava-shapes'?"
    )
    listed = str(models.absent("zzz", "vlm", "caption"))
    assert "'blip-shapes-caption'" in listed
    assert "blip-shapes-vqa" not in listed
    assert len(str(models.absent("x" * 10_000))) < 500


async def test_a_known_name_costs_one_question_to_the_database(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, asked = make(), []

    async def find(workspace: str, name: str) -> None:
        asked.append((workspace, name))

    monkeypatch.setattr(models.trained, "find", find)
    for _ in range(3):
        found = await models.find("one", "clip-tiny", "encoder")
        assert getattr(found, "name", None) == "clip-tiny"
    await models.find("two", "clip-tiny", "encoder")
    assert asked == [("one", "clip-tiny"), ("two", "clip-tiny")]


async def test_a_trained_model_is_looked_for_at_every_request(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been published, or removed, a moment ago by another process."""
    models, there = make(), [False, True, False]

    async def find(workspace: str, name: str) -> Any:
        return "the model" if there.pop(0) else None

    async def none(workspace: str) -> list[Any]:
        return []

    monkeypatch.setattr(models.trained, "find", find)
    monkeypatch.setattr(models.trained, "all", none)
    with pytest.raises(ModelNotFoundError):
        await models.find("one", "mine")
    assert await models.find("one", "mine") == "the model"
    with pytest.raises(ModelNotFoundError):
        await models.find("one", "mine")
