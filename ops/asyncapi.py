"""The wire as an AsyncAPI 3 document, made of the models that the service reads and writes.

`make asyncapi` writes it to docs/asyncapi.json; a test compares the two. The document speaks as the service:
it *receives* requests and *sends* events.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from domain.events import EVENTS, Error, Event
from domain.protocol import ERROR_CODES, SUBPROTOCOL
from domain.requests import REQUESTS, RequestType

__all__ = ["DOCUMENT", "document"]

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/asyncapi.json"
_CHANNEL = "#/channels/socket"
_QUERY = {
    "roomId": "the room that is joined; `general` where it is absent",
    "username": "the name to be shown by",
    "userId": "in demo mode: who to be",
    "token": "the credential, for clients that can set neither a header nor a subprotocol",
}


def document() -> dict[str, Any]:
    """The whole document, as JSON has it."""
    models: list[type] = [*(it.model for it in REQUESTS.values()), *EVENTS.values()]
    references, schemas = msgspec.json.schema_components(models, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(models, references, strict=True))
    messages: dict[str, Any] = {}
    for name, row in REQUESTS.items():
        messages[_request(name)] = _message(f"{name} (request)", _words(row.model), schema_of[row.model])
    for name, model in EVENTS.items():
        messages[_event(name)] = _message(f"{name} (event)", _words(model), _envelope(name, schema_of[model]))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "roomcast",
            "version": "1",
            "description": "WebSocket rooms: requests and events of one socket. docs/protocol.md says what they mean.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "aws": {
                "host": "{api}.execute-api.{region}.amazonaws.com",
                "pathname": "/{stage}",
                "protocol": "wss",
                "variables": {"api": {}, "region": {}, "stage": {"default": "dev"}},
            },
            "twin": {"host": "127.0.0.1:8081", "pathname": "/dev", "protocol": "ws"},
        },
        "channels": {
            "socket": {
                "address": "/",
                "description": f"Offer the subprotocol `{SUBPROTOCOL}`; else the service speaks the recipe's dialect.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "query": _query()}},
            }
        },
        "operations": {
            **{f"receive_{name}": _received(name, row) for name, row in REQUESTS.items()},
            "send_events": {
                "action": "send",
                "channel": {"$ref": _CHANNEL},
                "summary": "What a client hears without having asked at that moment.",
                "messages": [_ref(_event(name)) for name in EVENTS],
            },
        },
        "components": {"messages": messages, "schemas": {**schemas, "ErrorCode": _error_codes()}},
    }


def _received(name: str, row: RequestType) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": "receive",
        "channel": {"$ref": _CHANNEL},
        "summary": _words(row.model),
        "messages": [_ref(_request(name))],
    }
    replies = [_event(it) for it in (row.reply, Error.type) if it is not None]
    operation["reply"] = {"channel": {"$ref": _CHANNEL}, "messages": [_ref(it) for it in replies]}
    return operation


def _message(title: str, summary: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"name": title, "title": title, "summary": summary, "payload": payload}


def _envelope(name: str, data: dict[str, Any]) -> dict[str, Any]:
    properties = {"type": {"const": name}, "data": data}
    return {"type": "object", "required": ["type", "data"], "properties": properties}


def _error_codes() -> dict[str, Any]:
    return {"oneOf": [{"const": code, "description": words} for code, words in ERROR_CODES.items()]}


def _query() -> dict[str, Any]:
    properties = {name: {"type": "string", "description": words} for name, words in _QUERY.items()}
    return {"type": "object", "properties": properties}


def _request(name: str) -> str:
    return f"request_{name}"


def _event(name: str) -> str:
    return f"event_{name}"


def _ref(message: str) -> dict[str, str]:
    return {"$ref": f"{_CHANNEL}/messages/{message}"}


def _words(model: type[Event] | type) -> str:
    return " ".join((inspect.getdoc(model) or "").split())


if __name__ == "__main__":
    DOCUMENT.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
