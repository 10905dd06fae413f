"""The deployment's own review of messages: a function that is named in its settings, and what holds when it fails."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
from dataclasses import replace

from adapters.observability import emit, logger
from adapters.settings import Settings
from domain.errors import BadSetting, Refused
from domain.ports import Ports, Review
from domain.protocol import MESSAGE_LIMIT
from domain.review import Allow, Refuse, Replace, Reviewer, Verdict
from services.word_filter import word_filter

__all__ = ["PluggedReview", "plugged_review", "reviewing_services"]

DEADLINE = 0.2
"""Seconds that a review may take: the sender waits for it."""
RETRY_AFTER = 1.0
"""Seconds after which a message that could not be reviewed should be sent again."""
REASON_LIMIT = 500
"""Characters of a reason that the sender is told."""


class PluggedReview(Review):
    """A function's review. Where it raises, is late, or says nothing that can be stored, that is counted and logged,
    and `fails` decides: `open` stores the message as it is, `closed` lets its client send it again."""

    def __init__(self, reviewer: Reviewer, fails: str = "closed", deadline: float = DEADLINE) -> None:
        self._reviewer = reviewer
        self._fails = fails
        self._deadline = deadline

    async def review(self, room: str, user: str, text: str) -> str:
        try:
            async with asyncio.timeout(self._deadline):
                verdict = _checked(await self._ask(room, user, text))
        except Exception as error:  # it is not our code: whatever it raises must not decide what a client is answered
            # Neither its words, which may quote the message, nor whom it is about.
            logger.warning("a message could not be reviewed", error=type(error).__name__, fails=self._fails)
            emit("ReviewsFailed", 1)
            if self._fails == "open":
                return text
            raise Refused(
                "INTERNAL", "The message could not be reviewed; send the same request again", retry_after=RETRY_AFTER
            ) from None
        match verdict:
            case Refuse(reason):
                raise Refused("REJECTED", reason[:REASON_LIMIT])
            case Replace(other):
                return other
            case Allow():
                return text

    async def _ask(self, room: str, user: str, text: str) -> object:
        if inspect.iscoroutinefunction(self._reviewer):
            return await self._reviewer(room, user, text)
        # In a thread, since one that blocks could not be left at the deadline; what it does then is its own affair.
        verdict = await asyncio.to_thread(self._reviewer, room, user, text)
        return await verdict if inspect.isawaitable(verdict) else verdict


@functools.cache
def plugged_review(review: str, words: str, fails: str) -> PluggedReview | None:
    """What a deployment's settings ask for, imported once; None where they ask for nothing. Raises `BadSetting`."""
    if review and words:
        raise BadSetting("settings review and review_words: only one of them can be; have the function look for words")
    if words:
        return PluggedReview(word_filter(words), fails)
    return PluggedReview(_imported(review), fails) if review else None


def reviewing_services(ports: Ports, settings: Settings) -> Ports:
    """With the deployment's review, if it is for what no user says as well."""
    if not settings.review_services:
        return ports
    return replace(ports, review=plugged_review(settings.review, settings.review_words, settings.review_fails))


def _imported(setting: str) -> Reviewer:
    module, colon, attribute = setting.partition(":")
    remedy = "write MODULE:FUNCTION, the module in the folder hooks/, e.g. hooks.language:review"
    if not (module and colon and attribute):
        raise BadSetting(f"setting review={setting}: {remedy}")
    try:
        reviewer: Reviewer = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may do anything when it is imported
        raise BadSetting(f"setting review={setting}: it can't be imported ({error}); {remedy}") from error
    if not callable(reviewer):
        raise BadSetting(f"setting review={setting}: that is no function; {remedy}")
    return reviewer


def _checked(verdict: object) -> Verdict:
    """The verdict, if it is one and leaves a message that may be stored."""
    if not isinstance(verdict, Allow | Refuse | Replace):
        raise TypeError(f"a review returns Allow, Refuse or Replace, not {type(verdict).__name__}")
    if isinstance(verdict, Refuse) and not isinstance(verdict.reason, str):
        raise TypeError("a reason is a text")
    if isinstance(verdict, Replace) and not (verdict.text.strip() and len(verdict.text.encode()) <= MESSAGE_LIMIT):
        raise ValueError("a replacement is not empty, and no longer than a message may be")
    return verdict
