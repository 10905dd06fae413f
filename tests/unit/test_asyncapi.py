"""The AsyncAPI document: it is what the code makes of its models, whole, and true to what goes over the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from domain.events import EVENTS, Ack, Chat, Error, encode_event
from domain.protocol import ERROR_CODES
from domain.requests import REQUESTS, ChatMessage, HistoryRequest, encode_request
from ops.asyncapi import DOCUMENT, document

MADE = json.loads(json.dumps(document()))


def test_the_document_is_what_the_code_says() -> None:
    """A field that is added, renamed or removed has to be in it: `make asyncapi` writes it anew."""
    assert json.loads(DOCUMENT.read_text(encoding="utf-8")) == MADE


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, it in node.items():
            yield from [it] if name == "$ref" else references(it)
    elif isinstance(node, list):
        for it in node:
            yield from references(it)


def test_every_reference_leads_somewhere() -> None:
    """Within the document."""
    found = set(references(MADE))
    assert len(found) > len(REQUESTS)
    for it in found:
        node = MADE
        for name in it.removeprefix("#/").split("/"):
            node = node[name]


def test_every_request_and_event_is_in_it() -> None:
    """Each request with its reply; each event; each error code."""
    operations = MADE["operations"]
    assert {f"receive_{it}" for it in REQUESTS} == set(operations) - {"send_events"}
    for name, row in REQUESTS.items():
        replies = [it["$ref"].rpartition("/")[2] for it in operations[f"receive_{name}"]["reply"]["messages"]]
        assert replies == [f"event_{it}" for it in (row.reply, "error") if it is not None]
    assert len(operations["send_events"]["messages"]) == len(EVENTS)
    assert {it["const"] for it in MADE["components"]["schemas"]["ErrorCode"]["oneOf"]} == set(ERROR_CODES)


def check(message: str, frame: bytes) -> list[str]:
    registry: Registry[Any] = Registry().with_resource("urn:all", DRAFT7.create_resource(MADE))
    # References within the document begin with `#`, so the payload is looked at in its place.
    schema = {"$ref": f"urn:all#/components/messages/{message}/payload"}
    return [it.message for it in Draft7Validator(schema, registry=registry).iter_errors(json.loads(frame))]


@pytest.mark.parametrize("name", list(MADE["components"]["schemas"]))
def test_schemas_are_schemas(name: str) -> None:
    """As AsyncAPI wants them."""
    Draft7Validator.check_schema(MADE["components"]["schemas"][name])


def test_what_goes_over_the_wire_is_as_it_says() -> None:
    """Real frames pass, and others don't."""
    chat = Chat(
        room_id="den",
        timestamp=1,
        sent_at=1,
        epoch=1,
        seq=1,
        message_id="m",
        sender_id="a",
        sender_name="A",
        message="x",
    )
    assert check("event_chat", encode_event(chat)) == []
    assert check("event_ack", encode_event(Ack(room_id="den", epoch=1, seq=2))) == []
    assert check("event_error", encode_event(Error(code="MUTED", message="hush"))) == []
    assert check("request_chat", encode_request(ChatMessage(message="x", client_id="id-000001"))) == []
    assert check("request_history", encode_request(HistoryRequest(room_id="inbox#ada", before=3))) == []
    assert check("event_ack", encode_event(chat))
    assert check("request_chat", b'{"type":"chat","client":"x"}')
    assert check("request_history", encode_request(msgspec.structs.replace(HistoryRequest(room_id="a"), room_id="a b")))
