"""Which tokens are let in: every way of being wrong on its own and with all others, and forgeries by the thousand."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.identity import TokenIdentity
from adapters.identity.keys import IssuerKeys
from adapters.identity.tokens import HEADER_LIMIT
from adapters.memory import ManualClock
from domain.errors import Refused
from domain.ports import Handshake, Principal
from domain.protocol import TOKEN_LIMIT
from domain.tokens import TOKEN_LEEWAY_MS, Expected
from tests.unit.adapters.issuers import ISSUER, JWKS_URL, KEYS, Shelf, b64, key_set, make_token, secret_signature

AUDIENCE = "roomcast"
CLOCK = ManualClock()
NOW = CLOCK.now() // 1000
LEEWAY = TOKEN_LEEWAY_MS // 1000
SIGNERS = ("RS256", "ES256", "EdDSA")
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 600, "sub": "ada"}


def an_identity(*, cognito: bool = False, user_claim: str = "sub") -> TokenIdentity:
    """One that has the issuer's keys already."""
    found = TokenIdentity(Expected(ISSUER, AUDIENCE, user_claim, cognito), JWKS_URL, CLOCK)
    shelf = Shelf(**{JWKS_URL: key_set(*(KEYS[it].jwk() for it in SIGNERS))})
    found._keys = IssuerKeys(ISSUER, JWKS_URL, CLOCK, shelf.get)
    return found


async def admitted(identity: TokenIdentity, token: str, **query: str) -> Principal | str:
    """Who is let in, or the code that refuses."""
    try:
        return await identity.admit(Handshake("c=", query, ["roomcast.v1", f"bearer.{token}"]))
    except Refused as error:
        assert error.message.isprintable()  # noqa: PT017
        assert len(error.message) < 120  # noqa: PT017
        return error.code


async def lets_in(token: str) -> bool:
    return isinstance(await admitted(an_identity(), token), Principal)


# ---- the matrix

Cell = tuple[object, bool]
"""A value and whether it is right."""
MISSING: Any = None
ALGORITHMS = (*SIGNERS, "RS512", "PS256", "HS256", "none", "rs256", MISSING)
SIGNED_BY = (*SIGNERS, "RS256:other")
KIDS = ("RS256", "EdDSA", "unknown", MISSING)
KINDS: tuple[Cell, ...] = ((MISSING, True), ("JWT", True), ("at+JWT", True), ("dpop+jwt", False))
ISSUERS: tuple[Cell, ...] = ((ISSUER, True), (ISSUER + "/", False), (ISSUER.upper(), False), (MISSING, False))
AUDIENCES: tuple[Cell, ...] = (
    (AUDIENCE, True),
    (["other", AUDIENCE], True),
    ("other", False),
    ([], False),
    ({AUDIENCE: 1}, False),
    (MISSING, False),
)
EXPIRIES: tuple[Cell, ...] = (
    (NOW + 600, True),
    (NOW - LEEWAY + 1, True),
    (NOW - LEEWAY, False),
    (0, False),
    (str(NOW + 600), False),
    (True, False),
    (MISSING, False),
)
BEGINNINGS: tuple[Cell, ...] = (
    (MISSING, True),
    (NOW - 600, True),
    (NOW + LEEWAY, True),
    (NOW + LEEWAY + 1, False),
    ("now", False),
)
HEADERS = tuple(itertools.product(ALGORITHMS, SIGNED_BY, KIDS, KINDS))
BODIES = tuple(itertools.product(ISSUERS, AUDIENCES, EXPIRIES, BEGINNINGS))


def cell(header: Any, body: Any) -> tuple[str, bool]:
    """A token of the matrix, and whether it is to be let in: where everything about it is right."""
    algorithm, signer, kid, (kind, kind_right) = header
    claims = dict(zip(("iss", "aud", "exp", "nbf"), (it for it, _ in body), strict=True))
    claims = {"sub": "ada", **{name: it for name, it in claims.items() if it is not MISSING}}
    token = make_token(KEYS[signer], claims, alg=algorithm, kid=kid, typ=kind)
    if algorithm == "HS256":
        token = secret_signature(token, KEYS[signer].public_forms()[0])
    right = kind_right and algorithm == signer == kid and all(it for _, it in body)
    return token, right


async def check_cells(cells: Iterator[tuple[Any, Any]]) -> tuple[int, int]:
    """How many tokens there were, and how many were rightly let in. No other was."""
    identity, tried, let_in = an_identity(), 0, 0
    for header, body in cells:
        token, right = cell(header, body)
        assert isinstance(await admitted(identity, token), Principal) == right, (header, body)
        tried, let_in = tried + 1, let_in + right
    return tried, let_in


async def test_every_header_with_the_right_claims() -> None:
    """Algorithm × key × kid × type: of 576 the six in which the key of that name has signed by its own algorithm."""
    right = tuple(it[0] for it in (ISSUERS, AUDIENCES, EXPIRIES, BEGINNINGS))
    assert await check_cells((it, right) for it in HEADERS) == (576, 6)


async def test_all_claims_under_the_right_header() -> None:
    """Issuer × audience × expiry × beginning: of 840 the twelve in which all are right."""
    header = ("EdDSA", "EdDSA", "EdDSA", ("JWT", True))
    assert await check_cells((header, it) for it in BODIES) == (840, 12)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_whole_matrix() -> None:
    """Of 24,192 tokens, whole headers against a sample of the claims, none but the right ones is let in."""
    draw = random.Random(1)
    right = [it for it in BODIES if all(right for _, right in it)]
    wrong = [it for it in BODIES if it not in right]
    tried, let_in = await check_cells(itertools.product(HEADERS, right + draw.sample(wrong, 30)))
    assert (tried, let_in) == (576 * 42, 6 * 12)


# ---- forgeries


def forgeries(signer: str) -> Iterator[tuple[str, str]]:
    """What is wrong with it, and a token."""
    key, thief = KEYS[signer], KEYS[f"{signer}:other"]
    token = make_token(key, CLAIMS)
    head, body, signature = token.split(".")
    for number, secret in enumerate(key.public_forms()):
        yield f"{signer} as a secret {number}", secret_signature(make_token(key, CLAIMS, alg="HS256"), secret)
    yield "another's signature", make_token(thief, CLAIMS, kid=key.kid)
    yield "his own key in it", make_token(thief, CLAIMS, kid=key.kid, jwk=thief.jwk())
    yield "his own key in it, by its name", make_token(thief, CLAIMS, jwk=thief.jwk())
    for name in ("jku", "x5u"):
        elsewhere: dict[str, Any] = {name: "https://thief.example.org/keys"}
        own: dict[str, Any] = {name: JWKS_URL}
        yield f"{name} to elsewhere", make_token(thief, CLAIMS, **elsewhere)
        yield f"{name}, rightly signed", make_token(key, CLAIMS, **own)
    yield "x5c", make_token(key, CLAIMS, x5c=["MIIB"])
    yield "jwk, rightly signed", make_token(key, CLAIMS, jwk=key.jwk())
    for crit in (["exp"], ["b64"], [], "b64"):
        yield f"crit {crit}", make_token(key, CLAIMS, crit=crit)
    yield "b64", make_token(key, CLAIMS, b64=False)
    yield "no signature", f"{head}.{body}."
    yield "none", f"{b64(json.dumps({'alg': 'none', 'kid': key.kid}).encode())}.{body}."
    yield "the signature of another body", f"{head}.{b64(json.dumps(CLAIMS | {'sub': 'bob'}).encode())}.{signature}"
    yield "two parts", f"{head}.{body}"
    yield "four parts", f"{token}.{signature}"
    yield "padding", f"{token}="
    yield "a line end", f"{token}\n"
    yield "white space", f" {token}"
    yield "nothing", ""
    yield "dots", ".."
    yield "not ASCII", token.replace("e", "\u0435", 1)
    yield "a null", f"{token}\0"
    yield "a long header", make_token(key, CLAIMS, more="x" * HEADER_LIMIT)
    yield "a long token", make_token(key, CLAIMS | {"more": "x" * TOKEN_LIMIT})
    yield "a nested header", f"{b64(b'[' * 700)}.{body}.{signature}"
    nested = b'{"alg":"RS256","kid":"RS256","x":' + b"[" * 300 + b"]" * 300 + b"}"
    yield "a nested name", f"{b64(nested)}.{body}.{signature}"
    yield "nested claims", make_token(key, b'{"x":' + b"[" * 2_500 + b"]" * 2_500 + b"}")
    yield "an open nest", make_token(key, b"[" * 5_000)
    yield "claims that are none", make_token(key, [CLAIMS])
    yield "no JSON", make_token(key, b"\xff\xfe")
    yield "a great number", make_token(key, b'{"exp":1' + b"0" * 4_000 + b"}")
    for kid in (7, ["RS256"], {"a": 1}, "x" * 300, True):
        yield f"kid {kid!s:.9}", make_token(key, CLAIMS, kid=kid)
    for algorithm in (7, ["RS256"], "", "None", "HS384", "RS256 ", "ed25519"):
        yield f"alg {algorithm}", make_token(key, CLAIMS, alg=algorithm)
    for kind in (7, "", "JWT ", "secevent+jwt"):
        yield f"typ {kind}", make_token(key, CLAIMS, typ=kind)


@pytest.mark.parametrize("signer", SIGNERS)
async def test_a_forgery_is_refused(signer: str) -> None:
    """By a 401, whatever it is made of; nothing but `Refused` is raised."""
    tried = list(forgeries(signer))
    identity = an_identity()
    assert {wrong: await admitted(identity, token) for wrong, token in tried} == {
        wrong: "UNAUTHENTICATED" for wrong, _ in tried
    }
    assert len(tried) > 50


@pytest.mark.parametrize("signer", SIGNERS)
async def test_a_token_of_the_limits_is_let_in(signer: str) -> None:
    """The bounds refuse no token that keeps to them."""
    key = KEYS[signer]
    room = TOKEN_LIMIT - len(make_token(key, CLAIMS | {"more": ""}))
    token = make_token(key, CLAIMS | {"more": "x" * (room * 3 // 4 - 2)})
    assert TOKEN_LIMIT - 4 < len(token) <= TOKEN_LIMIT
    assert await lets_in(token)


@cache
def good(signer: str) -> str:
    return make_token(KEYS[signer], CLAIMS)


CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.="


def mutated(token: str, draw: random.Random) -> str:
    """The token with up to three of its characters, or parts, changed, left out, doubled or taken from another."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(token))
        kind = draw.randrange(6)
        if kind == 0:
            token = token[:at] + draw.choice(CHARACTERS) + token[at + 1 :]
        elif kind == 1:
            token = token[:at] + token[at + 1 :]
        elif kind == 2:
            token = token[:at] + draw.choice(CHARACTERS) + token[at:]
        elif kind == 3:
            parts, others = token.split("."), good(draw.choice(SIGNERS)).split(".")
            part = draw.randrange(len(parts))
            parts[part] = draw.choice(others)
            token = ".".join(parts)
        elif kind == 4:
            first, second = sorted((at, draw.randrange(len(token))))
            token = token[first:second] + token[:first] + token[second:]
        else:
            token = token[:at]
        token = token or "."
    return token


@given(st.randoms(use_true_random=False), st.sampled_from(SIGNERS))
async def test_a_good_token_bears_no_change(draw: random.Random, signer: str) -> None:
    """Not of one character, not even one that means the same."""
    token = mutated(good(signer), draw)
    assert token in map(good, SIGNERS) or not await lets_in(token)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_ten_thousand_forgeries() -> None:
    """None is let in."""
    draw, identity = random.Random(7), an_identity()
    forged = let_in = 0
    while forged < 10_000:
        token = mutated(good(draw.choice(SIGNERS)), draw)
        if token in map(good, SIGNERS):
            continue
        forged += 1
        let_in += isinstance(await admitted(identity, token), Principal)
    assert (forged, let_in) == (10_000, 0)


# ---- whose it is


async def test_whose_token_it_is() -> None:
    """User, name, groups and expiry are the token's."""
    claims = CLAIMS | {"name": "Ada L.", "username": "ada1", "groups": ["admin", "a,b", 7, "x:y"]}
    assert await admitted(an_identity(), make_token(KEYS["ES256"], claims)) == Principal(
        "ada", "Ada L.", frozenset({"admin", "x:y"}), (NOW + 600) * 1000
    )


@pytest.mark.parametrize(
    ("more", "query", "name"),
    [
        ({}, {}, "ada"),
        ({}, {"username": "Bob"}, "Bob"),
        ({"name": "Ada"}, {"username": "Bob"}, "Ada"),
        ({"name": "", "username": "ada1"}, {}, "ada1"),
        ({"name": 7, "preferred_username": "al"}, {}, "al"),
        ({"name": "x" * 65, "cognito:username": "cu"}, {}, "cu"),
    ],
)
async def test_the_name_is_the_tokens(more: dict[str, Any], query: dict[str, str], name: str) -> None:
    """What a client asks to be called counts only where its token says nothing."""
    principal = await admitted(an_identity(), make_token(KEYS["EdDSA"], CLAIMS | more), **query)
    assert isinstance(principal, Principal)
    assert (principal.user, principal.name) == ("ada", name)


async def test_another_user_than_the_tokens_is_forbidden() -> None:
    """403, not 401: we know who it is."""
    token = make_token(KEYS["EdDSA"], CLAIMS)
    assert await admitted(an_identity(), token, userId="bob") == "FORBIDDEN"
    assert isinstance(await admitted(an_identity(), token, userId="ada"), Principal)


@pytest.mark.parametrize("user", ["", "a#b", "a b", "x" * 65, "ada\n", 7, None])
async def test_a_user_is_an_id_of_the_wire(user: object) -> None:
    """Whatever an issuer may call somebody: no key of ours is made of it."""
    assert await admitted(an_identity(), make_token(KEYS["EdDSA"], CLAIMS | {"sub": user})) == "UNAUTHENTICATED"


async def test_the_users_claim_is_a_setting() -> None:
    """Where `sub` is no id, or not the one that the service's users know."""
    token = make_token(KEYS["EdDSA"], CLAIMS | {"sub": "auth0|1", "nick": "ada"})
    principal = await admitted(an_identity(user_claim="nick"), token)
    assert isinstance(principal, Principal)
    assert principal.user == "ada"


@pytest.mark.parametrize(
    ("issued", "right"), [(NOW - 600, True), (NOW + LEEWAY, True), (NOW + LEEWAY + 1, False), ("now", False)]
)
async def test_a_token_is_issued_before_it_is_shown(issued: object, right: bool) -> None:
    """`iat`, where it is there; an issuer's clock may be ahead by the leeway."""
    assert await lets_in(make_token(KEYS["EdDSA"], CLAIMS | {"iat": issued})) == right


async def test_an_expired_token_says_so() -> None:
    """Its holder can do something about it; as a handshake it is a 401 like any other."""
    assert await admitted(an_identity(), make_token(KEYS["EdDSA"], CLAIMS | {"exp": NOW - 600})) == "TOKEN_EXPIRED"


@pytest.mark.parametrize(
    ("claims", "right"),
    [
        ({"token_use": "access", "client_id": AUDIENCE}, True),
        ({"token_use": "id", "aud": AUDIENCE}, True),
        ({"token_use": "access", "aud": AUDIENCE}, False),
        ({"token_use": "id", "client_id": AUDIENCE}, False),
        ({"token_use": "access", "client_id": "other", "aud": AUDIENCE}, False),
        ({"token_use": "id", "aud": [AUDIENCE]}, False),
        ({"token_use": "refresh", "client_id": AUDIENCE, "aud": AUDIENCE}, False),
        ({"client_id": AUDIENCE, "aud": AUDIENCE}, False),
    ],
)
async def test_cognitos_tokens_are_for_the_app_client(claims: dict[str, Any], right: bool) -> None:
    """An access token by its `client_id`, an ID token by its `aud`."""
    body = {name: it for name, it in CLAIMS.items() if name != "aud"} | claims
    found = await admitted(an_identity(cognito=True), make_token(KEYS["RS256"], body))
    assert isinstance(found, Principal) == right


@pytest.mark.parametrize(
    ("subprotocols", "authorization", "query"),
    [
        (["roomcast.v1", "bearer.GOOD"], "", {}),
        (["bearer.GOOD"], "Bearer other", {"token": "other"}),
        ([], "Bearer GOOD", {"token": "other"}),
        ([], "bearer  GOOD", {}),
        (["roomcast.v1"], "", {"token": "GOOD"}),
        ([], "Basic other", {"token": "GOOD"}),
    ],
)
async def test_where_a_token_may_be(subprotocols: list[str], authorization: str, query: dict[str, str]) -> None:
    """In a subprotocol, else in the header, else in the query."""
    token = good("EdDSA")
    handshake = Handshake(
        "c=",
        {name: it.replace("GOOD", token) for name, it in query.items()},
        [it.replace("GOOD", token) for it in subprotocols],
        authorization.replace("GOOD", token),
    )
    assert (await an_identity().admit(handshake)).user == "ada"


async def test_without_a_token_nobody_is_let_in() -> None:
    """401."""
    with pytest.raises(Refused) as refused:
        await an_identity().admit(Handshake("c=", {"userId": "ada"}, ["roomcast.v1"]))
    assert refused.value.code == "UNAUTHENTICATED"


async def test_a_fresh_token_is_the_same_users() -> None:
    """Another's does not lengthen a connection."""
    identity = an_identity()
    assert (await identity.renew("ada", good("RS256"))).expires_at == (NOW + 600) * 1000
    with pytest.raises(Refused) as refused:
        await identity.renew("bob", good("RS256"))
    assert refused.value.code == "FORBIDDEN"
