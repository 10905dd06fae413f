"""The archive in a bucket of S3. What its objects are is in `domain/archive.py`.

A conditional put is tried again by the client as any call is: one whose answer was lost finds what it has put itself,
and is told of a conflict.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import ClientError as BrokenOff
from botocore.exceptions import ClientError

from adapters.aws import NO_ANSWER, answered_status, error_code
from domain.errors import Conflict, Unavailable
from domain.ports import Archive, StoredObject

__all__ = ["S3Archive", "bucket_name"]

CONTENT_TYPE = "application/zstd"


def bucket_name(prefix: str, account: str, region: str) -> str:
    """The bucket of the archive of the deployment called `prefix`: the names of all accounts' buckets are one space."""
    return f"{prefix}-archive-{account}-{region}"


class S3Archive(Archive):
    """A bucket on an S3 client, whose own retries stay on."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def names(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        more: dict[str, str] = {"StartAfter": after} if after else {}
        while True:
            with _translated():
                page = await self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, **more)
            for it in page.get("Contents", ()):
                yield it["Key"]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def read(self, name: str) -> StoredObject | None:
        with _translated():
            try:
                answer = await self._client.get_object(Bucket=self._bucket, Key=name)
            except ClientError as error:
                if error_code(error) != "NoSuchKey":
                    raise
                return None
            async with answer["Body"] as body:
                return StoredObject(await body.read(), answer["ETag"])

    async def put(self, name: str, content: bytes, *, replaces: StoredObject | None) -> None:
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces.version}
        with _translated():
            await self._client.put_object(
                Bucket=self._bucket, Key=name, Body=content, ContentType=CONTENT_TYPE, **condition
            )

    async def delete(self, name: str) -> None:
        with _translated():
            await self._client.delete_object(Bucket=self._bucket, Key=name)


_CONFLICTS = {
    "ConditionalRequestConflict",  # another put of the object is under way
    "NoSuchKey",  # of a put: what was to be replaced is gone
    "PreconditionFailed",
}
_UNAVAILABLE = {"RequestTimeout", "SlowDown", "ThrottlingException"}
"""Answers that mean: not now. So do all with a status of 500 and above; any other error is a fault of ours."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        if code in _CONFLICTS:
            raise Conflict(f"{error.operation_name}: {code}") from error
        if code in _UNAVAILABLE or answered_status(error) >= 500:
            raise Unavailable(f"{error.operation_name}: {code}") from error
        raise
    except (*NO_ANSWER, BrokenOff) as error:  # the latter while an object is read
        raise Unavailable(type(error).__name__) from error
