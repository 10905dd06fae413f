"""Posts are signed as botocore signs them: compared with what its own client is about to send."""

from __future__ import annotations

import calendar
import time
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from adapters.signing import PostSigner, Stage

ENDPOINTS = [
    "https://a1b2c3.execute-api.eu-central-1.amazonaws.com/prod",
    "http://127.0.0.1:4566/dev",
    "https://localhost:443/my-stage/",
    "http://localhost:80/a/b%20c",
    "http://[::1]:8080",
]
TOKENS = [None, "IQoJb3JpZ2luX2VjE/+w=="]
IDS = ["Bench00000000A=", "a/b+c==", "a/../b", "..a", "~._-", "%3D", "ü \N{HOT BEVERAGE}", "@:$&?#", ""]
SIGNED = ("X-Amz-Date", "X-Amz-Security-Token", "Authorization")


class Botocore:
    """A management API client that sends nothing, and keeps what it would have sent."""

    def __init__(self, endpoint: str, credentials: ReadOnlyCredentials) -> None:
        self._client = boto3.Session().client(
            "apigatewaymanagementapi",
            region_name="eu-central-1",
            endpoint_url=endpoint,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            aws_session_token=credentials.token,
            config=Config(user_agent="any"),
        )
        self._client.meta.events.register("before-send", self._keep)

    def _keep(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        self._request = request
        return AWSResponse(request.url, 200, HTTPHeaders(), SimpleNamespace(stream=list))

    def prepare(self, connection: str, frame: bytes) -> AWSPreparedRequest:
        """What a post would have sent."""
        self._client.post_to_connection(ConnectionId=connection, Data=frame)
        return self._request


class Pair:
    """Both signers, for one stage with one set of credentials."""

    def __init__(self, endpoint: str, token: str | None) -> None:
        self._credentials = ReadOnlyCredentials("AKIAEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
        self._botocore = Botocore(endpoint, self._credentials)
        self._stage = Stage(endpoint, "eu-central-1", "execute-api")

    def agree(self, connection: str, frame: bytes) -> None:
        theirs = self._botocore.prepare(connection, frame)
        sent: Any = theirs.headers  # values as bytes, which the stubs don't know
        expected = {it: sent[it].decode() for it in SIGNED if it in sent}
        second = calendar.timegm(time.strptime(expected["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
        signer = PostSigner(self._stage, self._credentials, second, {"User-Agent": "u"})
        target, lines = signer.sign(connection, frame)
        assert target == URL(theirs.url, encoded=True).raw_path  # the client's way to the wire
        assert read(lines) == {**expected, "User-Agent": "u"}


def read(lines: str) -> dict[str, str]:
    """Name → value of header lines, each of which is whole."""
    assert lines.endswith("\r\n")
    return dict(it.split(": ", 1) for it in lines[:-2].split("\r\n"))


pair = cache(Pair)
"""Clients take their time to be made."""


@pytest.mark.parametrize("frame", [b"", b"x" * 32_768, '{"message":"ü"}'.encode()], ids=["empty", "32 KB", "JSON"])
@pytest.mark.parametrize("token", TOKENS, ids=["no token", "token"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_posts_are_signed_as_by_botocore(endpoint: str, token: str | None, frame: bytes) -> None:
    """URL and signed headers, for ids that have to be escaped, whatever the stage's path and port, token or none."""
    for it in IDS:
        pair(endpoint, token).agree(it, frame)


@settings(max_examples=150)
@given(
    connection=st.text(st.characters(exclude_categories=["Cs"])).filter(lambda it: it not in {".", ".."}),
    frame=st.binary(max_size=200),
    token=st.sampled_from(TOKENS),
)
def test_any_id_and_any_frame(connection: str, frame: bytes, token: str | None) -> None:
    """The same for whatever may come."""
    pair(ENDPOINTS[0], token).agree(connection, frame)


def test_a_signer_signs_frame_after_frame() -> None:
    """What is kept of a frame is found again by its bytes, in any order, however many there are."""
    frames = [b"%d" % number for number in range(40)]
    for it in (*frames, *reversed(frames), bytes(bytearray(frames[0]))):
        pair(ENDPOINTS[0], None).agree("Bench00000000A=", it)


def test_the_key_is_the_day_s() -> None:
    """Two seconds on either side of midnight, UTC: another date, another scope, another signature."""
    stage, credentials = Stage(ENDPOINTS[0], "eu-central-1", "execute-api"), ReadOnlyCredentials("a", "b", None)
    last, first = (read(PostSigner(stage, credentials, it, {}).sign("c", b"")[1]) for it in (86_399, 86_400))
    assert (last["X-Amz-Date"], first["X-Amz-Date"]) == ("19700101T235959Z", "19700102T000000Z")
    assert "Credential=a/19700101/eu-central-1/execute-api/aws4_request," in last["Authorization"]
    assert "Credential=a/19700102/eu-central-1/execute-api/aws4_request," in first["Authorization"]
