"""Reads strategies from folders of YAML files: those that ship, then the user's own.

What is wrong is refused with one sentence and stops nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import structlog

from app.errors import shorten_name, suggest_names
from app.settings import Settings
from app.strategies.definition import Strategy
from app.strategies.errors import StrategyNotFoundError
from app.strategies.parsing import StrategyFileError, parse

_ENDINGS = (".yaml", ".yml")

log = structlog.get_logger("app")


@dataclass(frozen=True)
class RefusedStrategy:
    """A file, or a strategy in one, that was left out."""

    file: str
    """Its name, without its folder."""
    reason: str


class Strategies:
    """All strategies of one service, in order of their names."""

    def __init__(self, found: list[Strategy], refused: list[RefusedStrategy], own: frozenset[str]) -> None:
        """`found` must not share names or aliases; `own` are the names of the user's."""
        self._all = sorted(found, key=lambda strategy: strategy.name)
        self._named = {name: strategy for strategy in found for name in (*strategy.aliases, strategy.name)}
        self.refused = tuple(refused)
        self.own = own

    @classmethod
    def load(cls, settings: Settings) -> Strategies:
        """Those that ship and those in `settings.strategies_dir`; the user's comes before one that ships."""
        found: dict[str, Strategy] = {}
        refused: list[RefusedStrategy] = []
        own: set[str] = set()
        _add(files("strategies"), settings.strategies.max_strategy_kb, None, found, refused)
        if settings.strategies.strategies_dir is not None:
            folder = settings.strategies.strategies_dir.expanduser()
            own = _add(
                folder,
                settings.strategies.max_strategy_kb,
                settings.strategies.max_strategies,
                found,
                refused,
            )
        return cls(list(found.values()), refused, frozenset(own))

    def get(self, name: str) -> Strategy:
        """A strategy by its name or an alias; raises StrategyNotFoundError."""
        found = self._named.get(name)
        if found is None:
            raise StrategyNotFoundError(
                f"There is no strategy '{shorten_name(name)}': {suggest_names(name, list(self._named))} GET"
                " /v1/strategies or `vision strategies list` shows them."
            )
        return found

    def all(self) -> list[Strategy]:
        """Every strategy, in order of their names."""
        return list(self._all)


def _add(
    folder: Traversable,
    max_kb: int,
    max_strategies: int | None,
    found: dict[str, Strategy],
    refused: list[RefusedStrategy],
) -> set[str]:
    """Put a folder's strategies into `found`, over those of the same name; their names."""
    added: set[str] = set()

    def refuse(file: str, error: StrategyFileError) -> None:
        log.warning("strategy refused", reason=str(error))
        refused.append(RefusedStrategy(file, str(error)))

    for number, file in enumerate(_yaml_files(folder, refused)):
        try:
            if max_strategies is not None and number >= max_strategies:
                raise StrategyFileError(f"{file.name}: there are more than {max_strategies} files.")
            parsed = parse(_read(file, max_kb), file.name)
        except StrategyFileError as error:
            refuse(file.name, error)
            continue
        for wrong in parsed.errors:
            refuse(file.name, wrong)
        for strategy in parsed.strategies:
            try:
                if max_strategies is not None and len(added) >= max_strategies:
                    raise StrategyFileError(f"{file.name}: there are more than {max_strategies} strategies.")
                _check_names(strategy, found, added, file.name)
            except StrategyFileError as error:
                refuse(file.name, error)
                continue
            _put(strategy, found, added)
    return added


def _put(strategy: Strategy, found: dict[str, Strategy], added: set[str]) -> None:
    """Let a strategy stand for its name, which another folder's may have had for its own or for an alias."""
    if strategy.name in found:
        log.info("a strategy of your own replaces one that ships", strategy=strategy.name)
    for shipped in list(found.values()):
        if strategy.name in shipped.aliases:
            log.info(
                "a strategy of your own takes an alias of one that ships",
                strategy=strategy.name,
                shipped=shipped.name,
            )
            kept = [alias for alias in shipped.aliases if alias != strategy.name]
            found[shipped.name] = shipped.model_copy(update={"aliases": kept})
    found[strategy.name] = strategy
    added.add(strategy.name)


def _yaml_files(folder: Traversable, refused: list[RefusedStrategy]) -> list[Traversable]:
    try:
        inside = [path for path in folder.iterdir() if path.name.endswith(_ENDINGS) and path.is_file()]
    except OSError as error:
        reason = f"The folder of strategies cannot be read: {error.strerror or 'unknown error'}."
        log.warning("strategies refused", folder=str(folder), reason=reason)
        refused.append(RefusedStrategy(folder.name, reason))
        return []
    return sorted(inside, key=lambda path: path.name)


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
    others = [other for other in found.values() if other.name != strategy.name]
    taken = {name: other.name for other in others for name in (*other.aliases, other.name)}
    free = {alias for other in others if other.name not in added for alias in other.aliases}
    for name in (strategy.name, *strategy.aliases):
        if name in taken and not (name == strategy.name and name in free):
            raise StrategyFileError(f"{file}: the name '{name}' already means the strategy '{taken[name]}'.")
