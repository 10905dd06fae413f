"""Every error that roomcast raises on purpose.

    RoomcastError
    ├── Refused             a client's request is answered with an `error` event (or a refused handshake)
    ├── BadSetting          an operator's setting is nonsense; the message names it and the remedy
    ├── UnreadableJob       a queue record that no worker can ever read: the dead-letter queue's
    ├── NewerVersion        a queue record, or an object, for a worker of a later release: it comes again
    ├── UnreadableObject    an object of the archive, or a change for it, that is none: it is kept aside
    ├── Conflict            what a transaction read has moved, or another one holds it: read again
    ├── Unavailable         a dependency throttled, timed out or failed; it may have done the work or not
    └── PostError           one post to one connection was not delivered
        ├── ConnectionGone  there is no such connection (410)
        ├── Throttled       the account's rate, or this client's buffer, is exhausted (429)
        └── PostFailed      anything else: refused, failed, or no answer in time; says nothing about the connection

`code` names the kind for machines; `retryable` says whether the same call may succeed later.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BadSetting",
    "Conflict",
    "ConnectionGone",
    "NewerVersion",
    "PostError",
    "PostFailed",
    "Refused",
    "RoomcastError",
    "Throttled",
    "Unavailable",
    "UnreadableJob",
    "UnreadableObject",
]


class RoomcastError(Exception):
    """The root of the tree above."""

    code: str = "INTERNAL"
    retryable: ClassVar[bool] = False


class Refused(RoomcastError):
    """A request that is answered with an error. `message` is shown to the client and never names an inner thing."""

    def __init__(self, code: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after = retry_after
        """Seconds after which the same request may succeed; None where it can't."""


class BadSetting(RoomcastError):
    """A setting that can't be used; the text names the setting, what is wrong, and what would be right."""

    code = "BAD_SETTING"


class UnreadableJob(RoomcastError):
    """A queue record that is no job, or one of a version that is read no more."""

    code = "UNREADABLE_JOB"


class NewerVersion(RoomcastError):
    """A queue record or object in a form that a later release reads: no poison, that release is on its way."""

    code = "NEWER_VERSION"
    retryable = True


class UnreadableObject(RoomcastError):
    """What is no object of the archive, or no change of an entry's row that this release reads."""

    code = "UNREADABLE_OBJECT"


class Conflict(RoomcastError):
    """A conditional write found another state than was read. Nothing was written; read again and decide anew."""

    code = "CONFLICT"
    retryable = True


class Unavailable(RoomcastError):
    """A dependency did not answer, or said not now. The effect may have happened: only idempotent calls go again."""

    code = "UNAVAILABLE"
    retryable = True


class PostError(RoomcastError):
    """A frame was not delivered to a connection."""

    code = "POST_FAILED"
    retryable = True


class ConnectionGone(PostError):
    """No such connection: closed, never opened, or its handshake is still pending."""

    code = "GONE"


class Throttled(PostError):
    """The account's request rate or this one client's buffer is exhausted."""

    code = "THROTTLED"


class PostFailed(PostError):
    """The post failed for a reason that says nothing about the connection: 400, 403, 413, 5xx, or a time-out."""
