"""The broadcast: a worker and its mapping for each lane, and the minute tick."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from domain.lanes import Lane
from infra.broadcast_queues import BroadcastQueues
from infra.functions import Functions

__all__ = ["BroadcastPipeline"]

WORKER = "pipeline.worker.handler"


class BroadcastPipeline(Construct):
    """What empties the queues. Its functions are in `functions.made` under their lanes' names, and `tick`."""

    def __init__(self, scope: Construct, construct_id: str, *, functions: Functions, queues: BroadcastQueues) -> None:
        super().__init__(scope, construct_id)
        stage = functions.stage
        for lane in stage.lanes.values():
            self._lane(lane, functions, queues)
        tick = functions.add(self, "tick", "services.tick.handler", memory=stage.api_memory, timeout=stage.tick_timeout)
        events.Rule(
            self,
            "EveryMinute",
            description="Ends the connections whose lease has ended",
            schedule=events.Schedule.rate(Duration.minutes(1)),
            # A minute that was missed is caught up by the next tick, so none is worth a second try.
            targets=[targets.LambdaFunction(tick, retry_attempts=0)],
        )

    def _lane(self, lane: Lane, functions: Functions, queues: BroadcastQueues) -> None:
        # Who waits for servers elsewhere needs no processor for it.
        memory = functions.stage.worker_memory if lane.sockets else functions.stage.api_memory
        worker = functions.add(self, lane.name, WORKER, memory=memory, timeout=lane.timeout, lane=lane.name)
        lambda_.EventSourceMapping(
            worker,
            "Mapping",
            target=worker,
            event_source_arn=queues.queues[lane.name].queue_arn,
            batch_size=lane.batch_size,
            max_batching_window=None if lane.fifo else Duration.seconds(round(lane.window)),
            max_concurrency=lane.max_concurrency,
            report_batch_item_failures=True,
        )
