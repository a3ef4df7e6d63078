"""From one file's text to its strategies: in full or in short, one or several, each error at its line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.http.wrong_fields import complaint
from app.methods import METHODS
from app.strategies.definition import Strategy
from app.strategies.reading import Document, Loc, YamlError, join_location
from app.strategies.written import WORDS, WrittenStrategy

_SEVERAL = "strategies"
_HARDWARE = "hardware_requirements"
_FIELDS = frozenset({*Strategy.model_fields, *WrittenStrategy.model_fields})


class StrategyFileError(ValueError):
    """A strategy's file is wrong; `str()` names file, line and field."""


@dataclass
class ParsedFile:
    """What one file holds."""

    strategies: list[Strategy] = field(default_factory=list)
    errors: list[StrategyFileError] = field(default_factory=list)


@dataclass(frozen=True)
class _Entry:
    values: Any
    name: str
    loc: Loc
    """Where in the document it stands."""
    named_by: str
    """What gives it its name, for people."""


def parse(text: bytes, file: str) -> ParsedFile:
    """The strategies of one file's text. One that is wrong does not keep out others of the same file.

    A file holds a strategy and is called like it; or a mapping `strategies` from names to strategies; or such a
    mapping alone, where `hardware_requirements` may stand beside a single one.
    """
    parsed = ParsedFile()
    try:
        document = Document(text)
    except YamlError as error:
        parsed.errors.append(_make_error(file, error.line, str(error)))
        return parsed
    try:
        entries = _entries(document, file)
    except StrategyFileError as error:
        parsed.errors.append(error)
        return parsed
    for entry in entries:
        try:
            parsed.strategies.append(_strategy(entry, document, file))
        except StrategyFileError as error:
            parsed.errors.append(error)
    return parsed


def _entries(document: Document, file: str) -> list[_Entry]:
    values = document.values
    stem = file.rpartition(".")[0]
    if not isinstance(values, dict):
        return [_Entry(values, stem, (), "as the file is called")]
    if _SEVERAL in values:
        unknown = next((key for key in values if key != _SEVERAL), None)
        if unknown is not None:
            raise _make_error(
                file, document.line((unknown,)), f"{unknown}: there is no such field beside {_SEVERAL}"
            )
        if not isinstance(values[_SEVERAL], dict) or not values[_SEVERAL]:
            raise _make_error(
                file, document.line((_SEVERAL,)), f"{_SEVERAL}: it must be an object of names and strategies"
            )
        return [_to_entry(name, value, (_SEVERAL, name)) for name, value in values[_SEVERAL].items()]
    names = [key for key in values if key != _HARDWARE]
    if (
        not names
        or not _FIELDS.isdisjoint(names)
        or not all(isinstance(values[name], dict) for name in names)
    ):
        return [_Entry(values, stem, (), "as the file is called")]
    entries = [_to_entry(name, values[name], (name,)) for name in names]
    if _HARDWARE in values:
        if len(entries) > 1 or _HARDWARE in values[names[0]]:
            raise _make_error(
                file,
                document.line((_HARDWARE,)),
                f"{_HARDWARE}: it must stand in the strategy that it is for, once",
            )
        beside = {**values[names[0]], _HARDWARE: values[_HARDWARE]}
        entries = [_to_entry(names[0], beside, (names[0],))]
    return entries


def _to_entry(name: str, values: Any, loc: Loc) -> _Entry:
    return _Entry(values, name, loc, "as its key says")


def _strategy(entry: _Entry, document: Document, file: str) -> Strategy:
    values, by_key = entry.values, bool(entry.loc)
    if isinstance(values, dict) and by_key and "name" not in values:
        values = {**values, "name": entry.name}
    if isinstance(values, dict) and "model" not in values and not WORDS.isdisjoint(values):
        try:
            written = WrittenStrategy.model_validate(values)
        except ValidationError as error:
            raise _invalid(error, document, file, entry.loc) from None
        values = written.in_full(written.name or entry.name)
    try:
        strategy = Strategy.model_validate(values)
    except ValidationError as error:
        raise _invalid(error, document, file, entry.loc) from None
    if strategy.method is not None:
        try:
            METHODS[strategy.method].params.model_validate(strategy.params)
        except ValidationError as error:
            raise _invalid(error, document, file, (*entry.loc, "params")) from None
    if strategy.name != entry.name:
        line = document.line((*entry.loc, "name"))
        raise _make_error(file, line, f"name: it must be '{entry.name}', {entry.named_by}")
    return strategy


def _make_error(file: str, line: int, reason: str) -> StrategyFileError:
    return StrategyFileError(f"{file}, line {line}: {reason}.")


def _invalid(error: ValidationError, document: Document, file: str, inside: Loc) -> StrategyFileError:
    """The first thing that is wrong, and how much more is."""
    first, *more = error.errors(include_url=False, include_input=False)
    loc = (*inside, *first["loc"])
    named = f"{join_location(loc)}: " if loc else ""
    rest = f" (and {len(more)} more)" if more else ""
    return _make_error(file, document.line(loc), f"{named}{complaint(first)}{rest}")
