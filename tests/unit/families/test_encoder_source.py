"""What an encoder's name means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.families.encoders import resolve
from app.inference.errors import ModelNotFoundError, ModelUnavailableError


def model_folder(folder: Path, config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def test_the_default_family() -> None:
    source = resolve("lite")
    assert (source.family, source.name, source.location, source.is_local) == ("lite", "lite", "", True)


def test_our_own_checkpoint_goes_by_its_folder_name() -> None:
    source = resolve("clip-tiny")
    assert (source.family, source.name) == ("clip", "clip-tiny")
    assert (Path(source.location) / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("hub_id", "family", "slug"),
    [
        ("openai/clip-vit-base-patch32", "clip", "clip-vit-base-patch32"),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "clip", "clip-vit-b-32-laion2b-s34b-b79k"),
        ("google/siglip2-base-patch16-224", "siglip", "siglip2-base-patch16-224"),
    ],
)
def test_a_hub_id_becomes_a_slug_and_stays_an_alias(hub_id: str, family: str, slug: str) -> None:
    source = resolve(hub_id)
    assert (source.family, source.name, source.aliases) == (family, slug, (hub_id,))
    assert not source.is_local


def test_a_folder_goes_by_its_configuration(tmp_path: Path) -> None:
    source = resolve(str(model_folder(tmp_path / "My Model (v2)", {"model_type": "siglip"})))
    assert (source.family, source.name, source.is_local) == ("siglip", "my-model-v2", True)


@pytest.mark.parametrize(
    "name", ["", "nothing", "../etc", "a/b/c", "/no/such/folder", "org/", "or g/x", "-x/y"]
)
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        resolve(name)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"holds no model: it has no config\.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("config", ["{", "[]", "{}", "7", ""])
def test_a_folder_with_a_damaged_configuration(tmp_path: Path, config: str) -> None:
    with pytest.raises(ModelUnavailableError, match=r"config\.json of 'model' cannot be read"):
        resolve(str(model_folder(tmp_path / "model", config)))


def test_a_folder_with_another_kind_of_model(tmp_path: Path) -> None:
    with pytest.raises(
        ModelUnavailableError, match="'bert' is a model of type 'bert'; encoders are of the types clip, "
    ):
        resolve(str(model_folder(tmp_path / "bert", {"model_type": "bert"})))


def test_a_configuration_that_changes_is_read_again(tmp_path: Path) -> None:
    for model_type, family in (("clip", "clip"), ("siglip", "siglip"), ("clip", "clip")):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        assert resolve(str(tmp_path)).family == family
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelNotFoundError):
        resolve(str(tmp_path))
