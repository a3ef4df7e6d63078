"""A configuration before it is a job: which model it means, whether that is at hand, and what it asks for in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.errors import InvalidInputError, VisionError
from app.families import FAMILIES
from app.inference.errors import ModelNotFoundError
from app.inference.model_info import ModelInfo
from app.inference.sources import HUB_ID, EncoderConfig
from app.jobs.spec import ResolvedJob
from app.methods import METHODS, MethodName, check_params
from app.methods.tasks import Task
from app.models.resolver import ModelResolver
from app.settings import Settings
from app.training.base_traits import BaseTraits, read_traits
from app.training.bases import DEFAULT, BaseModels
from app.training.config import MultimodalConfig
from app.training.config_notes import FieldNote, find_notes
from app.training.config_recipe import recipe_of
from app.training.config_sections import Kind
from app.training.learning_data import LearningData
from app.training.lessons import Lesson, with_question
from app.training.resolving import TrainingOptions, default_name, merge_params, resolve_job

_KINDS: dict[Kind, str] = {"vlm": "vision-language model", "encoder": "encoder"}


@dataclass(frozen=True)
class _Base:
    word: str | None
    """What was asked for; None where nothing was."""
    kind: Kind | None
    """None where the data decides."""
    candidates: tuple[ModelInfo, ...] = ()
    """The known models that the word may mean."""


class Configurations:
    """Turns configurations into jobs."""

    def __init__(self, settings: Settings, models: ModelResolver) -> None:
        self._settings = settings
        self._models = models
        self._bases = BaseModels(models)

    async def check(
        self, config: MultimodalConfig, options: TrainingOptions | None = None
    ) -> list[FieldNote]:
        """Fields without effect, as far as that is known before there are data; `options` are what is asked for
        beside the document.

        Raises ModelNotFoundError for a model that is not at hand, InvalidInputError for one of another kind than the
        document says and for parameters that the method does not take.
        """
        options = options or TrainingOptions()
        base = self._find_base(config, options.base_model)
        task = _likely_task(config, base.kind)
        kind = base.kind or (None if task is None else _kind_of(task))
        method = config.training_args.method or (None if kind is None else config.method_for(kind))
        _check_any_params(config, [kind] if kind else ["encoder", "vlm"], options)
        candidates = [model for model in base.candidates if _does(model, task)] or list(base.candidates)
        traits = None
        if len(candidates) == 1:
            chosen = candidates[0]
            traits = await asyncio.to_thread(self._traits, self._models.word_of(chosen), chosen.kind)
        return find_notes(config, method, task or ("vqa" if kind == "vlm" else None), traits)

    async def resolve(
        self, config: MultimodalConfig, data: LearningData, options: TrainingOptions
    ) -> ResolvedJob:
        """The job that the document means for these data; what it asks for in vain is among the job's warnings.

        Raises what `check`, `config_recipe.recipe_of` and `resolving.resolved` raise.
        """
        base = self._find_base(config, options.base_model)
        recipe = recipe_of(config, data, base.kind)
        name = options.name or default_name(data.slug, recipe.method)
        params = _params_beside(recipe.method, options)
        options = replace(options, base_model=base.word, name=name, params=params)
        job = resolve_job(recipe, data, options, self._bases)
        traits = await asyncio.to_thread(self._traits, job.spec.base_model or "", recipe.model.kind)
        notes = find_notes(config, recipe.method, job.spec.task, traits)
        return replace(job, warnings=(*job.warnings, *map(str, notes)))

    def _find_base(self, config: MultimodalConfig, instead: str | None) -> _Base:
        """The model that the document names, or the one that is named `instead` of it."""
        word = instead or config.base_word
        if word == DEFAULT:
            return _Base(None, config.base_kind)
        known = [info for info in self._models.list_models() if not FAMILIES.is_connected(info.name)]
        found = [info for info in self._models.match_base(word) if not FAMILIES.is_connected(info.name)]
        field = "base_model" if instead else config.base_field
        if not found and not FAMILIES.is_connected(word):
            raise ModelNotFoundError(self._absent(field, word, config.base_kind, known))
        kinds = {model.kind for model in found}
        wanted = config.base_kind
        if instead is None and found and wanted is not None and wanted not in kinds:
            raise InvalidInputError(
                f"base_model.type: '{word[:100]}' is {_with_article(found[0].kind)}, not {_with_article(wanted)}: "
                f"{_at_hand(known, wanted)}."
            )
        kind = wanted if wanted in kinds else kinds.pop() if len(kinds) == 1 else wanted
        return _Base(word, kind, tuple(model for model in found if kind in (None, model.kind)))

    def _traits(self, word: str, kind: Kind) -> BaseTraits | None:
        """In a thread: the traits of a model whose files are here, None where they are yet to be fetched.

        Raises ModelNotFoundError where they are not here and may not be fetched, ModelUnavailableError where they are
        damaged.
        """
        config = replace(EncoderConfig.from_settings(self._settings), allow_downloads=False)
        source = FAMILIES.resolve(kind, word)
        try:
            found = FAMILIES.locate(kind, source, config)
        except VisionError as error:
            others = [info for info in self._models.list_models() if info.name != source.name]
            if source.is_local:
                raise
            if self._settings.models.allow_downloads:
                return None
            raise ModelNotFoundError(
                f"The files of '{source.location}' are not at hand, and downloads are off: start the service with "
                "VISION_ALLOW_DOWNLOADS=true, or put them into the hub's cache; "
                f"{_at_hand([info for info in others if not FAMILIES.is_connected(info.name)], kind)}."
            ) from error
        return read_traits(source.name, kind, found.family, Path(found.location) if found.location else None)

    def _absent(self, field: str, word: str, kind: Kind | None, known: list[ModelInfo]) -> str:
        kinds: list[Kind] = [kind] if kind else ["vlm", "encoder"]
        hands = "; ".join(_at_hand(known, kind) for kind in kinds)
        sentence = f"{field}: There is no model '{word[:100]}' at hand. {hands[:1].upper()}{hands[1:]}."
        if HUB_ID.fullmatch(word):
            setting = {"vlm": "VISION_VLM", "encoder": "VISION_ENCODER"}.get(
                kind or "", "VISION_VLM or VISION_ENCODER"
            )
            sentence += f" A model of the Hugging Face hub comes to hand where the service starts with {setting}={word}"
            if not self._settings.models.allow_downloads:
                sentence += " and VISION_ALLOW_DOWNLOADS=true"
            sentence += "."
        return sentence


def _params_beside(method: MethodName, options: TrainingOptions) -> dict[str, Any]:
    """What is asked for beside a document: a number of steps stands in the place of its epochs."""
    takes = METHODS[method].params.model_fields
    instead = "steps" in options.params and takes.keys() >= {"steps", "epochs"}
    return {**({"epochs": None} if instead else {}), **options.params}


def _check_any_params(config: MultimodalConfig, kinds: Sequence[Kind], options: TrainingOptions) -> None:
    """Raise InvalidInputError for parameters that the method of none of these kinds of models takes."""
    wrong = None
    for kind in kinds:
        method = config.method_for(kind)
        params = merge_params(config.params_for(method, kind), _params_beside(method, options))
        try:
            params = check_params(method, params)
            if kind == "encoder":
                with_question(Lesson("encoder", "classification"), params)
        except InvalidInputError as error:
            wrong = wrong or error
        else:
            return
    if wrong is not None:
        raise wrong


def _likely_task(config: MultimodalConfig, kind: Kind | None) -> Task | None:
    """What is learned, as far as the document alone says it."""
    if kind == "encoder":
        return "classification"
    if config.task == "classification":
        return "vqa" if kind == "vlm" else "classification"
    if config.task is None and kind == "vlm":
        return None
    return config.task


def _kind_of(task: Task) -> Kind:
    return "encoder" if task == "classification" else "vlm"


def _does(model: ModelInfo, task: Task | None) -> bool:
    return task is None or model.kind == "encoder" or model.tasks is None or task in model.tasks


def _at_hand(known: list[ModelInfo], kind: Kind) -> str:
    names = ", ".join(model.name for model in known if model.kind == kind)
    return f"{_KINDS[kind]}s at hand are {names}" if names else f"no {_KINDS[kind]} is at hand"


def _with_article(kind: Kind) -> str:
    return f"{'an' if kind == 'encoder' else 'a'} {_KINDS[kind]}"
