"""YAML text to plain values that remember their lines.

References, keys given twice, tags and numbers without end are refused.
"""

from __future__ import annotations

import math
from typing import Any

import yaml

Loc = tuple[int | str, ...]
"""The way to a value: keys of objects and places in lists."""


class YamlError(ValueError):
    """This is not YAML that is accepted; `str()` says why, in words that may follow a colon."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


class Document:
    """One YAML document."""

    def __init__(self, text: bytes) -> None:
        """Raises YamlError for anything but one document of plain values."""
        try:
            loader = _Loader(text)
            try:
                node = loader.get_single_node()
                self.values: Any = None if node is None else loader.construct_document(node)
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise YamlError(error.problem or "this is not YAML", mark.line + 1 if mark else 1) from None
        except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
            raise YamlError("this is not YAML that can be read", 1) from None
        if node is None:
            raise YamlError("the file is empty", 1)
        self._node: yaml.Node = node
        self._check_finite(self.values, ())

    def line(self, loc: Loc) -> int:
        """The line, from 1, of the value at `loc`; of what encloses it where it is missing."""
        node, line = self._node, self._node.start_mark.line
        for step in loc:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == str(step)), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line
            # any other step is the name of one of several forms a value may have
        return line + 1

    def _check_finite(self, value: Any, loc: Loc) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            raise YamlError(f"{join_location(loc)}: this is not a finite number", self.line(loc))
        inside = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for step, child in inside:
            self._check_finite(child, (*loc, step))


def join_location(loc: Loc) -> str:
    """`params.lora.rank`, `aliases[0]`."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


class _Loader(yaml.SafeLoader):
    """Without references, by which a small text can unfold to any size, and without a key given twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.composer.ComposerError(
                problem="anchors (&) and references (*) are not accepted", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
                raise yaml.composer.ComposerError(
                    problem="every key must be a word", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.composer.ComposerError(
                    problem=f"{key.value}: this key is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return node
