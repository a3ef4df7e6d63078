"""The training methods, without torch: each module with a `METHOD` is one, called like it.

Its code is the folder of the same name in `workers.methods`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from app.errors import InvalidInputError
from app.http.wrong_fields import complaints
from app.methods.method import Method
from app.methods.tasks import BaseKind


def _find_methods() -> dict[str, Method]:
    modules = {
        module.name: importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    }
    found = {name: module.METHOD for name, module in modules.items() if hasattr(module, "METHOD")}
    return dict(sorted(found.items(), key=lambda item: (item[1].position, item[0])))


METHODS: Mapping[str, Method] = _find_methods()
"""Every training method by name, those that train the least first."""

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]
    """A name in METHODS, for schemas."""


def methods_for(base_kind: BaseKind) -> list[str]:
    """The names of the methods that train such base models."""
    return [name for name, method in METHODS.items() if base_kind in method.learns]


def check_params(method: MethodName, values: Mapping[str, Any]) -> dict[str, Any]:
    """The method's parameters with defaults filled in; raises InvalidInputError naming each wrong field."""
    params = METHODS[method].params
    try:
        return params.model_validate(values).model_dump()
    except ValidationError as error:
        errors = error.errors()
        wrong = complaints(errors, "params.")
        if any(detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1 for detail in errors):
            wrong += f". There are {', '.join(params.model_fields)}"
        raise InvalidInputError(f"The parameters of '{method}' are wrong: {wrong}.") from None
