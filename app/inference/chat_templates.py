"""Chat templates of uploaded models, rendered with bounds on steps, time and the size of every value.

A template is a program in Jinja. Its sandbox keeps it from the machine, but neither from looping for hours nor from
doubling a text forty times, nor from keeping thousands of texts that are each short enough. Here the thread's trace
function counts steps, every operator that can grow a value is checked before it does, lists hold nothing but scalars,
so that none can grow by nesting, and the bytes of every value that is made come out of one budget, which nothing gives
back. Uploaded templates are rendered one at a time, so that the budget holds for the whole process.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache, wraps
from itertools import islice
from types import FrameType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import loopcontrols
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from app.inference.errors import ChatTemplateError

MAX_TEMPLATE_BYTES = 64 << 10
"""Published templates have up to 12 KiB."""
MAX_TEXT_CHARS = 256 << 10
"""Four times the longest conversation: 32 turns of 2,000 characters."""
MAX_ITEMS = 10_000
MAX_VALUE_BYTES = 32 << 20
"""Of all values that one rendering makes. A template that appends every turn to one text copies the longest
conversation 32 times: 8 MiB, at four bytes a character."""
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
_FAILURES = (RecursionError, MemoryError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What a template that asks for something absurd ends with."""
_FILE = "<template>"
_NAMESPACE_BYTES = 1_024
_rendering = threading.Lock()
_budget = threading.local()


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
    """The conversation as the template of model `name` writes it; raises ChatTemplateError beyond the bounds."""
    try:
        check_template(text)
        tokens = {key: value for key, value in special_tokens.items() if isinstance(value, str)}
        variables = {**tokens, "messages": messages, "add_generation_prompt": answering}
        template = _compile(text)
        rendered = template.root_render_func(template.new_context(variables))
        with _rendering:
            _budget.left = MAX_VALUE_BYTES
            return _Watch().join(rendered)
    except (TemplateError, *_FAILURES) as error:
        said = str(error)[:200] or type(error).__name__
        traceback.clear_frames(error.__traceback__)
    # raised from here, it keeps no frame of the template, and so none of its values; nor do the tracebacks that
    # `Template.generate` would write anew
    raise ChatTemplateError(f"The chat template of '{name}' cannot be used: {said}.")


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
        first, *others = [_apply_filter(self.visit(operand), "string", node.lineno) for operand in node.nodes]
        joined: nodes.Expr = first
        for operand in others:
            joined = nodes.Add(joined, operand, lineno=node.lineno)
        return joined

    def visit_List(self, node: nodes.List | nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load":
            return node
        node.items = [_apply_filter(item, "_scalar", node.lineno) for item in node.items]
        return _apply_filter(node, "_made", node.lineno)

    visit_Tuple = visit_List  # noqa: N815

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.value = _apply_filter(node.value, "_scalar", node.lineno)
        return node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _apply_filter(node, "_made", node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        # compiled to a plain slice, which never passes through the environment
        return _apply_filter(node, "_made", node.lineno) if isinstance(node.arg, nodes.Slice) else node


def _apply_filter(node: nodes.Expr, name: str, line: int) -> nodes.Expr:
    return nodes.Filter(node, name, [], [], None, None, lineno=line)


def _concat(pieces: Iterable[str]) -> str:
    """The pieces in one; raises SecurityError where that is too long."""
    parts: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        _check_size(size)
        parts.append(piece)
    _charge(joined := "".join(parts))
    return joined


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
        return _charge(super().call_binop(context, operator, left, right))

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
        if called is jinja2.utils.Namespace:
            _spend(_NAMESPACE_BYTES)
        return _bound_result(super().call)(context, called, *args, **kwargs)


def _spend(size: int) -> None:
    _budget.left -= size
    if _budget.left < 0:
        raise SecurityError("its values take more memory than a conversation needs")


def _charge(value: Any) -> Any:
    """The value, once its own bytes are taken from the budget; what a list holds was charged when it was made."""
    if isinstance(value, str | list | tuple | dict):
        _spend(sys.getsizeof(value))
    return value


def _check_size(size: int) -> None:
    if size > MAX_TEXT_CHARS:
        raise SecurityError("a text is too long")


def _bound_result(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its result checked and charged: `tojson` and `escape` write several characters for one."""

    @wraps(function)  # with the marks by which jinja knows what to hand it
    def bounded(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if any(result is given for given in args):
            return result
        if isinstance(result, str):
            _check_size(len(result))
        elif isinstance(result, list | tuple):
            _check_items(len(result))
            _spend(sum(sys.getsizeof(item) for item in result if isinstance(item, str)))
        return _charge(result)

    return bounded


def _check_items(count: int) -> None:
    if count > MAX_ITEMS:
        raise SecurityError("a list is too long")


def _list(value: Iterable[Any]) -> list[Any]:
    """A text has as many items as characters."""
    items = list(islice(value, MAX_ITEMS + 1))
    _check_items(len(items))
    return items


def _fold(value: Any) -> Any:
    return _charge(value.lower()) if isinstance(value, str) else value


def _sort(value: Iterable[Any], reverse: bool = False, case_sensitive: bool = False) -> list[Any]:
    """By the items themselves: the small letters of all of them are in memory at once."""
    return sorted(_list(value), key=None if case_sensitive else _fold, reverse=reverse)


def _sort_items(value: dict[str, Any], case_sensitive: bool = False) -> list[Any]:
    return sorted(value.items(), key=lambda item: item[0] if case_sensitive else _fold(item[0]))


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
        "list": _list,
        "sort": _sort,
        "dictsort": _sort_items,
        "string": lambda value: str(_scalar(value)),
        "join": lambda items, d="": _join(items, d),
        "replace": _replace,
        "tojson": _to_json,
    }
    environment.filters = {name: _bound_result(function) for name, function in filters.items()}
    environment.filters["_made"] = _charge
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
