"""What the adapters of AWS services share."""

from __future__ import annotations

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

__all__ = ["NO_ANSWER", "answered_status", "error_code"]

NO_ANSWER = (HTTPClientError, BotoConnectionError, ResponseParserError)
"""What a client raises when the service gave no answer, or none that can be read: the effect may have happened."""


def error_code(error: ClientError) -> str:
    """The code of a service's error: its name, or the HTTP status as text where the answer named none."""
    return error.response.get("Error", {}).get("Code", "")


def answered_status(error: ClientError) -> int:
    """The HTTP status of a service's error; 0 where it is unknown."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
