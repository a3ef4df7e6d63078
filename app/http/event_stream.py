"""Server-sent events in the OpenAPI document: which events a stream holds, and the JSON that each carries."""

from __future__ import annotations

from typing import Any

EVENT_STREAM = "text/event-stream"


def describe_events(*, with_ids: bool = False, **data: dict[str, Any]) -> dict[str, Any]:
    """The `content` of an answer that is a stream of these events, each with the JSON schema of its data.

    `itemSchema`, of OpenAPI 3.2, describes the single events; tools for 3.1 pass over it. `with_ids` is for events that
    a client can go on after.
    """
    events = [_describe_event(name, schema, with_ids) for name, schema in data.items()]
    return {EVENT_STREAM: {"itemSchema": {"oneOf": events}}}


def describe_object(required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with these properties; `required` names those that are always there, between spaces."""
    return {"type": "object", "required": required.split(), "properties": properties}


def _describe_event(name: str, schema: dict[str, Any], with_id: bool) -> dict[str, Any]:
    parts: dict[str, dict[str, Any]] = {
        "event": {"type": "string", "const": name},
        "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": schema},
    }
    if with_id:
        parts["id"] = {"type": "string", "description": "For `Last-Event-ID`."}
    return {"title": name, "type": "object", "required": list(parts), "properties": parts}
