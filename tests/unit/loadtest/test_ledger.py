"""The ledger's own decisions: when a message is sent again."""

from __future__ import annotations

import random

from loadtest.clients import LoadClient
from loadtest.ledger import REPLY_WITHIN, Ledger
from loadtest.plan import Plan, plan_messages
from loadtest.share import senders_of

GATEWAY_ERROR = b'{"message":"Too Many Requests","connectionId":"c","requestId":"r"}'


def test_a_request_beyond_the_gateways_rate_is_sent_again_at_once() -> None:
    """As the SDK does: the gateway's error names no request, so all that the client waits for goes out again, and what
    others wait for does not."""
    plan = Plan("ws://h", clients=2, rooms=1, rate=4, seconds=1, name="x")
    ledger = Ledger(random.Random(0))
    ledger.open(plan_messages(plan, senders_of(plan, ()), start=10.0))
    for message in ledger.messages:
        ledger.under_way[message.client_id] = message
        message.tries, message.again_at = 1, 10.0 + REPLY_WITHIN
    ledger.stumbled(0, 10.0)
    again = {it.sender: it.again_at for it in ledger.messages}
    assert 10.0 <= again[0] <= 10.2
    assert again[1] == 10.0 + REPLY_WITHIN


def test_a_client_reports_the_gateways_error() -> None:
    """It is no event, and nobody else's."""
    plan = Plan("ws://h", clients=1, rooms=1, rate=1, seconds=1, name="x")
    stumbled: list[int] = []

    class Desk(Ledger):
        def stumbled(self, client: int, now: float) -> None:
            stumbled.append(client)

    client = LoadClient(0, plan, Desk(random.Random(0)), random.Random(0))
    client.received(GATEWAY_ERROR)
    client.received(b'{"message":"not the gateway\'s"}')
    assert stumbled == [0]
