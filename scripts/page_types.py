"""Writes page/src/api/schema.ts from the OpenAPI document: the types that the page's calls are checked against.

A field or an address that is renamed breaks the build instead of the page. `--check` fails where the file differs.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from app.embedded import Addresses
from app.main import create_app
from app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "page/src/api/schema.ts"
_HEAD = """// Written by `make page` from the service's OpenAPI document; `make lint` fails while the two differ.
"""
_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
Schema = dict[str, Any]


def type_of(schema: Schema) -> str:
    """The TypeScript type of a JSON Schema; `unknown` where it allows anything."""
    if "$ref" in schema:
        return _name(schema["$ref"].rsplit("/", 1)[-1])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " | ".join(dict.fromkeys(type_of(part) for part in schema[union]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(type_of({**schema, "type": part}) for part in kind)
    if kind == "string" and schema.get("format") == "binary":
        return "Blob"
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(type_of(part) for part in schema['prefixItems'])}]"
    if kind == "array":
        inner = type_of(schema.get("items", {}))
        return f"({inner})[]" if " " in inner else f"{inner}[]"
    if kind == "object" and "properties" in schema:
        return _object(schema)
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"Record<string, {type_of(values) if isinstance(values, dict) else 'unknown'}>"
    return _PLAIN.get(str(kind), "unknown")


def _object(schema: Schema, *, all_there: bool = False) -> str:
    wanted = set(schema.get("required", []))
    fields = [
        f"{_key(name)}{'' if all_there or name in wanted else '?'}: {type_of(field)}"
        for name, field in schema["properties"].items()
    ]
    return "{ " + "; ".join(fields) + " }" if fields else "Record<string, never>"


def _key(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else json.dumps(name)


def _name(name: str) -> str:
    return re.sub(r"\W", "_", name)


def call_of(operation: Schema, path: str) -> str:
    """The type of one call: what it takes in its address, query and body, and what it replies."""
    query = {
        "properties": {
            parameter["name"]: parameter["schema"]
            for parameter in operation.get("parameters", [])
            if parameter["in"] == "query"
        }
    }
    names = "; ".join(f"{name}: string" for name in re.findall(r"{(\w+)}", path))
    parts = [f"path: {{ {names} }}"]
    if query["properties"]:
        parts.append(f"query: {_object(query)}")
    bodies = operation.get("requestBody", {}).get("content", {})
    for kind, name in {"application/json": "json", "multipart/form-data": "form"}.items():
        if kind in bodies:
            parts.append(f"{name}: {type_of(bodies[kind]['schema'])}")
    replies = [
        reply.get("content", {}).get("application/json", {}).get("schema")
        for status, reply in operation.get("responses", {}).items()
        if status.startswith("2")
    ]
    found = [type_of(reply) for reply in replies if reply is not None]
    parts.append(f"reply: {' | '.join(found) or 'void'}")
    return "{ " + "; ".join(parts) + " }"


def text_of(document: Schema) -> str:
    """The whole file."""
    lines = [_HEAD]
    replies = _always_there(document)
    for name, schema in sorted(document["components"]["schemas"].items()):
        if "properties" in schema:
            lines.append(f"export interface {_name(name)} {_object(schema, all_there=name in replies)}")
        else:
            lines.append(f"export type {_name(name)} = {type_of(schema)};")
    lines.append("\nexport interface Calls {")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in {"get", "post", "put", "patch", "delete"}:
                lines.append(f"  {json.dumps(f'{method.upper()} {path}')}: {call_of(operation, path)};")
    lines.append("}\n")
    return "\n".join(lines)


def _always_there(document: Schema) -> set[str]:
    """Schemas that only replies use: a reply has all its fields, defaults too."""
    sent: set[str] = set()

    def visit(part: Any) -> None:
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).rsplit("/", 1)[-1]
            if name and name not in sent:
                sent.add(name)
                visit(document["components"]["schemas"].get(name, {}))
            for value in part.values():
                visit(value)
        elif isinstance(part, list):
            for value in part:
                visit(value)

    for operations in document["paths"].values():
        for operation in operations.values():
            visit(operation.get("requestBody", {}))
    return set(document["components"]["schemas"]) - sent


def main() -> None:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    made = text_of(create_app(Settings(), Addresses("", "")).openapi())
    if not parser.parse_args().check:
        FILE.write_text(made)
    elif FILE.read_text() != made:
        raise SystemExit(
            f"{FILE.relative_to(ROOT)} differs from the service's OpenAPI document: run `make docs`"
        )


if __name__ == "__main__":
    main()
