"""The topic of notices as the simulation has it, and what must be so of what went there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from adapters.memory import MemoryPublisher
from domain.notices import NOTICE_EVERY_MS, OfflineNotice
from tests.simulation.chaos import LONGEST_PAUSE
from tests.simulation.clients import Client, Life

if TYPE_CHECKING:
    from tests.simulation.service import Service

__all__ = ["Sent", "Topic", "told_wrong"]

SLACK_MS = 30_000
"""What may lie between a claim and its publish: tries of a job, and effects that come late. Pauses aside."""

LOOKED_MS = 8_000
"""What may lie between a look at who is here and the publish: one that comes late. Pauses aside."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A notice, and when the topic took it, in milliseconds since 1970."""

    notice: OfflineNotice
    at: int


class Topic(MemoryPublisher):
    """It remembers when it took what."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.sent: list[Sent] = []
        self._service = service

    async def publish(self, notice: OfflineNotice, deadline: float) -> None:
        await self._service.chaos.answer()
        await super().publish(notice, deadline)
        self.sent.append(Sent(notice, self._service.clock.now()))
        self._service.note("notice", notice.user_id, "of", notice.sender_id, notice.seq)


def told_wrong(service: Service, clients: Mapping[str, Client]) -> Iterator[str]:
    """In words: whoever was not told in time, and whoever was told what they should not have been."""
    told: dict[tuple[str, str], list[Sent]] = defaultdict(list)
    for it in service.topic.sent:
        told[it.notice.user_id, it.notice.sender_id].append(it)
    yield from _untold(service, clients, told)
    for (user, sender), sent in told.items():
        client = clients[user]
        for it in sent:
            if client.quiet_since is not None and it.notice.at > client.quiet_since:
                yield f"{user} wants no notices, and got that of {sender}'s {it.notice.seq}"
            looked = it.at - LOOKED_MS - (LONGEST_PAUSE * 1000 if service.chaos.pauses else 0)
            if any(_is_here(life, looked, it.at) for life in client.lives):
                yield f"{user} was here again, and got a notice of {sender}'s {it.notice.seq}"
        if not service.chaos.pauses:
            first: dict[int, int] = {}
            for it in sent:
                first.setdefault(it.notice.seq, it.at)
            moments = sorted(first.values())
            for before, after in pairwise(moments):
                if after - before < NOTICE_EVERY_MS - SLACK_MS:
                    yield f"{user} got two notices about {sender} within {(after - before) / 1000:.1f} s"


def _is_here(life: Life, since: float, until: int) -> bool:
    return life.opened_at <= since and life.gone_at >= until and life.socket.outlived_by(until) < 0


def _untold(
    service: Service, clients: Mapping[str, Client], told: Mapping[tuple[str, str], list[Sent]]
) -> Iterator[str]:
    """Of every private message that was acknowledged to say that its target is not here, who has stayed away since."""
    for client in clients.values():
        for client_id, said in client.said.items():
            if said.ack is None or said.ack.online is not False:
                continue
            own = service.entry(said.ack.room_id, said.ack.epoch, said.ack.seq)
            if own is None or own.body["targetUserId"] not in clients:
                continue
            target = clients[own.body["targetUserId"]]
            if target.asked_for_quiet or service.store.came.get(target.user, 0) >= own.at:
                continue
            earliest = own.at - NOTICE_EVERY_MS - SLACK_MS
            # A claim that took effect after its worker had given it up, and the user was back, is nobody's to release.
            held = service.notices._last.get((target.user, client.user))
            if service.chaos.trailed and held is not None and not held[2] and earliest <= held[1] < own.at:
                continue
            if not any(it.at >= earliest for it in told.get((target.user, client.user), ())):
                yield f"{target.name} is away, and was never told of {client_id}"
