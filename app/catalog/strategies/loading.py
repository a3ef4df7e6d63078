"""Reads strategies from YAML files: those that ship, then the user's own, each checked and each error at its line.

Knows files and lines; a file that is wrong is refused with one sentence and stops nothing. Knows nothing of what
fits where.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import structlog
from pydantic import ValidationError

from app.catalog.strategies.reading import Document, Loc, YamlError, dotted
from app.catalog.strategies.schema import Strategy
from app.errors import StrategyNotFoundError
from app.settings import Settings
from app.training.params import PARAMS
from app.wrong_fields import complaint

_ENDINGS = (".yaml", ".yml")

log = structlog.get_logger("app")


class StrategyFileError(ValueError):
    """A strategy's file is wrong; `str()` names file, line and field."""


@dataclass(frozen=True)
class Refused:
    """A file that was left out."""

    file: str
    """Its name, without its folder."""
    reason: str


class Strategies:
    """All strategies of one service, in order of their names."""

    def __init__(self, found: list[Strategy], refused: list[Refused], own: frozenset[str]) -> None:
        """`found` must not share names or aliases; `own` are the names of the user's."""
        self._all = sorted(found, key=lambda one: one.name)
        self._named = {name: one for one in found for name in (*one.aliases, one.name)}
        self.refused = tuple(refused)
        self.own = own

    @classmethod
    def load(cls, settings: Settings) -> Strategies:
        """Those that ship and those in `settings.strategies_dir`; the user's comes before one that ships."""
        found: dict[str, Strategy] = {}
        refused: list[Refused] = []
        own: set[str] = set()
        _add(files("strategies"), settings, found, refused)
        if settings.strategies_dir is not None:
            own = _add(settings.strategies_dir.expanduser(), settings, found, refused)
        return cls(list(found.values()), refused, frozenset(own))

    def get(self, name: str) -> Strategy:
        """A strategy by its name or an alias; raises StrategyNotFoundError."""
        found = self._named.get(name)
        if found is None:
            raise StrategyNotFoundError(
                f"There is no strategy '{name[:100]}': GET /v1/strategies or `vision strategies list` shows them."
            )
        return found

    def all(self) -> list[Strategy]:
        """Every strategy, in order of their names."""
        return list(self._all)


def parse(text: bytes, file: str) -> Strategy:
    """The strategy in one file's text; raises StrategyFileError."""
    try:
        document = Document(text)
    except YamlError as error:
        raise _wrong(file, error.line, str(error)) from None
    try:
        strategy = Strategy.model_validate(document.values)
    except ValidationError as error:
        raise _invalid(error, document, file, ()) from None
    if strategy.method is not None:
        try:
            PARAMS[strategy.method].model_validate(strategy.params)
        except ValidationError as error:
            raise _invalid(error, document, file, ("params",)) from None
    stem = file.rpartition(".")[0]
    if strategy.name != stem:
        raise _wrong(file, document.line(("name",)), f"name: it must be '{stem}', as the file is called")
    return strategy


def _wrong(file: str, line: int, reason: str) -> StrategyFileError:
    return StrategyFileError(f"{file}, line {line}: {reason}.")


def _invalid(error: ValidationError, document: Document, file: str, inside: Loc) -> StrategyFileError:
    """The first thing that is wrong, and how much more is."""
    first, *more = error.errors(include_url=False, include_input=False)
    loc = (*inside, *first["loc"])
    field = f"{dotted(loc)}: " if loc else ""
    rest = f" (and {len(more)} more)" if more else ""
    return _wrong(file, document.line(loc), f"{field}{complaint(first)}{rest}")


def _add(
    folder: Traversable, settings: Settings, found: dict[str, Strategy], refused: list[Refused]
) -> set[str]:
    """Put a folder's strategies into `found`, over those of the same name; their names."""
    added: set[str] = set()
    for number, file in enumerate(_yaml_files(folder, refused)):
        try:
            if number >= settings.max_strategies:
                raise StrategyFileError(f"{file.name}: there are more than {settings.max_strategies} files.")
            strategy = parse(_read(file, settings.max_strategy_kb), file.name)
            _check_names(strategy, found, added, file.name)
        except StrategyFileError as error:
            log.warning("strategy refused", reason=str(error))
            refused.append(Refused(file.name, str(error)))
            continue
        if strategy.name in found:
            log.info("a strategy of your own replaces one that ships", strategy=strategy.name)
        found[strategy.name] = strategy
        added.add(strategy.name)
    return added


def _yaml_files(folder: Traversable, refused: list[Refused]) -> list[Traversable]:
    try:
        inside = [one for one in folder.iterdir() if one.name.endswith(_ENDINGS) and one.is_file()]
    except OSError as error:
        reason = f"The folder of strategies cannot be read: {error.strerror or 'unknown error'}."
        log.warning("strategies refused", folder=str(folder), reason=reason)
        refused.append(Refused(folder.name, reason))
        return []
    return sorted(inside, key=lambda one: one.name)


def _read(file: Traversable, most_kb: int) -> bytes:
    try:
        with file.open("rb") as stream:
            text: bytes = stream.read(most_kb * 1024 + 1)
    except OSError as error:
        raise StrategyFileError(f"{file.name}: {error.strerror or 'this cannot be read'}.") from None
    if len(text) > most_kb * 1024:
        raise StrategyFileError(f"{file.name}: the file is larger than {most_kb} KiB.")
    return text


def _check_names(strategy: Strategy, found: dict[str, Strategy], added: set[str], file: str) -> None:
    """Raise StrategyFileError where a name already means another strategy than the one that is replaced."""
    if strategy.name in added:
        raise StrategyFileError(f"{file}: there is another file for '{strategy.name}'.")
    taken = {
        name: one.name
        for one in found.values()
        if one.name != strategy.name
        for name in (*one.aliases, one.name)
    }
    for name in (strategy.name, *strategy.aliases):
        if name in taken:
            raise StrategyFileError(f"{file}: the name '{name}' already means the strategy '{taken[name]}'.")
