"""The topic of notices on SNS. What a message and its attributes are is in `domain/notices.py`.

The client must not retry by itself: a notice that was not taken comes again with its job.
"""

from __future__ import annotations

import asyncio
from typing import Any

from botocore.exceptions import ClientError

from adapters.aws import NO_ANSWER, answered_status, error_code
from domain.errors import Unavailable
from domain.notices import OfflineNotice, notice_attributes, notice_text
from domain.ports import Clock, Publisher

__all__ = ["RESPITE", "SnsPublisher", "topic_name"]

RESPITE = 5.0
"""Seconds for which SNS is not asked again once it gave no answer in time: each wait holds up a whole batch of a lane
that has more to do than this."""


def topic_name(prefix: str) -> str:
    """The topic's in the deployment called `prefix`."""
    return f"{prefix}-notices"


class SnsPublisher(Publisher):
    """A topic on an SNS client. `topic`: its ARN."""

    def __init__(self, client: Any, topic: str, clock: Clock) -> None:
        self._client = client
        self._topic = topic
        self._clock = clock
        self._rests_until = 0.0

    async def publish(self, notice: OfflineNotice, deadline: float) -> None:
        if self._clock.monotonic() < self._rests_until:
            raise Unavailable("SNS gave no answer a moment ago")
        attributes = {
            name: {"DataType": "String", "StringValue": value} for name, value in notice_attributes(notice).items()
        }
        try:
            async with asyncio.timeout(deadline):
                await self._client.publish(
                    TopicArn=self._topic, Message=notice_text(notice), MessageAttributes=attributes
                )
        except ClientError as error:
            if error_code(error) in _UNAVAILABLE or answered_status(error) >= 500:
                raise Unavailable(f"{error.operation_name}: {error_code(error)}") from error
            raise
        except (TimeoutError, *NO_ANSWER) as error:
            self._rests_until = self._clock.monotonic() + RESPITE
            raise Unavailable(f"Publish: {type(error).__name__}") from error


_UNAVAILABLE = {"InternalError", "KMSThrottling", "Throttled", "Throttling", "ThrottlingException"}
"""Answers that mean: not now. So do all with a status of 500 and above; any other error is a fault of ours."""
