"""The alarms. Each says what it means and what to do first.

A period without numbers is one without traffic, so it breaches nothing. Shares are of a lane each, since an expression
takes at most ten metrics: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sqs as sqs

from domain.lanes import Lane
from infra.watched import MINUTE, RETRY, Watched

__all__ = ["Alarm", "alarms", "oldest_age"]

FIVE_MINUTES = Duration.minutes(5)
AUTHORIZER = "authorizer"
LATE_MS = 30 * 60_000
"""The longest window is five minutes, and a retried batch takes a few more."""
DELAY = 20
"""Seconds that a job of a standard queue may have been told to wait: `domain.fanout.remainder_delay`."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """`metric` ≥ `threshold` in `breaching` of the last `periods` periods."""

    name: str
    metric: cloudwatch.IMetric
    threshold: float
    means: str
    first: str
    """What to do first."""
    periods: int = 1
    breaching: int = 1


def oldest_age(lane: Lane) -> float:
    """The age in seconds at which a lane's oldest job is alarming.

    The shards of a worker that died stand still for the visibility time, once; twice that is a second death, or more
    jobs than the lane's workers can do.
    """
    return 2 * lane.visibility + (0 if lane.fifo else DELAY)


def alarms(watched: Watched) -> Iterator[Alarm]:
    """All alarms of a deployment."""
    for lane in watched.lanes.values():
        yield from _of_lane(watched, lane)
        if lane.name != RETRY and lane.sockets:
            yield from _of_posts(watched, lane.name)
    for name in watched.functions:
        yield from _of_function(watched, name)
    yield from _of_api(watched)
    if watched.lost is not None:
        yield from _of_archive(watched, watched.lost)


def _of_lane(watched: Watched, lane: Lane) -> Iterator[Alarm]:
    yield Alarm(
        f"{lane.name}-age",
        watched.queues[lane.name].metric_approximate_age_of_oldest_message(period=MINUTE, statistic="Maximum"),
        oldest_age(lane),
        f"The oldest job of the lane {lane.name} has waited for {oldest_age(lane):g} s: its rooms hear their messages "
        "late. Nothing acknowledged is lost.",
        f"Look for errors and time-outs of {watched.prefix}-{lane.name}, then at its concurrency and its posts' 429s: "
        "at the maximum without 429s, raise the lane's max_concurrency.",
        # One minute above it may be the end of a single stand-still.
        periods=3,
        breaching=2,
    )
    yield Alarm(
        f"{lane.name}-dead",
        watched.dead_letter_queues[lane.name].metric_approximate_number_of_messages_visible(
            period=MINUTE, statistic="Maximum"
        ),
        # A dead letter is never normal, and none goes by itself.
        1,
        f"Jobs of the lane {lane.name} lie in its dead-letter queue: unreadable, or failed {lane.max_receives} times.",
        f"Read why in the log of {watched.prefix}-{lane.name}; mend the cause, then redrive the queue. The members' "
        "clients fetch what they missed from the history meanwhile.",
    )


def _of_posts(watched: Watched, lane: str) -> Iterator[Alarm]:
    yield Alarm(
        f"{lane}-posts-failed",
        _share(watched, lane, "PostsFailed"),
        # A client that hangs fails a post or two of each round; one in twenty are no clients' doing.
        5,
        f"5 % or more of the lane {lane}'s posts failed for ten minutes, neither for a connection that is gone nor for "
        "the rate: refused, API Gateway's errors, or no answer in time.",
        f"Look at the causes in the log of {watched.prefix}-{lane}: all refused is its role, or a wrong management "
        "endpoint; no answer in time is a slow network or the service's health.",
        periods=2,
        breaching=2,
    )
    yield Alarm(
        f"{lane}-posts-throttled",
        _share(watched, lane, "PostsThrottled"),
        # A window that feels its way to the account's limit gets up to 21 % by design (measured).
        25,
        f"A quarter or more of the lane {lane}'s posts were answered with 429 for 15 minutes: the account's request "
        "rate is spent.",
        "Look at entries per frame and deliveries a second: which room is so loud? Ask for a higher quota of API "
        "Gateway's account throttle, or lower the lanes' post_rate.",
        periods=3,
        breaching=3,
    )


def _of_function(watched: Watched, name: str) -> Iterator[Alarm]:
    function = watched.functions[name]
    errors = function.metric_errors(period=FIVE_MINUTES, statistic="Sum")
    if name == AUTHORIZER:
        # A token that is not accepted is an error of this function: API Gateway makes 401 of it. So only the share of
        # errors tells, and of few handshakes not even that.
        yield Alarm(
            f"{name}-errors",
            cloudwatch.MathExpression(
                expression="IF(errors >= 10, 100 * errors / invocations, 0)",
                using_metrics={
                    "errors": errors,
                    "invocations": function.metric_invocations(period=FIVE_MINUTES, statistic="Sum"),
                },
                period=FIVE_MINUTES,
                label="errors, % of invocations",
            ),
            50,
            "Half or more of the handshakes ended in the authorizer for ten minutes: nobody's tokens are accepted, or "
            "it fails itself.",
            f"Read the log of {watched.prefix}-{name}: where it says no more than that handshakes were refused, it is "
            "the tokens (keys, issuer, clock).",
            periods=2,
            breaching=2,
        )
    else:
        yield Alarm(
            f"{name}-errors",
            errors,
            # Nothing fails on purpose; one in a while may be an environment that Lambda took away.
            3,
            f"The function {name} raised, ran out of time or crashed three times in five minutes.",
            f"Read the log of {watched.prefix}-{name} for the first error; after a deployment, roll back.",
        )
    yield Alarm(
        f"{name}-throttles",
        function.metric_throttles(period=FIVE_MINUTES, statistic="Sum"),
        # Mappings keep within their maximum concurrency, and the API functions have none: so it is the account's.
        1,
        f"Lambda refused to start the function {name}: the account's concurrency is spent. Clients see failed "
        "handshakes and requests; jobs only wait.",
        "Look at what uses the account's concurrency, and ask for a higher quota.",
    )


def _of_api(watched: Watched) -> Iterator[Alarm]:
    yield Alarm(
        "api-errors",
        watched.of_api("ExecutionError", period=FIVE_MINUTES),
        5,
        "API Gateway could not call the functions five times in five minutes. No client can cause that.",
        "Look at throttles of the functions, then at the API's permission to call them; after a deployment, roll back.",
    )
    yield Alarm(
        "api-integration",
        # The functions' errors and, since those are 4xx of an integration, refused joins: a share of the handshakes.
        cloudwatch.MathExpression(
            expression="IF(errors >= 20, 100 * errors / connects, 0)",
            using_metrics={
                "errors": watched.of_api("IntegrationError", period=FIVE_MINUTES),
                "connects": watched.of_api("ConnectCount", period=FIVE_MINUTES),
            },
            period=FIVE_MINUTES,
            label="integration errors, % of handshakes",
        ),
        50,
        "For ten minutes there were half as many failed integrations as handshakes, or more: the functions fail, or "
        "joins are refused in great numbers.",
        "Look at the functions' errors first; without any, the log of the function connect has the refusals' codes.",
        periods=2,
        breaching=2,
    )
    yield Alarm(
        "requests-internal",
        watched.own("RequestsRefused", code="INTERNAL", period=FIVE_MINUTES),
        # The function answers them instead of failing, so that none of them is among its errors.
        5,
        "Five requests in five minutes were answered with INTERNAL: DynamoDB or SQS failed or throttled. Clients send "
        "them again.",
        "Look at throttles and errors of the tables and queues, then at the Region's health.",
    )
    yield Alarm(
        "requests-unreviewed",
        watched.own("ReviewsFailed", period=FIVE_MINUTES),
        5,
        "Five messages in five minutes could not be reviewed: the deployment's own review raised, or was late. With "
        "review_fails=open they were stored as they were, with closed their clients send them again.",
        f"Read the kind of error in the log of {watched.prefix}-message, and mend the function in hooks/.",
    )


def _of_archive(watched: Watched, lost: sqs.IQueue) -> Iterator[Alarm]:
    yield Alarm(
        "archive-late",
        watched.lateness(),
        LATE_MS,
        "Changes reach the archive half an hour late, for ten minutes: the function fails, or more is said than it can "
        "write. The stream keeps them for a day; then they are missing.",
        f"Read the log of {watched.prefix}-archive. Without errors, raise archive_batch.",
        periods=10,
        breaching=10,
    )
    yield Alarm(
        "archive-lost",
        lost.metric_approximate_number_of_messages_visible(period=MINUTE, statistic="Maximum"),
        1,
        "Lambda has given up changes after 23 hours: the archive lacks them. The queue says where in the stream they "
        "are, which keeps them for one hour more.",
        f"Mend what the log of {watched.prefix}-archive names, then see docs/archive.md, What was lost.",
    )
    yield Alarm(
        "archive-unreadable",
        watched.own("ArchiveUnreadable", period=FIVE_MINUTES),
        1,
        "A change or an object of the archive could not be read. It is kept as it came, under unreadable/ in the "
        "archive's bucket, and holds nothing up.",
        f"Read why in the log of {watched.prefix}-archive; after a roll-back it may be a later release's.",
    )


def _share(watched: Watched, lane: str, part: str) -> cloudwatch.MathExpression:
    """`part` in per cent of itself and the delivered posts. Below ten it says nothing."""
    return cloudwatch.MathExpression(
        expression="IF(part >= 10, 100 * part / (part + delivered), 0)",
        using_metrics={
            "part": watched.own(part, lane=lane, period=FIVE_MINUTES),
            "delivered": watched.own("PostsDelivered", lane=lane, period=FIVE_MINUTES),
        },
        period=FIVE_MINUTES,
        label=f"{part}, %",
    )
