"""The only Logger, Tracer and Metrics of the functions, and the one table of metrics.

Message bodies, credentials and ids never reach them: a metric is told apart by its deployment, its lane, or one of the
protocol's error codes, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aws_lambda_powertools import Logger, Metrics, Tracer, single_metric
from aws_lambda_powertools.metrics import MetricUnit

__all__ = ["METRICS", "NAMESPACE", "Metric", "emit", "emit_refusal", "logger", "metrics", "tracer"]

NAMESPACE = "roomcast"

logger = Logger()
tracer = Tracer(auto_patch=False)
metrics = Metrics(namespace=NAMESPACE)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of the functions."""

    name: str
    unit: MetricUnit
    dimensions: tuple[str, ...]
    """What tells its series apart. `service` is the deployment, `lane` the worker's, `code` an error code."""
    says: str


_COUNT, _MS = MetricUnit.Count, MetricUnit.Milliseconds
_API, _LANE, _CODE = ("service",), ("service", "lane"), ("service", "code")

METRICS: Mapping[str, Metric] = {
    it.name: it
    for it in (
        Metric("Connects", _COUNT, _API, "handshakes that joined their first room"),
        Metric("HandshakesRefused", _COUNT, _API, "handshakes refused, by the authorizer or at the join"),
        Metric("Disconnects", _COUNT, _API, "`$disconnect` events that were worked"),
        Metric("LeasesEnded", _COUNT, _API, "connections ended because they were not heard of"),
        Metric("Requests", _COUNT, _API, "requests answered, the refused ones among them"),
        Metric("RequestsRefused", _COUNT, _CODE, "requests answered with an error, by its code"),
        Metric("ReviewsFailed", _COUNT, _API, "messages that the deployment's own review raised for, or was late with"),
        Metric("EntriesArchived", _COUNT, _API, "log entries written to the archive, each new version of one counted"),
        Metric("ArchivePuts", _COUNT, _API, "objects of the archive that were put"),
        Metric("ArchiveUnreadable", _COUNT, _API, "changes and objects that could not be read, and were kept aside"),
        Metric("AckLatency", _MS, _API, "from the gateway's receipt of a message to its `ack`"),
        Metric("EntriesServed", _COUNT, _LANE, "log entries, counted once for each shard and round"),
        Metric("Deliveries", _COUNT, _LANE, "log entries handed to members' sockets: each once for each member"),
        Metric("Frames", _COUNT, _LANE, "frames that carried them; Deliveries ÷ Frames is the packing"),
        Metric("AcceptToLastPost", _MS, _LANE, "from the store of a round's oldest entry to the round's last delivery"),
        Metric("PostsDelivered", _COUNT, _LANE, "posts that were taken, of whatever frame"),
        Metric("PostsGone", _COUNT, _LANE, "posts answered with 410"),
        Metric("PostsThrottled", _COUNT, _LANE, "posts answered with 429"),
        Metric("PostsFailed", _COUNT, _LANE, "posts answered otherwise, or not in time"),
        Metric("Remainders", _COUNT, _LANE, "jobs deferred for those whose posts failed"),
        Metric("ConnectionsPurged", _COUNT, _LANE, "connections that were gone and were deleted"),
        Metric("SocketsClosed", _COUNT, _LANE, "sockets closed because no frame reached them in time"),
        Metric("NoticesPublished", _COUNT, _LANE, "notices to who is away that the topic took"),
        Metric("NoticesHeldBack", _COUNT, _LANE, "notices not sent: one about that sender was, within the minute"),
        Metric("HooksDelivered", _COUNT, _LANE, "entries that hooks' receivers took"),
        Metric("HooksFailed", _COUNT, _LANE, "deliveries that a receiver did not take, or that could not be made"),
        Metric("HooksDisabled", _COUNT, _LANE, "hooks disabled, since their receivers failed for days or are gone"),
        Metric("JobsFailed", _COUNT, _LANE, "jobs that must come again"),
        Metric("JobsBuried", _COUNT, _LANE, "unreadable jobs moved to the dead-letter queue"),
    )
}
"""Name → metric: what the functions emit and the dashboard draws."""


def emit(name: str, *values: float) -> None:
    """Add values to a metric of this invocation; they leave as one line of the log when it ends.

    A metric with a `lane` needs `metrics.add_dimension("lane", …)` before.
    """
    for value in values:
        metrics.add_metric(name, METRICS[name].unit, value)


def emit_refusal(name: str, code: str) -> None:
    """Count one refusal for its error code: a line of its own, since a line's metrics share their dimensions."""
    with single_metric(name, METRICS[name].unit, 1, namespace=NAMESPACE) as metric:
        metric.add_dimension("code", code)
