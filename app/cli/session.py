"""What every command that asks a service shares: its --server, --api-key, --data-dir and --json options, the service
that they lead to, and how its replies are printed.
"""

from __future__ import annotations

import functools
import inspect
import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate

from app.cli import output
from app.cli.addresses import check_key, find_service, parse_address
from app.cli.client import RefusedError, Service, UnreachableError
from app.cli.options import ApiKey, DataDir, Server
from app.cli.temporary import StartError, temporary_service
from app.cli.wording import in_flags
from app.cli.words import printable

_MAX_SHOWN_CHARS = 200

Column = str | Callable[[dict[str, Any]], str]
"""What a row shows in a column: the field of this name, or what the function makes of the row."""


class Session:
    """One run of a command. As a context it ends the command with a sentence and an exit code where the service refuses
    or cannot be reached, and closes what it opened.
    """

    def __init__(
        self,
        server: str | None = None,
        api_key: str | None = None,
        data_dir: Path | None = None,
        *,
        json: bool = False,
    ) -> None:
        self.json = json
        """Whether standard output is for programs."""
        self._server, self._api_key, self._data_dir = server, api_key, data_dir
        self._stack = ExitStack()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if isinstance(error, RefusedError):
                output.fail(in_flags(str(error)), output.REFUSED)
            if isinstance(error, UnreachableError | StartError):
                output.fail(str(error), output.NO_SERVICE)
            if isinstance(error, KeyboardInterrupt):
                output.stop("nothing further was asked of the service")
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                about = printable(error.filename)[:_MAX_SHOWN_CHARS] + ": " if error.filename else ""
                output.fail(f"{about}{error.strerror or error}", output.USAGE)
            if isinstance(error, UnicodeEncodeError):
                output.fail("a word or a file's name is no text: its bytes are not UTF-8", output.USAGE)

    @property
    def service(self) -> Service:
        """The named service, a running one, or one that lives as long as the command."""
        return self._connection[0]

    @property
    def temporary(self) -> bool:
        """Whether the service goes when the command ends."""
        return self._connection[1]

    @functools.cached_property
    def _connection(self) -> tuple[Service, bool]:
        # at first use: what is wrong with a command's own words is said before a service is started for it
        check_key(self._api_key)
        url = parse_address(self._server) if self._server else find_service(self._data_dir)
        temporary = url is None
        if url is None:
            url = self._stack.enter_context(temporary_service(self._data_dir))
        service = Service(url, self._api_key)
        self._stack.callback(service.close)
        return service, temporary

    @property
    def flags(self) -> list[str]:
        """What leads another command to the same service, where the environment does not. A key is not repeated, only
        that one is needed.
        """
        given = {
            "--server": (self._server, "VISION_SERVER"),
            "--data-dir": (self._data_dir, "VISION_DATA_DIR"),
        }
        flags: list[str] = []
        for flag, (value, variable) in given.items():
            if value is not None and str(value) != os.environ.get(variable):
                flags += [flag, shlex.quote(str(value))]
        if self._api_key is not None and self._api_key != os.environ.get("VISION_API_KEY"):
            flags += ["--api-key", "KEY"]
        return flags

    def say(self, sentence: str) -> None:
        """Print one line for a person; nothing where JSON is wanted."""
        if not self.json:
            output.say(sentence)

    def print_result(self, result: Any, text: str | Callable[[Any], None]) -> None:
        """Print a reply: as JSON, or for a person `text`, a sentence or what prints the reply."""
        if self.json:
            output.print_json(result)
        elif isinstance(text, str):
            output.say(text)
        else:
            text(result)

    def print_rows(self, page: dict[str, Any], columns: Mapping[str, Column], *, empty: str = "") -> None:
        """Print the rows in the page's `data`: the page as JSON, or a table; `empty` is said where there are none."""
        if self.json:
            output.print_json(page)
            return
        rows = ([_cell(row, column) for column in columns.values()] for row in page["data"])
        output.print_table(list(columns), rows, empty=empty)

    def print_all(self, path: str, columns: Mapping[str, Column], *, empty: str, **query: Any) -> None:
        """Print every row of a paged list, as `print_rows` does."""
        page = {"data": list(self.service.pages(path, **query)), "next": None}
        self.print_rows(page, columns, empty=empty)


def _cell(row: dict[str, Any], column: Column) -> str:
    if not isinstance(column, str):
        return column(row)
    value = row.get(column)
    return "" if value is None else str(value)


def pass_session(
    json: object = None, *, data_dir: object = DataDir
) -> Callable[[Callable[Concatenate[Session, ...], None]], Callable[..., None]]:
    """Make a command of a function that takes a session first: its options are the function's, then the session's.

    Args:
        json: The type of the --json option, `Json` or `Lines`; the command has none without.
        data_dir: The type of the option that names the service's data folder.
    """
    shared = {"session_server": Server, "session_key": ApiKey, "session_dir": data_dir}
    added = [_parameter(name, None, kind) for name, kind in shared.items()]
    if json is not None:
        added.append(_parameter("session_json", False, json))

    def decorate(function: Callable[Concatenate[Session, ...], None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(**options: Any) -> None:
            server, api_key, folder = (options.pop(name) for name in shared)
            with Session(server, api_key, folder, json=options.pop("session_json", False)) as session:
                function(session, **options)

        # typer reads a command's options from its signature
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        parameters = [*own, *added]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def _parameter(name: str, default: object, kind: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)
