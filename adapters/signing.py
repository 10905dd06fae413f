"""Signature Version 4 for posts to one stage, where nearly everything is the same for all of them.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

A signature covers method, path, host, date, token and the body's hash. Of these only the path differs between the
members of a room: key and headers are made once a second, a body is hashed once a frame. The result is what botocore's
own signer makes of the same post, which a test compares.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from yarl import URL

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

__all__ = ["PostSigner", "Stage"]

ALGORITHM = "AWS4-HMAC-SHA256"
UNRESERVED = "-._~"
"""What stays as it is in a path, beside letters and digits."""
FRAMES = 32
"""Hashes that are kept: a worker posts a frame or two of each shard that it serves, at most ten shards at once."""


class Stage:
    """Where posts go."""

    def __init__(self, endpoint: str, region: str, service: str) -> None:
        """`endpoint`: the management API's, with the stage in its path."""
        path = urlsplit(endpoint).path.removesuffix("/") + "/@connections/"
        self.url = URL(endpoint, encoded=True)
        self.path = path
        self.signed_path = quote(path, safe="/" + UNRESERVED)
        self.host = self.url.host_port_subcomponent
        self.region = region
        self.service = service


class PostSigner:
    """Signs the posts of one second with one set of credentials."""

    def __init__(
        self, stage: Stage, credentials: ReadOnlyCredentials, second: int, unsigned: Mapping[str, str]
    ) -> None:
        """`second`: since 1970; `unsigned`: headers that go along."""
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        scope = (date[:8], stage.region, stage.service, "aws4_request")
        names, lines = "host;x-amz-date", f"host:{stage.host}\nx-amz-date:{date}\n"
        headers = {**unsigned, "X-Amz-Date": date}
        if credentials.token:
            names, lines = f"{names};x-amz-security-token", f"{lines}x-amz-security-token:{credentials.token}\n"
            headers["X-Amz-Security-Token"] = credentials.token
        self.second = second
        self._stage = stage
        self._key = _signing_key(credentials.secret_key, scope)
        self._before_path = f"POST\n{stage.signed_path}"
        self._after_path = f"\n\n{lines}\n{names}\n"
        self._string_to_sign = f"{ALGORITHM}\n{date}\n{'/'.join(scope)}\n"
        credential = "/".join((str(credentials.access_key), *scope))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._lines = f"{lines}Authorization: {ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature="

    def sign(self, connection: str, frame: bytes) -> tuple[str, str]:
        """The target of a post's request, and the header lines that make it an authorized one, each with its end.

        An id never is `.` or `..`.
        """
        name = quote(connection, safe=UNRESERVED)
        # In the canonical request a path is encoded once more; of an encoded name that changes the percent signs alone.
        canonical = f"{self._before_path}{name.replace('%', '%25')}{self._after_path}{_digest(frame)}"
        to_sign = self._string_to_sign + sha256(canonical.encode()).hexdigest()
        return self._stage.path + name, f"{self._lines}{hmac.digest(self._key, to_sign.encode(), 'sha256').hex()}\r\n"


@lru_cache(maxsize=FRAMES)
def _digest(frame: bytes) -> str:
    # A look-up is cheap: the object that is posted to all members keeps its own hash.
    return sha256(frame).hexdigest()


def _signing_key(secret: str | None, scope: Iterable[str]) -> bytes:
    key = f"AWS4{secret}".encode()
    for it in scope:
        key = hmac.digest(key, it.encode(), "sha256")
    return key
