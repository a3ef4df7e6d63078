"""Chat templates of uploaded models, rendered with bounds on steps, time and the size of every value.

A template is a program in Jinja. Its sandbox keeps it from the machine, but neither from looping for hours nor from
doubling a text forty times. Here the thread's trace function counts steps, every operator that can grow a value is
checked before it does, and lists hold nothing but scalars, so that none can grow by nesting.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache, wraps
from types import FrameType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import loopcontrols
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from app.inference.errors import ModelUnavailableError

MAX_TEMPLATE_BYTES = 64 << 10
"""Published templates have up to 12 KiB."""
MAX_TEXT_CHARS = 1 << 20
MAX_ITEMS = 10_000
MAX_STEPS = 200_000
MAX_SECONDS = 2.0
_MAX_NUMBER = 10**12
_FILTERS = (
    *("trim", "upper", "lower", "title", "capitalize", "length", "count", "first", "last", "list", "join"),
    *("string", "selectattr", "rejectattr", "select", "reject", "map", "default", "d", "int", "float", "abs"),
    *("items", "dictsort", "sort", "unique", "reverse", "safe", "escape", "e", "replace", "tojson"),
)
_METHODS = frozenset(
    {
        *("strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith", "lower"),
        *("upper", "title", "capitalize", "find", "index", "count", "get", "items", "keys", "values"),
        *("isdigit", "isalpha", "removeprefix", "removesuffix", "partition", "rpartition"),
    }
)
_FAILURES = (
    RecursionError,
    MemoryError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
)
"""What a template that asks for something absurd ends with."""
_FILE = "<template>"


def check_template(text: str) -> None:
    """Raise ValueError in one sentence unless the template can be compiled within the bounds."""
    if len(text.encode(errors="replace")) > MAX_TEMPLATE_BYTES:
        raise ValueError(f"it is larger than {MAX_TEMPLATE_BYTES >> 10} KiB")
    try:
        _compile(text)
    except (TemplateError, RecursionError, SyntaxError, ValueError, MemoryError) as error:
        raise ValueError(f"it cannot be read: {str(error)[:200] or type(error).__name__}") from None


def render(
    text: str, messages: list[dict[str, Any]], special_tokens: dict[str, Any], *, answering: bool, name: str
) -> str:
    """The conversation as the template of model `name` writes it; raises ModelUnavailableError beyond the bounds."""
    try:
        check_template(text)
        variables = {key: value for key, value in special_tokens.items() if isinstance(value, str)}
        rendered = _compile(text).generate(messages=messages, add_generation_prompt=answering, **variables)
        return _Watch().join(rendered)
    except (TemplateError, *_FAILURES) as error:
        said = str(error)[:200] or type(error).__name__
        raise ModelUnavailableError(f"The chat template of '{name}' cannot be used: {said}.") from None


class _Watch:
    """Counts what a template does on this thread, and ends it where that is too much."""

    def __init__(self) -> None:
        self._steps = 0
        self._until = time.monotonic() + MAX_SECONDS

    def join(self, pieces: Iterable[str]) -> str:
        """What the template writes, in one piece."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            return _concat(pieces)
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        self._steps += 1
        if self._steps > MAX_STEPS or time.monotonic() > self._until:
            raise SecurityError("it takes more steps than a conversation needs")
        return self._trace if frame.f_code.co_filename == _FILE else None


class _Bounding(NodeTransformer):
    """Rewrites what can grow a value unseen: `~` becomes `+` over texts; literals take scalars alone."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - the name that jinja looks for
        first, *others = [_filtered(self.visit(one), "string", node.lineno) for one in node.nodes]
        joined: nodes.Expr = first
        for one in others:
            joined = nodes.Add(joined, one, lineno=node.lineno)
        return joined

    def visit_List(self, node: nodes.List | nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if getattr(node, "ctx", "load") == "load":
            node.items = [_filtered(item, "_scalar", node.lineno) for item in node.items]
        return node

    visit_Tuple = visit_List  # noqa: N815

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.value = _filtered(node.value, "_scalar", node.lineno)
        return node


def _filtered(node: nodes.Expr, name: str, line: int) -> nodes.Expr:
    return nodes.Filter(node, name, [], [], None, None, lineno=line)


def _concat(pieces: Iterable[str]) -> str:
    """The pieces in one; raises SecurityError where that is too long."""
    parts: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        _check_size(size)
        parts.append(piece)
    return "".join(parts)


class _Environment(ImmutableSandboxedEnvironment):
    concat = staticmethod(_concat)  # of `set` blocks, macros, filter and call blocks, which no operator joins
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed: nodes.Template = _Bounding().visit(super()._parse(source, name, filename))
        return parsed

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Numbers that stay small; of texts and lists a sum that stays short."""
        if isinstance(left, int | float) and isinstance(right, int | float):
            if abs(left) > _MAX_NUMBER or abs(right) > _MAX_NUMBER or operator == "**":
                raise SecurityError("a number is too large")
        elif operator != "+":
            raise SecurityError(f"'{operator}' is for numbers alone")
        elif isinstance(left, str) and isinstance(right, str):
            _check_size(len(left) + len(right))
        elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
            _check_items(len(left) + len(right))
        else:
            raise SecurityError("'+' joins two texts or two lists")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Any:
        """`format` can pad a number to any width."""
        if getattr(value, "__name__", "") in ("format", "format_map"):
            raise SecurityError("the method 'format' is not served in templates")
        return None

    def call(self, context: Any, called: Any, *args: Any, **kwargs: Any) -> Any:
        """Methods that cannot grow a value much, `replace` and `join` bounded."""
        owner, name = getattr(called, "__self__", None), getattr(called, "__name__", "")
        if isinstance(owner, str | bytes | list | tuple | dict | int | float):
            if isinstance(owner, str) and name == "replace":
                return _replace(owner, *args)
            if isinstance(owner, str) and name == "join":
                return _join(args[0], owner)
            if name not in _METHODS:
                raise SecurityError(f"the method '{name}' is not served in templates")
        return super().call(context, called, *args, **kwargs)


def _check_size(size: int) -> None:
    if size > MAX_TEXT_CHARS:
        raise SecurityError("a text is too long")


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter with its result checked: `tojson` doubles every backslash, `escape` writes five characters for one."""

    @wraps(function)  # with the marks by which jinja knows what to hand it
    def bounded(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if isinstance(result, str):
            _check_size(len(result))
        return result

    return bounded


def _check_items(count: int) -> None:
    if count > MAX_ITEMS:
        raise SecurityError("a list is too long")


def _replace(text: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = str(_scalar(text)), str(_scalar(old)), str(_scalar(new))
    _check_size(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
    replaced: str = text.replace(old, new, count)
    return replaced


def _join(items: Iterable[Any], separator: Any = "") -> str:
    texts = []
    size = 0
    separator = str(_scalar(separator))
    for item in items:
        texts.append(str(_scalar(item)))
        size += len(texts[-1]) + len(separator)
        _check_size(size)
    joined: str = separator.join(texts)
    return joined


def _scalar(value: Any) -> Any:
    if isinstance(value, list | tuple | dict | set):
        raise SecurityError("a list stands where a text or a number is needed")
    return value


def _to_json(value: Any, indent: int | None = None) -> str:
    text: str = jinja2.utils.htmlsafe_json_dumps(_scalar(value))
    return text


def _range(*numbers: int) -> range:
    found = range(*numbers)
    _check_items(len(found))
    return found


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(layout: str) -> str:
    if len(layout) > 100:
        raise SecurityError("a format of dates is too long")
    return datetime.now().strftime(layout)


def _environment() -> _Environment:
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[loopcontrols],
        optimized=False,  # which would compute constants before anything is counted
        finalize=_scalar,
    )
    filters = {name: FILTERS[name] for name in _FILTERS} | {
        "_scalar": _scalar,
        "string": lambda value: str(_scalar(value)),
        "join": lambda items, d="": _join(items, d),
        "replace": _replace,
        "tojson": _to_json,
    }
    environment.filters = {name: _bounded(function) for name, function in filters.items()}
    environment.globals = {
        "range": _range,
        "namespace": jinja2.utils.Namespace,
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
    }
    return environment


@lru_cache(maxsize=32)
def _compile(text: str) -> jinja2.Template:
    return _environment().from_string(text)
