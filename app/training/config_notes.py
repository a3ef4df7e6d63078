"""Fields of a configuration that do nothing for the chosen model, each with a sentence that says why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, Field

from app.methods import MethodName
from app.methods.tasks import Metric, Task
from app.training.base_traits import BaseTraits, normalise_word
from app.training.config import MultimodalConfig
from app.training.config_sections import PREPARING_STEPS, BaseModelSection

_OF_LABELS: frozenset[Metric] = frozenset(
    {"accuracy", "f1", "macro_f1", "per_class", "confusion_matrix", "calibration_error"}
)
_OF_TEXTS: frozenset[Metric] = frozenset({"accuracy", "f1", "bleu", "exact_match"})
_ARGUMENTS = {"epochs": "num_epochs"}


class FieldNote(BaseModel):
    """A field without the effect that its value seems to ask for."""

    field: str = Field(description="Such as `vision_processor.patch_size`.")
    sentence: str = Field(description="Why, and what happens instead.")

    def __str__(self) -> str:
        return f"{self.field}: {self.sentence}"


def find_notes(
    config: MultimodalConfig, method: MethodName | None, task: Task | None, base: BaseTraits | None
) -> list[FieldNote]:
    """One note a field, in the document's order; of what is not known yet (None) nothing is said."""
    found = [*_of_base(config, base), *_of_vision(config, base), *_of_texts(config, base)]
    found += [*_of_training(config, method), *_of_figures(config, task, base)]
    return [FieldNote(field=field, sentence=sentence) for field, sentence in found]


_Notes = Iterator[tuple[str, str]]


def _of_base(config: MultimodalConfig, base: BaseTraits | None) -> _Notes:
    section = config.base_model
    if not isinstance(section, BaseModelSection) or section.name is None or section.checkpoint is None:
        return
    # `llava-7b` says of `llava-hf/llava-1.5-7b-hf` only what is true
    known = {*_parts(section.checkpoint), *(_parts(base.name) if base else ())}
    if not set(_parts(section.name)) <= known:
        model = section.checkpoint if base is None else base.name
        yield "base_model.name", f"'{section.name}' is only a name here: the checkpoint '{model}' is trained."


def _of_vision(config: MultimodalConfig, base: BaseTraits | None) -> _Notes:
    wanted = config.vision_processor
    chosen = wanted.augmentations or []
    prepares = [step for step in chosen if step in PREPARING_STEPS]
    if base is not None:
        model = f"'{base.name}'"
        if wanted.type is not None and normalise_word(wanted.type) not in base.vision_types:
            yield (
                "vision_processor.type",
                (
                    f"{model} has an image tower of its own ({_list_words(base.vision_types, base.family)}), which "
                    f"'{wanted.type}' does not replace."
                ),
            )
        if wanted.image_size is not None and wanted.image_size != base.image_size:
            own = (
                "the size that its files say"
                if base.image_size is None
                else f"{base.image_size} pixels a side"
            )
            yield (
                "vision_processor.image_size",
                (
                    f"{model} sees images at {own}, not {wanted.image_size}: its weights were trained for that."
                ),
            )
        if wanted.patch_size is not None and wanted.patch_size != base.patch_size:
            own = (
                "cuts no patches: the size does nothing."
                if base.patch_size is None
                else f"cuts patches of {base.patch_size} pixels, not of {wanted.patch_size}: its weights fix that."
            )
            yield "vision_processor.patch_size", f"{model} {own}"
        if wanted.normalize is not None and wanted.normalize != base.normalizes:
            does = "normalises pixels" if base.normalizes else "does not normalise pixels"
            yield "vision_processor.normalize", f"{model} {does}, as it was trained; that stays."
    if prepares:
        yield from _of_augmentations(config, prepares, base)


def _of_augmentations(config: MultimodalConfig, prepares: Sequence[str], base: BaseTraits | None) -> _Notes:
    """One note for all of the list."""
    said = []
    if not config.random_changes:
        verb = "is" if len(prepares) == 1 else "are"
        said.append(
            f"{_join_words(prepares)} {verb} the model's own preparation of every image and nothing random; no random "
            "change is named, so examples are trained on unchanged"
        )
    if base is not None and base.crops is False and "center_crop" in prepares:
        said.append(f"'{base.name}' takes the whole image and crops no centre")
    if said:
        yield "vision_processor.augmentations", f"{'; '.join(said)}."


def _of_texts(config: MultimodalConfig, base: BaseTraits | None) -> _Notes:
    wanted = config.text_processor
    given = {
        name
        for name in ("tokenizer", "max_length", "padding", "truncation")
        if name in wanted.model_fields_set
    }
    given = {name for name in given if getattr(wanted, name) is not None}
    if base is not None and base.kind == "encoder":
        for name in ("tokenizer", "max_length", "padding", "truncation"):
            if name in given:
                yield f"text_processor.{name}", f"'{base.name}' learns labels, and no texts of any length."
        return
    if (
        base is not None
        and wanted.tokenizer is not None
        and normalise_word(wanted.tokenizer) not in base.tokenizers
    ):
        yield (
            "text_processor.tokenizer",
            (
                f"'{base.name}' has a tokenizer of its own ({_list_words(base.tokenizers, base.family)}): another "
                "would write words that it cannot read."
            ),
        )
    if wanted.max_length is not None:
        if base is not None and base.context_tokens is not None and wanted.max_length > base.context_tokens:
            yield (
                "text_processor.max_length",
                (f"'{base.name}' reads at most {base.context_tokens} tokens at once."),
            )
        elif given == {"max_length"}:
            yield (
                "text_processor.max_length",
                (
                    f"{wanted.max_length} counts tokens of question and answer (characters of an answer, as it "
                    "once did, are training_args.extra.max_answer_chars)."
                ),
            )
    if wanted.padding in ("max_length", "do_not_pad", False):
        yield (
            "text_processor.padding",
            (
                "batches are padded to their longest text: more padding takes time and memory and changes nothing "
                "that is learned."
            ),
        )
    if wanted.truncation is not None and wanted.max_length is None:
        yield "text_processor.truncation", "without max_length there is nothing to cut at."


def _of_training(config: MultimodalConfig, method: MethodName | None) -> _Notes:
    if method is None:
        return
    for name, why in config.list_unused_arguments(method).items():
        yield f"training_args.{_ARGUMENTS.get(name, name)}", f"{why}."


def _of_figures(config: MultimodalConfig, task: Task | None, base: BaseTraits | None) -> _Notes:
    if task is None:
        return
    fitting = _OF_LABELS if task == "classification" else _OF_TEXTS
    if base is not None and base.kind == "vlm":  # of labels too it writes answers, which match or do not
        fitting = fitting | {"exact_match"}
    others = [metric for metric in config.evaluation.metrics or [] if metric not in fitting]
    if others:
        what = "labels" if task == "classification" else "questions and captions"
        judged = _join_words(sorted(fitting))
        yield "evaluation.metrics", f"{_join_words(others)} cannot be computed for {what}; {judged} can."


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part]


def _join_words(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _list_words(words: frozenset[str], otherwise: str) -> str:
    return ", ".join(sorted(words)) or otherwise
