"""The dashboard: a live desk at `/dashboard` of the twin, for whoever sits at this machine.

    GET  /dashboard, .js, .css      the page
    GET  /dashboard/live            what the twin is doing, as server-sent events
    GET  /dashboard/knobs           the settings that may be turned, with their bounds
    POST /dashboard/lanes/LANE      turn some of a lane's
    POST /dashboard/kill            a worker dies
    POST /dashboard/drop            connections break
    POST /dashboard/throttle        the account's rate
    POST /dashboard/clients         simulated clients come, or go

It breaks things on purpose, so no page of another site may reach it through a browser that runs here: the request's
`Host` must be loopback's, by name or number, and its `Origin`, if it has one, the same. A POST must say that it is
JSON, which a form can't. docs/dashboard.md describes each.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from aiohttp import web
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Meta, Struct

from adapters.runtime import SystemClock
from domain.errors import BadSetting
from domain.lanes import Lane
from domain.ports import Clock
from local.census import Census
from local.functions import InvocationFailed
from local.knobs import knobs_of
from local.live import Live, Watched
from local.page import answer as page
from local.visitors import VISITORS_LIMIT, Visitors

__all__ = ["Dashboard"]

ROOT = "/dashboard"
LANES = f"{ROOT}/lanes/"
BODY_LIMIT = 16 * 1024
"""Bytes of a request."""
ROOM_SIZE = 100
"""Simulated clients in a room, unless a request says how many rooms there are."""

Retune = Callable[[str, Mapping[str, Any]], Awaitable[Lane]]
"""Lane, and the settings to turn → the lane as it is then. Raises `BadSetting`."""

_Body = TypeVar("_Body")


class _Kill(Struct, frozen=True, forbid_unknown_fields=True):
    lane: str


class _Drop(Struct, frozen=True, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=1, le=100_000)]


class _Throttle(Struct, frozen=True, forbid_unknown_fields=True):
    rate: Annotated[float, Meta(ge=1, le=100_000)] | None
    """None: what the twin began with."""
    burst: Annotated[float, Meta(ge=1, le=100_000)] | None = None
    """None: as many as a second's."""


class _Clients(Struct, frozen=True, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=0, le=VISITORS_LIMIT)]
    """0: they all go."""
    rooms: Annotated[int, Meta(ge=1, le=VISITORS_LIMIT)] | None = None
    rate: Annotated[float, Meta(gt=0, le=1_000)] | None = None
    """Messages a second in all; None: one in each room."""


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Dashboard:
    """Answers what begins with `/dashboard`."""

    def __init__(
        self,
        twin: Watched,
        retune: Retune,
        census: Census,
        visitors: Visitors,
        *,
        usual: tuple[float, float],
        auth: str = "demo",
        clock: Clock | None = None,
    ) -> None:
        """`retune`: what gives a lane other settings. `usual`: the account's rate and bucket, unless it is throttled.
        `auth`: how the twin knows its users; simulated clients can say who they are only in `demo`."""
        self._live = Live(twin, census, visitors, usual[0], clock or SystemClock())
        self._twin = twin
        self._retune = retune
        self._usual = usual
        self._visitors = visitors
        self._auth = auth

    async def stop(self) -> None:
        """Let nobody watch any more, and send the simulated clients away."""
        self._live.stop()
        await self._visitors.send_away()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            self._admit(request)
            return await self._answer(request, unquote(request.raw_path.partition("?")[0]))
        except _Refused as error:
            return web.json_response({"message": str(error)}, status=error.status)
        except BadSetting as error:
            return web.json_response({"message": str(error)}, status=400)
        except (InvocationFailed, BotoCoreError, ClientError) as error:
            return web.json_response({"message": f"the twin could not do it, try again: {error}"}, status=503)

    # ---- private

    def _admit(self, request: web.BaseRequest) -> None:
        """Raises `_Refused` for what did not come from this machine's own page, or from a program here."""
        port = urlsplit(self._twin.gateway.page_url).port
        hosts = {f"{it}:{port}" for it in ("127.0.0.1", "localhost")}
        host = request.headers.get("Host", "")
        if host not in hosts:
            raise _Refused(403, f"the dashboard answers to 127.0.0.1:{port} and localhost:{port} alone")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise _Refused(403, f"the dashboard answers to its own page alone, and not to that of {origin}")

    async def _answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if request.method == "GET":
            if path == f"{ROOT}/live":
                return await self._stream(request)
            if path == f"{ROOT}/knobs":
                return _json({"lanes": {name: knobs_of(it) for name, it in self._twin.lanes.items()}})
            shown = page(path, self._twin.gateway.ws_url)
            if shown is None:
                raise _Refused(404, f"there is nothing at {path}")
            return shown
        if request.method != "POST":
            raise _Refused(405, f"{request.method} is not allowed: GET what is, POST what is to be")
        if path.startswith(LANES):
            return _json(await self._turn(path.removeprefix(LANES), await _read(request, dict[str, Any])))
        if path not in _ACTIONS:
            raise _Refused(404, f"there is nothing to do at {path}")
        return _json(await _ACTIONS[path](self, request))

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        async with aclosing(self._live.watch()) as states:
            async for it in states:
                try:
                    await response.write(b"data: " + json.dumps(it).encode() + b"\n\n")
                except ConnectionError:  # who watched has gone
                    break
        return response

    async def _turn(self, name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        self._lane(name)
        lane = await self._retune(name, changes)
        settings = {it: getattr(lane, it) for it in changes}
        self._live.happened("lane", f"{name}: " + ", ".join(f"{it} {value:g}" for it, value in settings.items()))
        return {"lane": msgspec.to_builtins(lane)}

    async def _kill(self, request: web.BaseRequest) -> dict[str, Any]:
        name = (await _read(request, _Kill)).lane
        self._lane(name)
        pid = self._twin.functions[name].kill_one()
        if pid is None:
            raise _Refused(409, f"{name} has no worker up: one starts with its next batch")
        self._live.happened("worker_killed", f"{name}: worker {pid} was killed")
        return {"pid": pid}

    async def _drop(self, request: web.BaseRequest) -> dict[str, Any]:
        dropped = self._twin.gateway.drop((await _read(request, _Drop)).count)
        self._live.happened("dropped", f"{dropped} connections were cut without a close frame")
        return {"dropped": dropped}

    async def _throttle(self, request: web.BaseRequest) -> dict[str, Any]:
        asked = await _read(request, _Throttle)
        if asked.rate is None:
            rate, burst = self._usual
            self._live.happened("unthrottled", f"the account has its {rate:g} requests a second again")
        else:
            rate, burst = asked.rate, asked.burst or asked.rate
            self._live.happened("throttled", f"the account has {rate:g} requests a second, {burst:g} at once")
        self._twin.gateway.throttle(rate, burst)
        return {"rate": rate, "burst": burst}

    async def _clients(self, request: web.BaseRequest) -> dict[str, Any]:
        asked, visitors = await _read(request, _Clients), self._visitors
        if not asked.count:
            await visitors.send_away()
            self._live.happened("clients", "the simulated clients were sent away")
            return {"count": 0}
        if self._auth != "demo":
            raise _Refused(409, f"simulated clients have no tokens, which auth {self._auth} asks for: start with demo")
        if visitors.count + asked.count > VISITORS_LIMIT:
            free = VISITORS_LIMIT - visitors.count
            raise _Refused(
                400, f"count: at most {VISITORS_LIMIT:,} in all, {free:,} more; send those away with count 0"
            )
        rooms = asked.rooms or -(-asked.count // ROOM_SIZE)
        if rooms > asked.count:
            raise _Refused(400, f"rooms: {rooms} is more than there are clients; at most {asked.count}")
        rate = asked.rate or float(rooms)
        count = await visitors.add(self._twin.gateway.ws_url, asked.count, rooms=rooms, rate=rate)
        words = f"{asked.count} simulated clients come, to {rooms} rooms, in which they say {rate:g} a second"
        self._live.happened("clients", words)
        return {"count": count}

    def _lane(self, name: str) -> None:
        if name not in self._twin.lanes:
            raise _Refused(404, f"there is no lane '{name}'; the lanes are {', '.join(self._twin.lanes)}")


_ACTIONS: Mapping[str, Callable[[Dashboard, web.BaseRequest], Awaitable[dict[str, Any]]]] = {
    f"{ROOT}/kill": Dashboard._kill,
    f"{ROOT}/drop": Dashboard._drop,
    f"{ROOT}/throttle": Dashboard._throttle,
    f"{ROOT}/clients": Dashboard._clients,
}


async def _read(request: web.BaseRequest, kind: type[_Body]) -> _Body:
    """The body. Raises `_Refused`, naming the field."""
    if request.content_type != "application/json":
        raise _Refused(415, "send JSON, and say so: Content-Type: application/json")
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        body = bytes(BODY_LIMIT + 1)
    if len(body) > BODY_LIMIT:
        raise _Refused(413, f"at most {BODY_LIMIT:,} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        what, _, where = str(error).partition(" - at `$")
        raise _Refused(400, f"{where.strip('.`') or 'body'}: {what[:1].lower()}{what[1:]}") from None


def _json(content: Any) -> web.Response:
    return web.json_response(content, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
