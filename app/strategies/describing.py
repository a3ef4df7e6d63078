"""The JSON Schema of a strategy's file, in each of its forms, as editors understand it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.methods import METHODS
from app.strategies.definition import Strategy
from app.strategies.written import WORDS, WrittenHardware, WrittenStrategy

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of one file: a strategy in full (`$defs.Strategy`, each method's settings included) or in short
    (`$defs.WrittenStrategy`), several under `strategies`, or one under its name.
    """
    models: list[type[BaseModel]] = [
        Strategy,
        WrittenStrategy,
        *(method.params for method in METHODS.values()),
    ]
    found, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/$defs/{model}"
    )
    defs: dict[str, Any] = definitions["$defs"]
    in_full, in_short = found[(Strategy, "validation")], found[(WrittenStrategy, "validation")]
    defs["Strategy"]["allOf"] = [
        {
            "if": {"properties": {"method": {"const": name}}, "required": ["method"]},
            "then": {"properties": {"params": found[(method.params, "validation")]}},
        }
        for name, method in METHODS.items()
    ]
    named_in_full = {**defs["Strategy"], "title": "NamedStrategy"}
    named_in_full["required"] = [name for name in named_in_full["required"] if name != "name"]
    defs["NamedStrategy"] = named_in_full
    either = {"if": _writes_in_short(), "then": in_short, "else": {"$ref": "#/$defs/NamedStrategy"}}
    return {
        "$schema": _DIALECT,
        "title": "Strategies of one file",
        "type": "object",
        "if": {"required": ["strategies"]},
        "then": {
            "properties": {"strategies": {"type": "object", "additionalProperties": either}},
            "additionalProperties": False,
        },
        "else": {
            "if": {"anyOf": [{"required": ["model"]}, {"required": ["name"]}, *_writes_in_short()["anyOf"]]},
            "then": {"if": _writes_in_short(), "then": in_short, "else": in_full},
            "else": {
                "properties": {"hardware_requirements": {"$ref": f"#/$defs/{WrittenHardware.__name__}"}},
                "additionalProperties": either,
            },
        },
        "$defs": defs,
    }


def _writes_in_short() -> dict[str, Any]:
    return {
        "anyOf": [{"required": [word]} for word in sorted(WORDS - {"hardware_requirements"})],
        "not": {"required": ["model"]},
    }
