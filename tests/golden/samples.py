"""Every event of the wire, whole, in its least form, and with each field missing, null, or of another kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from domain.events import EVENTS

__all__ = ["samples"]

Json = dict[str, Any]
OTHERS: tuple[Any, ...] = (7, 1.5, "x", True, [], {}, [3])


def samples() -> Iterator[Json]:
    """Frames, as JSON."""
    for kind, model in EVENTS.items():
        whole = _whole(msgspec.json.schema(model), f"#/$defs/{model.__name__}")
        least = {it.encode_name: whole[it.encode_name] for it in msgspec.structs.fields(model) if it.required}
        for fields in (whole, least, {**whole, "later": 1}):
            yield {"type": kind, "data": fields}
        for number, name in enumerate(whole):
            yield {"type": kind, "data": {it: value for it, value in least.items() if it != name}}
            for other in (None, *(OTHERS[(number + it) % len(OTHERS)] for it in range(3))):
                yield {"type": kind, "data": {**least, name: other}}
        yield {"type": kind}
        yield {"type": kind, "data": [1]}
    for other in (None, *OTHERS):
        yield {"type": other, "data": {}}
        yield {"type": "hologram", "data": other}
        for name in ("roomId", "epoch", "seq"):
            yield {
                "type": "hologram",
                "data": {"roomId": "den", "epoch": 1, "seq": 2, "more": [1, {"a": None}], name: other},
            }
    yield {"type": "hologram"}
    yield {"data": {}}


def _whole(schema: Json, ref: str) -> Json:
    made: Json = _value(schema, {"$ref": ref})
    return made


def _value(schema: Json, node: Json) -> Any:
    """Any value of the kind that the schema's node asks for."""
    if "$ref" in node:
        model = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return {name: _value(schema, it) for name, it in model["properties"].items()}
    if "anyOf" in node:
        return _value(schema, next(it for it in node["anyOf"] if it.get("type") != "null"))
    if "enum" in node:
        return node["enum"][0]
    if node.get("type") == "array":
        return [_value(schema, node["items"])] if node.get("items") else [{"type": "chat", "data": {"a": 1}}]
    if node.get("type") == "object":
        inner = node.get("additionalProperties")
        return {"den": _value(schema, inner)} if isinstance(inner, dict) else {}
    return _PLAIN.get(node.get("type"), {"any": [1, None]})


_PLAIN: Mapping[Any, Any] = {"integer": 3, "number": 2.5, "string": "wörd", "boolean": True}
