"""The only Logger, Tracer and Metrics of the functions. Message bodies and credentials never reach them."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics, Tracer

__all__ = ["logger", "metrics", "tracer"]

logger = Logger()
tracer = Tracer(auto_patch=False)
metrics = Metrics(namespace="roomcast")
