"""Tokens that end before their connection does."""

from __future__ import annotations

from dataclasses import replace

from domain.errors import Refused
from domain.events import Reauthenticated, encode_event
from domain.ports import Ports
from domain.requests import Reauth
from domain.rooms import lease_end
from domain.tokens import is_over, reconnect_at, rows_end
from services.caller import Caller

__all__ = ["check_token", "reauthenticate"]


async def check_token(ports: Ports, caller: Caller) -> None:
    """`Refused` where the caller's token is over and no fresh one was shown."""
    now = ports.clock.now()
    if is_over(caller.token_expires_at, now):
        row = (await ports.store.session(caller.connection)).connection
        if row is None or row.expires_at <= now:
            raise Refused("TOKEN_EXPIRED", "The token has expired; connect with a fresh one")


async def reauthenticate(ports: Ports, caller: Caller, request: Reauth) -> bytes:
    """Let the connection last as long as the fresh token.

    Its own row first, then what it is a member of by then: a join that has read the old end is refused by its
    transaction, and reads again. Who dies on the way has told nobody, and is asked again.
    """
    store, clock = ports.store, ports.clock
    if ports.identity is None:
        raise Refused("FORBIDDEN", "Nobody here can tell whose token that is")
    principal = await ports.identity.renew(caller.user, request.token)
    if principal.groups != caller.groups:
        # They came with the handshake, and stand in API Gateway's context for as long as the connection.
        raise Refused("FORBIDDEN", "Your groups have changed; connect again")
    row = (await store.session(caller.connection)).connection
    if row is None:
        raise Refused("FORBIDDEN", "This connection has ended; connect again")
    longer = replace(row, expires_at=rows_end(row.connected_at, principal.expires_at))
    await store.lengthen(caller.connection, longer.expires_at, lease_end(longer, clock.now()))
    session = await store.session(caller.connection)
    if session.connection is None:
        raise Refused("FORBIDDEN", "This connection has ended; connect again")
    for it in session.memberships:
        await store.lengthen_membership(caller.connection, it, session.connection.expires_at)
    return encode_event(
        Reauthenticated(
            client_id=request.client_id,
            reconnect_at=reconnect_at(row.connected_at, principal.expires_at, clock.now(), ports.draw),
        )
    )
