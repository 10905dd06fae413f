"""Users by their tokens, on the whole twin: the emulator's Cognito signs, the authorizer verifies, browsers connect."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from client.connection import connect
from domain.events import Chat
from domain.policy import ADMINS
from domain.tokens import TOKEN_LEEWAY_MS
from local.access import Access
from local.twin import Twin
from ops.stage import Deployment, StageError, find_twin
from ops.user_pool import create_user, sign_in
from tests.e2e.people import PATIENCE, Person
from tests.javascript import built, node, passed
from tests.unit.adapters.issuers import KEYS, make_token
from tests.unit.ops.test_command import roomcast

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "https://chat.example.org"
PASSWORD = "Correct-horse-7"
BODY = "planted-body-5f0c"
EMAIL = "planted.ada.91b7@example.org"


@dataclass(frozen=True, slots=True)
class Stage:
    """A twin with a user pool and one page that may connect, and its users ada (an admin) and bob."""

    twin: Twin
    folder: Path
    where: Deployment
    tokens: dict[str, dict[str, Any]]
    """User → what Cognito gave them: AccessToken, IdToken."""

    def forged(self, token: str, use: str, **claims: Any) -> str:
        """What the pool itself would sign, with other claims."""
        pem = self.folder / "stored" / "cognito-pool-keys" / f"{self.where.user_pool}-{use}.pem"
        kid = jwt.get_unverified_header(token)["kid"]
        said = jwt.decode(token, options={"verify_signature": False})
        return jwt.encode({**said, **claims}, pem.read_bytes(), "RS256", headers={"kid": kid})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("tokens")
    async with Twin(state=folder, access=Access("cognito", origins=(PAGE,))) as twin:

        def users() -> tuple[Deployment, dict[str, dict[str, Any]]]:
            where = find_twin(twin.ws_url)
            for name, groups in (("ada", [ADMINS]), ("bob", [])):
                create_user(where, name, PASSWORD, groups)
            email = [{"Name": "email", "Value": EMAIL}]
            where.client("cognito-idp").admin_update_user_attributes(
                UserPoolId=where.user_pool, Username="ada", UserAttributes=email
            )
            return where, {name: dict(sign_in(where, name, PASSWORD)) for name in ("ada", "bob")}

        where, tokens = await asyncio.to_thread(users)
        yield Stage(twin, folder, where, tokens)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return built(tmp_path)


@asynccontextmanager
async def browser(stage: Stage, token: str, *, origin: str | None = PAGE, room: str = "tea") -> AsyncIterator[Person]:
    """A page's socket: the token in a subprotocol, since a page can set no header."""
    socket = await open_socket(
        f"{stage.twin.ws_url}?{urlencode({'roomId': room})}",
        subprotocols=[Subprotocol("roomcast.v1"), Subprotocol(f"bearer.{token}")],
        origin=Origin(origin) if origin is not None else None,
        compression=None,
        open_timeout=PATIENCE,
    )
    assert socket.subprotocol == "roomcast.v1"
    someone = Person(socket, "page")
    try:
        await someone.until(lambda: bool(someone.seen("welcome")))
        yield someone
    finally:
        await someone.leave()


async def status(stage: Stage, token: str, *, origin: str | None = PAGE, query: str = "") -> int:
    """The status that refuses a handshake; 101 where none does."""
    offered = [Subprotocol("roomcast.v1"), *([Subprotocol(f"bearer.{token}")] if token else [])]
    try:
        socket = await open_socket(
            f"{stage.twin.ws_url}?{query}",
            subprotocols=offered,
            origin=Origin(origin) if origin is not None else None,
            compression=None,
            open_timeout=PATIENCE,
        )
    except InvalidStatus as error:
        return error.response.status_code
    await socket.close()
    return 101


async def test_users_chat_from_their_pages(stage: Stage) -> None:
    """Each is who Cognito says, by either token."""
    ada_token, bob_token = stage.tokens["ada"]["AccessToken"], stage.tokens["bob"]["IdToken"]
    async with browser(stage, ada_token) as ada, browser(stage, bob_token) as bob:
        await ada.say("hello", "tea")
        await bob.hears("hello")
        [chat] = bob.seen("chat")
        said = jwt.decode(ada_token, options={"verify_signature": False})
        assert (chat["senderId"], chat["senderName"]) == (said["sub"], "ada")
        assert ada.seen("welcome")[0]["reconnectAt"] < said["exp"] * 1000


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (PAGE, 101),
        (None, 101),
        ("null", 403),
        ("https://evil.net", 403),
        (f"{PAGE}:8443", 403),
        (f"{PAGE}.evil.net", 403),
    ],
)
async def test_pages_of_other_origins_are_refused(stage: Stage, origin: str | None, expected: int) -> None:
    """With a good token, too."""
    assert await status(stage, stage.tokens["ada"]["AccessToken"], origin=origin) == expected


async def test_no_other_token_is_let_in(stage: Stage) -> None:
    """401 for none, for one of the demo's, for another's signature, and for the pool's own that have expired or are for
    another client; 403 for another user's name."""
    good, now = stage.tokens["ada"]["AccessToken"], int(time.time())
    head, body, signature = good.split(".")
    leeway = TOKEN_LEEWAY_MS // 1000
    for token in (
        "",
        "valid_1",
        f"{head}.{body}.{signature[::-1]}",
        f"{head}.{stage.tokens['bob']['AccessToken'].split('.')[1]}.{signature}",
        stage.forged(good, "access", exp=now - leeway - 1),
        stage.forged(good, "access", client_id="another"),
        stage.forged(good, "access", iss="https://cognito-idp.us-east-1.amazonaws.com/us-east-1_other"),
        stage.forged(good, "access", token_use="refresh"),
    ):
        assert await status(stage, token) == 401, token
    assert await status(stage, good, query="userId=bob") == 403
    assert await status(stage, stage.forged(good, "access", exp=now + 30)) == 101


async def test_a_fresh_token_is_shown_to_the_functions(stage: Stage) -> None:
    """`reauth` is verified by the message function, and lengthens what the store holds."""
    short = stage.forged(stage.tokens["ada"]["AccessToken"], "access", exp=int(time.time()) + 45)
    async with browser(stage, short) as ada:
        reply = await ada.ask(type="reauth", token=stage.tokens["ada"]["AccessToken"])
        assert reply["type"] == "reauthenticated"
        assert reply["data"]["reconnectAt"] > ada.seen("welcome")[0]["reconnectAt"] + 600_000
        refused = await ada.ask(type="reauth", token=stage.tokens["bob"]["AccessToken"])
        assert refused["data"]["code"] == "FORBIDDEN"
        await ada.say("still here", "tea")


@pytest.mark.slow
async def test_the_command_signs_in(stage: Stage) -> None:
    """`roomcast user` makes a user, tells who they are, and prints the token alone, which lets them in."""
    url = ("--url", stage.twin.ws_url)
    status_, out, err = await roomcast("user", "create", "cid", "--group", "moderator", "--json", *url)
    assert status_ == 0, err
    made = json.loads(out)
    assert made["groups"] == ["moderator"]
    status_, out, err = await roomcast("user", "login", "cid", "--json", *url, typed=f"{made['password']}\n")
    assert status_ == 0, err
    assert (json.loads(out)["user"], json.loads(out)["groups"]) == (made["user"], ["moderator"])
    status_, out, err = await roomcast("user", "token", "cid", *url, typed=f"{made['password']}\n")
    assert (status_, out.count("\n")) == (0, 1), err
    async with connect(stage.twin.ws_url, token=out.strip(), room="tea") as me:
        assert (await me.send("tea", "by the command")).seq > 0
    status_, out, err = await roomcast("user", "token", "cid", *url, typed="wrong\n")
    assert (status_, out) == (1, "")
    assert "no cid with that password" in err
    status_, out, err = await roomcast("user", "create", "dan", "--group", "boss", *url)
    assert (status_, out) == (2, "")


async def test_a_planted_token_is_written_nowhere(stage: Stage) -> None:
    """Tokens shown in every way, good and bad, while messages flow and jobs fail: none is in a log, a queue, a table or
    what the twin says of itself. Nor are bodies and e-mail addresses, but for the tables, which hold the bodies."""
    good = stage.tokens["ada"]["IdToken"]
    expired = stage.forged(good, "id", exp=int(time.time()) - 600)
    planted = [good, expired, stage.tokens["bob"]["AccessToken"], f"{good[:-8]}forgery0", "stolen-token-7aa1"]
    async with AsyncExitStack() as stack:
        ada = await stack.enter_async_context(browser(stage, good, room="planted"))
        bob = await stack.enter_async_context(connect(stage.twin.ws_url, token=planted[2], room="planted"))
        for token in planted[1:]:
            await status(stage, token)
            await status(stage, "", query=urlencode({"token": token}))
            assert (await ada.ask(type="reauth", token=token))["type"] == "error"
        assert (await ada.ask(type="reauth", token=good))["type"] == "reauthenticated"
        for number in range(50):
            await ada.say(f"{BODY} {EMAIL} {number}", "planted")
        await ada.socket.send(f'{{"type":"reauth","token":"{good}","more":1}}')
        await ada.socket.send(f'{{"type":"reauth","token":"{good}"')
        queues = stage.where.queues
        await stage.twin.cloud.sqs.send_message(
            QueueUrl=queues["interactive"],
            MessageBody='{"kind":"doorbell","said":"nonsense"}',
            MessageGroupId="poison",
            MessageDeduplicationId="poison",
        )
        heard = 0
        async for event in bob.events():
            heard += isinstance(event, Chat)
            if heard == 50:
                break
        depths = await stage.twin.cloud.queue_depths()
        while not depths["interactive"].dead:
            depths = await stage.twin.cloud.queue_depths()
        tables = [json.dumps(it) async for it in _rows(stage)]
        written = {
            **{str(it): it.read_text(errors="replace") for it in _logs(stage)},
            "status": json.dumps(await stage.twin.status()),
            **{url: await _bodies(stage, url) for url in (*queues.values(), *stage.where.dead_letter_queues.values())},
        }
    assert any(BODY in it for it in tables), "nothing was written where everything should be"
    assert sum(len(it) for it in written.values()) > 10_000
    secrets = [part for token in planted for part in {token, *token.split(".")[1:]} if len(part) > 15]
    for secret in secrets:
        assert [name for name, it in written.items() if secret in it] == []
        assert not any(secret in it for it in tables)
    for secret in (BODY, EMAIL):
        assert [name for name, it in written.items() if secret in it] == []


def _logs(stage: Stage) -> Iterator[Path]:
    found = [*(stage.folder / "logs").iterdir(), stage.folder / "cloud.log"]
    assert len(found) > 8
    yield from found


async def _rows(stage: Stage) -> AsyncIterator[Any]:
    """Every row of every table: a test may scan."""
    dynamodb = stage.twin.cloud.dynamodb
    for table in (await dynamodb.list_tables())["TableNames"]:
        async for page in dynamodb.get_paginator("scan").paginate(TableName=table):
            for it in page["Items"]:
                yield it


async def _bodies(stage: Stage, url: str) -> str:
    """What waits in a queue."""
    received = await stage.twin.cloud.sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0, WaitTimeSeconds=0
    )
    return json.dumps([it["Body"] for it in received.get("Messages", ())])


async def test_the_javascript_client_shows_a_fresh_token(stage: Stage, package: Path) -> None:
    """At each handshake; one that has expired ends it with 401."""
    good, now = stage.tokens["ada"]["AccessToken"], int(time.time())
    tokens = (good, *(stage.forged(good, "access", exp=now + seconds) for seconds in (600, -600)))
    given = {"ROOMCAST_URL": stage.twin.ws_url, "TOKENS": " ".join(tokens)}
    passed(await asyncio.to_thread(node, package, "--test", "e2e/token.test.js", env=given))


@pytest.mark.slow
async def test_any_issuer_will_do(tmp_path: Path) -> None:
    """`roomcast up --auth oidc`: the issuer's discovery document says where its keys are. While it is away and none are
    known a handshake is answered with 500; a few seconds after it is back, users are let in."""
    key = KEYS["ES256"]
    documents: dict[str, Any] = {}

    async def answer(request: web.Request) -> web.Response:
        found = documents.get(request.path)
        return web.json_response(found) if found is not None else web.Response(status=503)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        issuer = f"http://127.0.0.1:{runner.addresses[0][1]}/issuer"
        async with Twin(state=tmp_path, access=Access("oidc", issuer=issuer, audience="roomcast")) as twin:
            where = Stage(twin, tmp_path, await asyncio.to_thread(find_twin, twin.ws_url), {})
            claims = {"iss": issuer, "aud": "roomcast", "exp": int(time.time()) + 600, "sub": "ada", "name": "Ada"}
            token = make_token(key, claims)
            assert await status(where, token) == 500
            documents["/issuer/.well-known/openid-configuration"] = {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}
            documents["/issuer/keys"] = {"keys": [key.jwk()]}
            async with asyncio.timeout(PATIENCE):
                while (answered := await status(where, token)) != 101:
                    assert answered == 500
            assert await status(where, make_token(key, {**claims, "aud": "another"})) in {401, 500}
            with pytest.raises(StageError, match="no user pool"):
                await asyncio.to_thread(create_user, where.where, "ada", PASSWORD, [])
    finally:
        await runner.cleanup()
