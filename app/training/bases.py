"""Which base model a job trains: what the client named, the strategy names, or the data is bound to.

Knows names and families; loads nothing. A client names only what the service knows already, a strategy (which the
service's owner wrote) anything the registry takes.
"""

from __future__ import annotations

from typing import Literal

from app.collections.encoder_names import EncoderNames
from app.collections.errors import EncoderMismatchError
from app.errors import VisionError
from app.families import FAMILIES
from app.families.encoders import resolve
from app.families.vlm_source import resolve_vlm
from app.inference.domain import domain_of
from app.inference.errors import ModelNotFoundError
from app.inference.model_info import ModelInfo
from app.inference.registry import ModelRegistry
from app.jobs.errors import NotTrainableError
from app.methods.tasks import Task
from app.settings import Settings
from app.training.learning_data import LearningData

_DOES: dict[Task, str] = {"vqa": "answers questions", "caption": "only writes captions"}
_LEARNS: dict[Task, str] = {"vqa": "answers or labels", "caption": "captions"}
DEFAULT = "default"
"""A strategy's word for the collection's own encoder, or the service's model for questions or captions."""


class BaseModels:
    """Base models of one process by the words of clients and strategies."""

    def __init__(self, settings: Settings, registry: ModelRegistry, names: EncoderNames) -> None:
        self._settings = settings
        self._registry = registry
        self._names = names

    def kind_of(self, name: str | None) -> Literal["encoder", "vlm"] | None:
        """Whether a client's name, or a family's, means an encoder or a vision-language model; None for no name.

        Raises ModelNotFoundError for one that is not known here.
        """
        if name is None:
            return None
        known = self._registry.known()
        by_name = [one for one in known if name in (one.name, *one.aliases)]
        found = by_name or [one for one in known if one.family == name]
        if not found:
            raise ModelNotFoundError(
                f"There is no model '{name[:100]}' to train here: known are {', '.join(one.name for one in known)}. "
                "A model that was trained here is no base either: name the one that it was trained from."
            )
        return found[0].kind

    def encoder(
        self, asked: str | None, checkpoint: str, family: str | None, data: LearningData, strategy: str
    ) -> str:
        """The encoder to train, as a word that the registry takes.

        Raises ModelNotFoundError for a name that is not known here, EncoderMismatchError where the collection is
        bound to another encoder, NotTrainableError where the strategy is for another family.
        """
        word = self._asked_encoder(asked, data) if asked else None if checkpoint == DEFAULT else checkpoint
        if data.encoder is not None:
            if word is not None and not self._names.same(word, data.encoder):
                raise EncoderMismatchError(
                    f"{data.name[0].upper()}{data.name[1:]} is bound to the encoder "
                    f"'{self._names.shown(data.encoder)}', not to '{self._names.shown(word)}': take a strategy for "
                    f"its encoder, or bind the collection to the other with PATCH /v1/collections/{data.slug}."
                )
            word = data.encoder
        word = word or self._names.default
        self._check_family(resolve(word).family, family, self._names.shown(word), strategy)
        return word

    def vlm(self, asked: str | None, checkpoint: str, family: str | None, task: Task, strategy: str) -> str:
        """The vision-language model to train, likewise."""
        if asked:
            word = self._known_vlm(asked, task)
        elif checkpoint != DEFAULT:
            word = checkpoint
        else:
            word = self._default_vlm(task)
        if FAMILIES.is_connected(word):
            raise NotTrainableError(
                "The service's default model runs on a remote server, which trains nothing: name a `base_model`."
            )
        source = resolve_vlm(word)
        self._check_family(source.family, family, source.name, strategy)
        self._check_task(source.name, task)
        return word

    def warnings(self, word: str, kind: str) -> tuple[str, ...]:
        """What to know of a base model before it is trained: that it was made for a small world."""
        try:
            source = resolve_vlm(word) if kind == "vlm" else resolve(word)
        except VisionError:
            return ()
        domain = domain_of(source)
        if domain is None:
            return ()
        setting = "VISION_VLM" if kind == "vlm" else "VISION_ENCODER"
        return (
            f"The base model '{source.name}' is a small one that knows only {domain.knows}: of other pictures it sees "
            f"little, and what is trained over it is worse there than over a general model, which {setting} brings.",
        )

    def shown(self, word: str, kind: str | None) -> str:
        """What clients call a base model; never a folder of this machine."""
        if kind != "vlm":
            return self._names.shown(word)
        try:
            return resolve_vlm(word).name
        except VisionError:
            return self._names.shown(word)

    def known(self) -> list[ModelInfo]:
        """The models of this service that a client may name."""
        return self._registry.known()

    def taken(self, slug: str) -> bool:
        """Whether a model that is not trained here goes by that name."""
        return self._registry.taken(slug)

    def _asked_encoder(self, asked: str, data: LearningData) -> str:
        """A known name, or a family's: the default where it is of that family, else the first known one."""
        known = self._registry.known()
        encoders = [one for one in known if one.kind == "encoder"]
        if not any(asked in (one.name, *one.aliases) for one in encoders):
            family = sorted((one for one in encoders if one.family == asked), key=lambda one: not one.default)
            if family:
                return self._names.asked(family[0].name)
            if any(asked in (one.name, one.family, *one.aliases) for one in known):
                raise NotTrainableError(
                    f"'{asked[:100]}' is a vision-language model, and this strategy trains encoders: take "
                    f"{' or '.join(one.name for one in encoders)}, or a strategy for any model (custom_manyshot)."
                )
        return self._names.asked(asked)

    def _known_vlm(self, asked: str, task: Task) -> str:
        known = [one for one in self._registry.known() if one.kind == "vlm"]
        if not any(asked in (one.name, *one.aliases) for one in known):
            family = [
                one for one in known if one.family == asked and (one.tasks is None or task in one.tasks)
            ]
            if family:
                asked = min(family, key=lambda one: not one.default).name
        for one in self._registry.known():
            if asked == one.name or asked in one.aliases:
                if one.kind != "vlm":
                    break
                return self._settings.vlm if one.default else (one.aliases or (one.name,))[0]
        able = [one.name for one in known if one.tasks is None or task in one.tasks]
        raise ModelNotFoundError(
            f"There is no vision-language model '{asked[:100]}' here: known are {', '.join(able)}."
        )

    def _default_vlm(self, task: Task) -> str:
        if task != "caption":
            return self._settings.vlm
        if self._settings.captioner:
            return self._settings.captioner
        for one in self._registry.known():
            if one.kind == "vlm" and one.default and (one.tasks is None or "caption" in one.tasks):
                return self._settings.vlm
        return FAMILIES.default_checkpoint("caption")

    def _check_task(self, name: str, task: Task) -> None:
        """Raise NotTrainableError where the model is known not to do what it shall learn, naming those that do."""
        known = [one for one in self._registry.known() if one.kind == "vlm"]
        if not any(one.name == name and one.tasks is not None and task not in one.tasks for one in known):
            return
        able = sorted({one.name for one in known if one.tasks is None or task in one.tasks})
        able = [word for word in able if not FAMILIES.is_connected(word)]
        raise NotTrainableError(
            f"'{name}' {_DOES['caption' if task == 'vqa' else 'vqa']} and cannot learn {_LEARNS[task]}: take "
            f"{' or '.join(able)}."
        )

    @staticmethod
    def _check_family(found: str, wanted: str | None, model: str, strategy: str) -> None:
        if wanted not in (None, DEFAULT, found):
            raise NotTrainableError(
                f"The strategy '{strategy}' trains models of the family '{wanted}'; '{model}' is of '{found}'."
            )
