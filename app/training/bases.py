"""Which base model a job trains: what the client named, the strategy names, or the data is bound to.

A client names only what the service knows already, a strategy (which the service's owner wrote) anything the
registry takes.
"""

from __future__ import annotations

from typing import Literal

from app.collections.errors import EncoderMismatchError
from app.errors import VisionError
from app.families import FAMILIES
from app.inference.domain import domain_of
from app.inference.sources import Kind
from app.jobs.errors import NotTrainableError
from app.methods.tasks import Task
from app.models.resolver import ModelResolver
from app.training.learning_data import LearningData

_DOES: dict[Task, str] = {"vqa": "answers questions", "caption": "only writes captions"}
_LEARNS: dict[Task, str] = {"vqa": "answers or labels", "caption": "captions"}
DEFAULT = "default"
"""A strategy's word for the collection's own encoder, or the service's model for questions or captions."""


class BaseModels:
    """Base models of one process by the words of clients and strategies."""

    def __init__(self, models: ModelResolver) -> None:
        self._models = models

    def kind_of(self, name: str | None) -> Literal["encoder", "vlm"] | None:
        """Whether a client's name, or a family's, means an encoder or a vision-language model; None for no name.

        Raises ModelNotFoundError for one that is not known here.
        """
        if name is None:
            return None
        found = self._models.match_base(name)
        if not found:
            raise self._models.absent(
                name,
                hint=" A model that was trained here is no base: name the one that it was trained from.",
            )
        return found[0].kind

    def names_of(self, asked: str) -> set[str]:
        """The names and the family of the known model of that name, alias or family; empty where there is none."""
        found = self._models.match_base(asked)[:1]
        return {name for info in found for name in (info.name, info.family, *info.aliases)}

    def encoder(
        self, asked: str | None, checkpoint: str, family: str | None, data: LearningData, strategy: str
    ) -> str:
        """The encoder to train, as a word that the registry takes.

        Raises ModelNotFoundError for a name that is not known here, EncoderMismatchError where the collection is
        bound to another encoder, NotTrainableError where the strategy is for another family.
        """
        word = self._resolve_encoder(asked) if asked else None if checkpoint == DEFAULT else checkpoint
        if data.encoder is not None:
            if word is not None and not self._models.is_same_encoder(word, data.encoder):
                raise EncoderMismatchError(
                    f"{data.name[0].upper()}{data.name[1:]} is bound to the encoder "
                    f"'{self._models.name_for_clients(data.encoder)}', not to "
                    f"'{self._models.name_for_clients(word)}': take a strategy for its encoder, or bind "
                    f"the collection to the other with PATCH /v1/collections/{data.slug}."
                )
            word = data.encoder
        word = word or self._models.default_encoder
        self._check_family(
            FAMILIES.resolve("encoder", word).family, family, self._models.name_for_clients(word), strategy
        )
        return word

    def vlm(self, asked: str | None, checkpoint: str, family: str | None, task: Task, strategy: str) -> str:
        """The vision-language model to train, likewise."""
        if asked:
            word = self._resolve_vlm(asked, task)
        elif checkpoint != DEFAULT:
            word = checkpoint
        else:
            word = self._models.default_vlm(task)
        self._check_vlm(word, family, task, strategy)
        return word

    def check_named_base(
        self, asked: str, kind: Kind, family: str | None, strategy: str, task: Task | None
    ) -> None:
        """Raise what `encoder` and `vlm` raise of a client's name, whatever the data; `task` is what a vision-language
        model shall learn, None where that depends on the data.
        """
        if kind == "vlm":
            return self._check_vlm(self._resolve_vlm(asked), family, task, strategy)
        source = FAMILIES.resolve(kind, self._resolve_encoder(asked))
        return self._check_family(source.family, family, source.name, strategy)

    def _check_vlm(self, word: str, family: str | None, task: Task | None, strategy: str) -> None:
        if FAMILIES.is_connected(word):
            raise NotTrainableError(
                "The service's default model runs on a remote server, which trains nothing: name a `base_model`."
            )
        source = FAMILIES.resolve("vlm", word)
        self._check_family(source.family, family, source.name, strategy)
        if task is not None:
            self._check_task(source.name, task)

    def warnings(self, word: str, kind: Kind) -> tuple[str, ...]:
        """What to know of a base model before it is trained: that it was made for a small world."""
        try:
            source = FAMILIES.resolve(kind, word)
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

    def _resolve_encoder(self, asked: str) -> str:
        """A known name, or a family's: the default where it is of that family, else the first known one."""
        if found := self._models.match_base(asked, "encoder"):
            return self._models.word_of(found[0])
        if self._models.match_base(asked):
            raise NotTrainableError(
                f"'{asked[:100]}' is a vision-language model, and this strategy trains encoders: take "
                f"{' or '.join(info.name for info in self._models.list_models('encoder'))}, or a strategy for any "
                "model (custom_manyshot)."
            )
        raise self._models.absent(asked, "encoder")

    def _resolve_vlm(self, asked: str, task: Task | None = None) -> str:
        if found := self._models.match_base(asked, "vlm", task):
            return self._models.word_of(found[0])
        raise self._models.absent(asked, "vlm", task)

    def _check_task(self, name: str, task: Task) -> None:
        """Raise NotTrainableError where the model is known not to do what it shall learn, naming those that do."""
        able = {info.name for info in self._models.list_models("vlm", task)}
        if name in able or name not in {info.name for info in self._models.list_models("vlm")}:
            return
        raise NotTrainableError(
            f"'{name}' {_DOES['caption' if task == 'vqa' else 'vqa']} and cannot learn {_LEARNS[task]}: take "
            f"{' or '.join(sorted(word for word in able if not FAMILIES.is_connected(word)))}."
        )

    @staticmethod
    def _check_family(found: str, wanted: str | None, model: str, strategy: str) -> None:
        if wanted not in (None, DEFAULT, found):
            raise NotTrainableError(
                f"The strategy '{strategy}' trains models of the family '{wanted}'; '{model}' is of '{found}'."
            )
