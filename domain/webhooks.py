"""Hooks: what a room tells the world by HTTP (outgoing), and by what the world speaks in a room (incoming).

Both are signed as Standard Webhooks has it (https://www.standardwebhooks.com): the headers `webhook-id`,
`webhook-timestamp` (seconds since 1970) and `webhook-signature`, which is `v1,` and the HMAC-SHA256 of
`ID.TIMESTAMP.BODY` in base64; several signatures stand with spaces between them. All other times are milliseconds since
1970.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

from domain.errors import Refused
from domain.protocol import MESSAGE_LIMIT
from domain.rooms import Room

__all__ = [
    "DELIVERY_LIMIT",
    "HOOKS_LIMIT",
    "HOOK_EVENTS",
    "HOOK_ID_PATTERN",
    "HOOK_PORTS",
    "ROTATION_MS",
    "TOLERANCE_MS",
    "URL_LIMIT",
    "Direction",
    "Hook",
    "backoff",
    "check_events",
    "check_url",
    "delivery_key",
    "failed",
    "hook_id",
    "is_hook_id",
    "is_public",
    "is_told",
    "key_of",
    "named_hooks",
    "new_secret",
    "room_of",
    "rotated",
    "sign",
    "signatures",
    "signing_key",
    "verify",
    "wants",
    "webhook_id",
]

Direction = Literal["outgoing", "incoming"]

HOOKS_LIMIT = 10
"""Hooks of one room: those that are told of a message fit in one call to the queue."""
HOOK_EVENTS = frozenset(
    {
        "chat",
        "message_edited",
        "message_deleted",
        "reaction",
        "room_updated",
        "room_deleted",
        "role_set",
        "kicked",
        "banned",
        "unbanned",
        "muted",
        "unmuted",
    }
)
"""The types of entries in a room's log. Comings and goings, presence and typing are in no log, and no hook is told."""
HOOK_PORTS: Mapping[str, frozenset[int]] = {"https": frozenset({443, 8443})}
"""Scheme → the ports that a receiver may have."""
URL_LIMIT = 1_024
TOLERANCE_MS = 300_000
"""How far a delivery's time may be from ours."""
DELIVERY_LIMIT = 6 * MESSAGE_LIMIT + 2_048
"""Bytes of an incoming delivery: the longest message, if every byte of it is written as an escape, and a name."""
ROTATION_MS = 24 * 3600 * 1000
"""For how long the secret before still counts."""
FIRST_PAUSE = 2.0
LAST_PAUSE = 900.0
"""Seconds between two tries of a receiver that fails: the first, and the longest, which is also a queue's."""

# The room is in the id, so that an id alone leads to the hook. `~` is in no room's id and needs no escape in a URL.
HOOK_ID_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}~[0-9a-f]{16}(?![\s\S])"
_hook_id = re.compile(HOOK_ID_PATTERN)
_SECRET_PREFIX = "whsec_"  # noqa: S105  # what all secrets begin with
_SECRET_BYTES = (24, 64)
_VERSION = "v1"
_SIGNATURES_LIMIT = 8
"""More of them in one header are not looked at."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A room's hook. It belongs to one life (epoch) of the room: the room that is made anew has none."""

    room: str
    key: str
    """16 hexadecimal digits; with the room's id before it, it is the hook's."""
    epoch: int
    direction: Direction
    name: str
    """What people call it. An incoming hook speaks under it."""
    secret: str
    """`whsec_` and the key in base64."""
    created_at: int
    created_by: str
    url: str = ""
    """Where an outgoing hook posts to."""
    events: Sequence[str] = ()
    """The types of entries that an outgoing hook is told; none: all."""
    version: int = 1
    """Rises whenever what is settled about it changes; not with what follows the deliveries."""
    previous: str = ""
    """The secret before, and"""
    previous_until: int = 0
    """until when it counts."""
    disabled_at: int = 0
    """0: it is enabled."""
    cause: str = ""
    """Why it is disabled."""
    position: int = 0
    """The seq up to which an outgoing hook's receiver has been told."""
    failing_since: int = 0
    """When the first of the failures was that no success has followed yet; 0: none."""
    failures: int = 0
    """How many they are."""
    retry_at: int = 0
    """Not before then is the receiver tried again, and that is seen to."""
    problem: str = ""
    """What the last of them was."""

    @property
    def id(self) -> str:
        return hook_id(self.room, self.key)

    @property
    def enabled(self) -> bool:
        return not self.disabled_at

    def secrets(self, now: int) -> list[str]:
        """Those that count, the newest first."""
        return [self.secret, *([self.previous] if self.previous and self.previous_until > now else [])]


# ------------------------------------------------------------------------------------------------ ids and settings


def hook_id(room: str, key: str) -> str:
    return f"{room}~{key}"


def is_hook_id(text: str) -> bool:
    return _hook_id.match(text) is not None


def room_of(hook: str) -> str:
    """The room that a hook's id names."""
    return hook.rpartition("~")[0]


def key_of(hook: str) -> str:
    """The rest of the id."""
    return hook.rpartition("~")[2]


def wants(hook: Hook, kind: str) -> bool:
    """Whether the hook is told of entries of that type."""
    return kind in HOOK_EVENTS and (not hook.events or kind in hook.events)


def webhook_id(hook: Hook, seq: int) -> str:
    """What tells a delivery from all others, and is the same each time it is tried."""
    return f"{hook.key}-{hook.epoch}-{seq}"


def delivery_key(hook: Hook, webhook: str) -> str:
    """What a delivery to an incoming hook is remembered by, as a `clientId` is: 64 hexadecimal digits.

    `webhook`: its `webhook-id`, of any form and length. Another hook's delivery of that id is another one.
    """
    return hashlib.sha256(f"{hook.id} {webhook}".encode()).hexdigest()


def check_events(events: Sequence[str]) -> None:
    """`Refused` where one of them is no type of entry."""
    for it in events:
        if it not in HOOK_EVENTS:
            raise Refused("BAD_REQUEST", f"`events`: they are among {', '.join(sorted(HOOK_EVENTS))}")


def check_url(url: str, ports: Mapping[str, frozenset[int]] | None = HOOK_PORTS) -> None:
    """`Refused` with the field where no receiver could be there, as far as the URL tells.

    `ports`: scheme → the ports it may name; None: any port of http and https. Where the name leads is judged at each
    delivery.
    """
    schemes = frozenset(ports or {"http", "https"})
    if len(url) > URL_LIMIT or not url.isascii() or any(it <= " " or it == "\x7f" for it in url):
        raise Refused("BAD_REQUEST", f"`url`: at most {URL_LIMIT} characters of ASCII, without white space")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("BAD_REQUEST", "`url`: it is none") from None
    if parts.scheme not in schemes or not parts.hostname:
        raise Refused("BAD_REQUEST", f"`url`: it begins with {' or '.join(sorted(schemes))}:// and the receiver's name")
    if "@" in parts.netloc or "\\" in url or parts.fragment:
        raise Refused("BAD_REQUEST", "`url`: neither user nor password, backslash or fragment; the signature is proof")
    if ports is None:
        return
    if port is not None and port not in ports[parts.scheme]:
        known = " or ".join(str(it) for it in sorted(ports[parts.scheme]))
        raise Refused("BAD_REQUEST", f"`url`: the port is {known}")
    try:
        address = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return
    if not is_public(address):
        raise Refused("BAD_REQUEST", "`url`: that address is not one of the public internet")


# ------------------------------------------------------------------------------------------------ addresses

_V4_IN_V6 = (
    # NAT64, with the well-known prefix and the one for local use: the last 32 bits are an address of version 4.
    ipaddress.IPv6Network("64:ff9b::/96"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    # IPv4-compatible, long given up.
    ipaddress.IPv6Network("::/96"),
)
_NOT_PUBLIC = (
    ipaddress.ip_network("192.88.99.0/24"),  # the relays of 6to4
    ipaddress.ip_network("192.0.0.0/24"),  # of protocols
    ipaddress.ip_network("2001::/23"),  # likewise, Teredo among them
    ipaddress.ip_network("3fff::/20"),  # of documentation, younger than some Pythons
)
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
"""Of version 6 nothing else is given out as global unicast."""


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether the address is global unicast: what a receiver of the public internet can have.

    Addresses of version 6 that carry one of version 4 (mapped, 6to4, Teredo, NAT64) are not, whatever they carry:
    nobody has to have one, and what becomes of them is up to the network.
    """
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None
        or address.sixtofour is not None
        or address.teredo is not None
        or address not in _UNICAST_V6
        or any(address in it for it in _V4_IN_V6)
    ):
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in it for it in _NOT_PUBLIC if it.version == address.version)
    )


# ------------------------------------------------------------------------------------------------ signatures


def new_secret(entropy: bytes) -> str:
    """The secret that so many random bytes make."""
    return _SECRET_PREFIX + base64.b64encode(entropy).decode()


def signing_key(secret: str) -> bytes:
    """The key in a secret. Raises `ValueError` where it is none."""
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except ValueError:  # of characters beyond ASCII it says so by itself
        raise ValueError("no secret") from None
    if not secret.startswith(_SECRET_PREFIX) or not _SECRET_BYTES[0] <= len(key) <= _SECRET_BYTES[1]:
        raise ValueError("no secret")
    return key


def sign(secret: str, webhook: str, timestamp: int, body: bytes) -> str:
    """One signature of a delivery; `timestamp` in seconds since 1970."""
    signed = hmac.digest(signing_key(secret), f"{webhook}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"{_VERSION},{base64.b64encode(signed).decode()}"


def signatures(secrets: Sequence[str], webhook: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery, with a signature for each of the secrets."""
    return {
        "webhook-id": webhook,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign(it, webhook, timestamp, body) for it in secrets),
    }


def verify(headers: Mapping[str, str], secrets: Sequence[str], body: bytes, now: int) -> bool:
    """Whether one of the secrets has signed the body, within `TOLERANCE_MS` of now. `headers`: names in lower case.

    All signatures are compared with all secrets, each in constant time: how long it takes tells nothing.
    """
    webhook, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not re.fullmatch(r"[!-~]{1,256}", webhook) or not re.fullmatch(r"[0-9]{1,12}", stamp):
        return False
    if abs(int(stamp) * 1000 - now) > TOLERANCE_MS:
        return False
    given = headers.get("webhook-signature", "").split(" ")[:_SIGNATURES_LIMIT]
    # The header may hold anything: bytes can be compared whatever they are.
    shown = [it.encode("utf-8", "surrogatepass") for it in given]
    expected = [sign(it, webhook, int(stamp), body).encode() for it in secrets]
    return any([hmac.compare_digest(one, other) for one in expected for other in shown])  # noqa: C419  # all of them


# ------------------------------------------------------------------------------------------------ what becomes of one


def is_told(room: Room, hook: Hook) -> bool:
    """Whether the hook is one that the room has to name while it is enabled."""
    return hook.direction == "outgoing" and hook.epoch == room.epoch


def named_hooks(room: Room | None, key: str, hook: Hook | None) -> tuple[str, ...]:
    """The room's `hooks` once the one with that key is as it is then: named while it is enabled."""
    others = () if room is None else tuple(it for it in room.hooks if it != key)
    return others if hook is None or not hook.enabled else (*others, key)


def rotated(hook: Hook, secret: str, now: int) -> Hook:
    """With a new secret; the one before counts for a while yet."""
    return replace(
        hook, secret=secret, previous=hook.secret, previous_until=now + ROTATION_MS, version=hook.version + 1
    )


def backoff(failures: int, asked: float | None, draw: random.Random) -> float:
    """Seconds until the next try after so many failures in a row (1 is the first): from 2 s on each twice as long, up
    to 15 minutes, the upper half of it by chance; longer where the receiver has `asked` for it, within the same bound.
    """
    longest = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 20), LAST_PAUSE)
    return min(max(draw.uniform(longest / 2, longest), asked or 0.0), LAST_PAUSE)


def failed(hook: Hook, problem: str, now: int, retry_at: int) -> Hook:
    """After one more failure."""
    return replace(
        hook,
        failing_since=hook.failing_since or now,
        failures=hook.failures + 1,
        retry_at=retry_at,
        problem=problem,
    )
