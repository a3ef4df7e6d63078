"""Which vision-language model a name means, and what it was trained for."""

from __future__ import annotations

from pathlib import Path

from app.families import FAMILIES
from app.inference.errors import ModelNotFoundError, ModelUnavailableError
from app.inference.prompts import Task
from app.inference.sources import (
    CHECKPOINTS,
    HUB_ID,
    EncoderSource,
    last_of,
    read_json,
    slug,
)

ADAPTER = "adapter_config.json"


def resolve_vlm(name: str) -> EncoderSource:
    """The name of a checkpoint of this project, a local folder or a hub id, in this order.

    Raises ModelNotFoundError when the name is none of these, ModelUnavailableError when the folder holds
    something else.
    """
    name = name.strip()
    own = CHECKPOINTS / name
    if slug(name) == name and (own / "config.json").is_file():
        return EncoderSource(vlm_family_in(own), name, str(own), is_local=True)
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        folder = folder.resolve()
        return EncoderSource(
            vlm_family_in(folder), slug(folder.name), str(folder), is_local=True, aliases=(name,)
        )
    if HUB_ID.fullmatch(name) and not name.startswith("."):
        guess = FAMILIES.of_hub_id(name, "vlm").name
        return EncoderSource(guess, slug(name.split("/")[1]), name, is_local=False, aliases=(name,))
    raise ModelNotFoundError(
        f"There is no vision-language model '{last_of(name)}': name a checkpoint, a Hugging Face id or a local folder."
    )


def vlm_family_in(folder: Path) -> str:
    """The family of the model in a folder, or of the one that the adapter in it belongs to.

    Raises ModelNotFoundError without a configuration, ModelUnavailableError when it is damaged or of another
    kind of model.
    """
    if (folder / ADAPTER).is_file():
        return adapter_source(folder).family
    model_type = read_json(folder, "config.json").get("model_type")
    family = FAMILIES.of_model_type(model_type, "vlm")
    if family is None:
        raise ModelUnavailableError(
            f"'{folder.name}' is a model of type '{model_type}'; vision-language models are "
            f"{', '.join(FAMILIES.model_types('vlm'))}."
        )
    return family.name


def is_adapter(source: EncoderSource) -> bool:
    """Whether the name leads to an adapter over another model."""
    return source.is_local and (Path(source.location) / ADAPTER).is_file()


def adapter_source(folder: Path) -> EncoderSource:
    """The model that an adapter changes; raises ModelNotFoundError and ModelUnavailableError."""
    name = adapter_base(folder)
    base = Path(name).expanduser()
    if (base / ADAPTER).is_file():
        raise ModelUnavailableError(f"The adapter '{folder.name}' lies over another adapter.")
    return resolve_vlm(name)


def adapter_base(folder: Path) -> str:
    """The name of the model that an adapter changes; raises ModelUnavailableError."""
    base = None
    if (folder / "vision.json").is_file():
        base = read_json(folder, "vision.json").get("base_model")
    base = base or read_json(folder, ADAPTER).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelUnavailableError(f"The adapter '{folder.name}' does not name its base model.")
    return base


def narrowed(tasks: frozenset[Task], folder: Path) -> frozenset[Task]:
    """Those of `tasks` that the `vision.json` of the folder does not leave out."""
    declared = declared_tasks(folder)
    return tasks if declared is None else tasks & declared


def declared_tasks(folder: Path) -> frozenset[str] | None:
    """What the weights in a folder were trained for: the tasks that its `vision.json` names, else the one task of an
    architecture that has only one; None where neither tells.
    """
    if (folder / "vision.json").is_file():
        tasks = read_json(folder, "vision.json").get("tasks")
        if isinstance(tasks, list):
            return frozenset(tasks)
    if not (folder / "config.json").is_file():
        return None
    config = read_json(folder, "config.json")
    family = FAMILIES.of_config(config, "vlm")
    task = None if family is None else family.single_tasks.get(str(family.accepted_architecture(config)))
    return None if task is None else frozenset({task})
