"""The parser of requests, and the one table of request types."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Refused
from domain.events import EVENTS, Chat, encode_event, parse_envelope
from domain.protocol import ERROR_CODES, valid_id, valid_name
from domain.requests import REQUESTS, ChatMessage, Request, encode_request, parse_request, request_head
from services.moderation import ACTS
from services.requests import USE_CASES

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.dictionaries(
    st.sampled_from(["type", "message", "roomId", "clientId", "since", "before", "after", "limit", "cursors", "x"]),
    JSON | st.sampled_from(sorted(REQUESTS)),
)


def refusal(frame: str | bytes) -> str:
    with pytest.raises(Refused) as caught:
        parse_request(frame)
    return caught.value.code


@given(st.text() | st.binary() | JSON.map(json.dumps) | FIELDS.map(json.dumps))
def test_any_frame_is_a_request_or_a_refusal(frame: str | bytes) -> None:
    """Nothing a client can send raises anything else, and each refusal has a code of the table."""
    request_head(frame)
    try:
        assert isinstance(parse_request(frame), Request)
    except Refused as error:
        assert error.code in ERROR_CODES  # noqa: PT017
        assert error.message.isprintable()  # noqa: PT017


@pytest.mark.parametrize("kind", ["7", "1e400", "null", '["chat"]', '"chat"'])
def test_whatever_the_type_the_answer_finds_who_asked(kind: str) -> None:
    """Also beside a number that no float holds."""
    known = "chat" if kind == '"chat"' else None
    assert request_head(f'{{"type":{kind},"clientId":"abc","x":1e400}}') == (known, "abc")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "BAD_JSON"),
        ('{"message":', "BAD_JSON"),
        ('{"message":"\\ud800"}', "BAD_JSON"),
        ("\ud800", "BAD_JSON"),
        ("[" * 100_000, "BAD_REQUEST"),
        ('{"type":"ping","x":' + "[" * 100_000 + "]" * 100_000 + "}", "BAD_JSON"),
        ("null", "BAD_REQUEST"),
        ("[]", "BAD_REQUEST"),
        ('{"type":7}', "BAD_REQUEST"),
        ('{"type":1e400}', "BAD_REQUEST"),
        ('{"clientId":1e400,"message":"x"}', "BAD_REQUEST"),
        ('{"type":"shout"}', "UNKNOWN_TYPE"),
        ('{"message":7}', "BAD_REQUEST"),
        ('{"message":"x","colour":"red"}', "BAD_REQUEST"),
        ('{"message":"x","roomId":"a#b"}', "BAD_REQUEST"),
        ('{"message":"x","roomId":""}', "BAD_REQUEST"),
        ('{"message":"x","roomId":"a\\n"}', "BAD_REQUEST"),
        ('{"message":"x","roomId":"a\\ufffe"}', "BAD_REQUEST"),
        ('{"message":"x","roomId":"' + "a" * 65 + '"}', "BAD_REQUEST"),
        ('{"message":"x","clientId":"short"}', "BAD_REQUEST"),
        ('{"type":"history","roomId":"a","limit":101}', "BAD_REQUEST"),
        ('{"type":"history","roomId":"a","before":' + "9" * 10_000 + "}", "BAD_REQUEST"),
        ('{"type":"ping","cursors":{"a#b":1}}', "BAD_REQUEST"),
    ],
)
def test_bad_input_has_its_code(frame: str, code: str) -> None:
    """Each way of being wrong, by name."""
    assert refusal(frame) == code


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ('{"message":7}', "`message`: Expected `str`, got `int`"),
        ('{"message":"x","roomId":"a#b"}', "`roomId`: Expected 1 to 64 letters, digits, or any of _ . : -"),
        ('{"type":"join_room"}', "Room ID required"),
        ('{"type":"history"}', "`roomId` is missing"),
        ('{"message":"x","colour":"red"}', "Object contains unknown field `colour`"),
    ],
)
def test_a_refusal_names_the_field(frame: str, words: str) -> None:
    """One sentence that says which field, and what it should be."""
    with pytest.raises(Refused) as caught:
        parse_request(frame)
    assert caught.value.message == words


def test_no_type_means_chat() -> None:
    """As in the recipe."""
    assert parse_request('{"message":"hi"}') == ChatMessage(message="hi")


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_a_request_that_is_encoded_says_what_it_is(name: str) -> None:
    """The type is always written, and the request comes back as it was."""
    words: dict[str, Any] = {"role": "guest", "status": "away", "seq": 1}
    needed = [it.name for it in msgspec.structs.fields(REQUESTS[name].model) if it.required]
    fields = {it: words.get(it, "general") for it in needed}
    request = REQUESTS[name].model(**fields)
    assert json.loads(encode_request(request))["type"] == name
    assert parse_request(encode_request(request)) == request


def test_every_request_of_the_table_is_carried_out() -> None:
    """The table and the use cases name the same requests; each reply is an event of the wire."""
    assert {row.model for row in REQUESTS.values()} == {*USE_CASES, *ACTS}
    named = {it for row in REQUESTS.values() for it in (row.reply, row.event) if it is not None}
    assert named <= set(EVENTS)


def test_unknown_events_and_fields_are_let_pass() -> None:
    """A client of today understands a service of tomorrow."""
    assert parse_envelope('{"type":"sparkle","data":{"x":1}}') is None
    chat = Chat(
        message_id="m", room_id="r", sender_id="s", sender_name="n", message="x", timestamp=1, sent_at=2, epoch=3, seq=4
    )
    frame = json.loads(encode_event(chat))
    frame["data"]["later"] = True
    assert parse_envelope(json.dumps(frame)) == chat


@given(st.text(max_size=80))
def test_ids_and_names(text: str) -> None:
    """An id is in the key alphabet; a name holds no control character."""
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-")
    assert valid_id(text) == (1 <= len(text) <= 64 and set(text) <= allowed)
    if valid_name(text):
        assert 1 <= len(text) <= 64
        assert not any(ord(it) < 32 for it in text)
