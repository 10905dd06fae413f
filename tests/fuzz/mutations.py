"""Inputs from other inputs: bytes that are cut, copied and swapped, and JSON whose values are others."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["NUMBERS", "SEPARATOR", "TEXTS", "mutate", "odd_value"]

SEPARATOR = b"\x1e"
"""Between the frames, or records, of one input: no JSON has this byte as it is."""
SIZE_LIMIT = 256 * 1024
"""Bytes of an input at most."""
NUMBERS = (0, -1, 1, 2, 7, 100, 101, 255, 2**31, 2**32, 2**53 - 1, 2**53, 2**63, 2**64, -(2**63), 10**40, 0.5, 1e308)
TEXTS = (
    "",
    " ",
    "a",
    "root",
    "general",
    "den",
    "inbox#ada",
    "a#b",
    "#",
    "..",
    "a" * 64,
    "a" * 65,
    "é" * 200,
    "\x00",
    "\n",
    "\x1b[2J",
    "\u202e",
    "\ufffe",
    "\ufeff",
    "\N{HOT BEVERAGE}",
    "\U0010ffff",
    "x" * 24_576,
    "x" * 24_577,
    "\x01" * 6_000,
)
_NUMBER = re.compile(rb"-?\d+")
DEEP = 2_000
"""Levels of a nesting that no parser should follow."""


def mutate(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    """`given` with one to four changes, of which some take from `other`, or put in one of `tokens`."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        given = draw.choice(_CHANGES)(draw, given, other, tokens)
    return given[:SIZE_LIMIT]


def odd_value(draw: random.Random) -> Any:
    """A JSON value that somebody may not have thought of."""
    kind = draw.randrange(8)
    if kind < 3:
        return draw.choice(NUMBERS)
    if kind < 6:
        return draw.choice(TEXTS)
    return draw.choice((None, True, False, [], {}, [None], {"a": {}}, [[]], ["a"] * 200))


# ---- bytes


def _place(draw: random.Random, given: bytes) -> int:
    return draw.randint(0, len(given))


def _slice(draw: random.Random, given: bytes) -> tuple[int, int]:
    start = _place(draw, given)
    return start, min(len(given), start + draw.choice((1, 1, 2, 4, 16, 256)))


def _change_byte(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    at = _place(draw, given)
    byte = draw.choice((draw.randrange(256), given[at] ^ 1 << draw.randrange(8) if at < len(given) else 0))
    return given[:at] + bytes([byte]) + given[at + 1 :]


def _cut(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    start, end = _slice(draw, given)
    return given[:start] + given[end:]


def _end_early(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    return given[: _place(draw, given)]


def _repeat(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    start, end = _slice(draw, given)
    return given[:end] + given[start:end] * draw.choice((1, 1, 3, 100, 10_000)) + given[end:]


def _insert_token(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    at = _place(draw, given)
    return given[:at] + draw.choice(tokens) + given[at:]


def _swap_token(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    present = [it for it in tokens if it in given]
    if not present:
        return _insert_token(draw, given, other, tokens)
    return given.replace(draw.choice(present), draw.choice(tokens), draw.choice((1, -1)))


def _change_number(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    found = list(_NUMBER.finditer(given[:4096]))
    if not found:
        return _insert_token(draw, given, other, tokens)
    one = draw.choice(found)
    number = draw.choice([*NUMBERS, int(one[0][:18]) + 1, int(one[0][:18]) - 1])
    return given[: one.start()] + str(number).encode() + given[one.end() :]


def _splice(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    return given[: _place(draw, given)] + other[_place(draw, other) :]


# ---- parts and JSON


def _change_parts(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    """Add one of the other's parts, take one away, say one twice, or in another order."""
    parts = given.split(SEPARATOR)
    one = draw.randrange(len(parts))
    match draw.randrange(4):
        case 0:
            parts.insert(one, draw.choice(other.split(SEPARATOR)))
        case 1:
            del parts[one]
        case 2:
            parts.append(parts[one])
        case _:
            draw.shuffle(parts)
    return SEPARATOR.join(parts[:32])


def _change_json(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    parts = given.split(SEPARATOR)
    one = draw.randrange(len(parts))
    try:
        value = json.loads(parts[one])
    except (ValueError, RecursionError):
        return _change_byte(draw, given, other, tokens)
    parts[one] = json.dumps(_changed(draw, value, tokens), ensure_ascii=draw.random() < 0.5).encode(errors="replace")
    return SEPARATOR.join(parts)


def _changed(draw: random.Random, value: Any, tokens: Sequence[bytes]) -> Any:
    if isinstance(value, dict) and value and draw.random() < 0.9:
        name = draw.choice(list(value))
        match draw.randrange(6):
            case 0:
                return {it: value[it] for it in value if it != name}
            case 1:
                return value | {draw.choice(tokens).decode(errors="replace"): odd_value(draw)}
            case _:
                return value | {name: _changed(draw, value[name], tokens)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        at = draw.randrange(len(value))
        return draw.choice((value[:at], [*value, value[at]], [*value[:at], _changed(draw, value[at], tokens)]))
    return odd_value(draw)


def _nest(draw: random.Random, given: bytes, other: bytes, tokens: Sequence[bytes]) -> bytes:
    at = _place(draw, given)
    opening, closing = draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return given[:at] + opening * DEEP + b"1" + closing * DEEP + given[at:]


_Change = Callable[[random.Random, bytes, bytes, Sequence[bytes]], bytes]
_CHANGES: Sequence[_Change] = (
    *(_change_json,) * 6,
    *(_change_parts,) * 3,
    *(_change_number, _swap_token, _insert_token) * 2,
    *(_change_byte, _cut, _end_early, _repeat, _splice, _nest),
)
