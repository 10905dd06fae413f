"""The environment of the bench's own processes: a machine's AWS account must play no part in a figure."""

from __future__ import annotations

from local.cloud import CREDENTIALS, REGION

__all__ = ["ENVIRON"]

ENVIRON = {
    **CREDENTIALS,
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "POWERTOOLS_TRACE_DISABLED": "true",
}
