"""The archive: a bucket, which is state, and the function between it and the stream of the messages table.

The service finds the stream by a parameter of Systems Manager under the stage's name, as it finds the user pool: a
stream has a name of its own, that nobody knows before it is there.
"""

from __future__ import annotations

import json
from typing import cast

from aws_cdk import Acknowledgment, Aws, Duration, RemovalPolicy, Stack, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from adapters.dynamodb.changes import ENTRY_CHANGES
from adapters.s3 import bucket_name
from domain.archive import LOG, UNREADABLE
from infra import permissions
from infra.functions import Functions, allow

__all__ = ["COOLER_AFTER_DAYS", "GIVE_UP_AFTER", "ArchiveStore", "Archiving", "stream_parameter"]

COOLER_AFTER_DAYS = {s3.StorageClass.INFREQUENT_ACCESS: 30, s3.StorageClass.GLACIER_INSTANT_RETRIEVAL: 90}
"""Storage class → after how many days an object moves to it. Both answer at once. Objects under 128 KB stay where they
are, by S3's own default: to move them would cost more than it saves."""
GIVE_UP_AFTER = Duration.hours(23)
"""The stream forgets after 24 hours; what is given up before that is at least told of."""
TIMEOUT = 120.0
"""Seconds."""
HANDLER = "pipeline.archive.handler"


def stream_parameter(prefix: str) -> str:
    """Where the ARN of the messages table's stream stands."""
    return f"/{prefix}/messages-stream"


class ArchiveStore(Construct):
    """The bucket, and where the stream is."""

    def __init__(
        self, scope: Construct, construct_id: str, *, prefix: str, protect: bool, days: int, messages: dynamodb.Table
    ) -> None:
        """`protect`: the bucket outlives its stack. `days`: until objects are deleted; 0: never."""
        super().__init__(scope, construct_id)
        cooler = {it: after for it, after in COOLER_AFTER_DAYS.items() if not days or after < days}
        bucket = s3.Bucket(
            self,
            "Bucket",
            bucket_name=bucket_name(prefix, Aws.ACCOUNT_ID, Aws.REGION),
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            # An object is replaced when an entry changes: older versions would keep what was deleted.
            versioned=False,
            removal_policy=RemovalPolicy.RETAIN if protect else RemovalPolicy.DESTROY,
            lifecycle_rules=[
                s3.LifecycleRule(id="BrokenUploads", abort_incomplete_multipart_upload_after=Duration.days(1)),
                s3.LifecycleRule(
                    id="Log",
                    prefix=LOG,
                    transitions=[
                        s3.Transition(storage_class=it, transition_after=Duration.days(after))
                        for it, after in cooler.items()
                    ]
                    or None,
                    expiration=Duration.days(days) if days else None,
                    enabled=bool(cooler or days),
                ),
                *(
                    [s3.LifecycleRule(id="Unreadable", prefix=UNREADABLE, expiration=Duration.days(days))]
                    if days
                    else []
                ),
            ],
        )
        Validations.of(bucket).acknowledge(
            Acknowledgment(
                id="AwsSolutions-S1",
                reason="Who read the archive is CloudTrail's to tell; access logs would be a bucket more to keep.",
            )
        )
        stream = messages.table_stream_arn
        ssm.StringParameter(self, "Stream", parameter_name=stream_parameter(prefix), string_value=stream or "")


class Archiving(Construct):
    """The function `archive`, its mapping, and the queue `lost`: of what Lambda has given up."""

    def __init__(self, scope: Construct, construct_id: str, *, prefix: str, bucket: str, functions: Functions) -> None:
        super().__init__(scope, construct_id)
        stage = functions.stage
        stream = ssm.StringParameter.value_for_string_parameter(self, stream_parameter(prefix))
        self.lost = sqs.Queue(
            self,
            "Lost",
            queue_name=f"{prefix}-archive-lost",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
            removal_policy=RemovalPolicy.DESTROY,
        )
        Validations.of(self.lost).acknowledge(
            Acknowledgment(id="AwsSolutions-SQS3", reason="It is a dead-letter queue itself: of the mapping below.")
        )
        arn = Stack.of(self).format_arn(service="s3", region="", account="", resource=bucket)
        function = functions.add(
            self,
            "archive",
            HANDLER,
            memory=stage.worker_memory,
            timeout=TIMEOUT,
            statements=[
                allow("Changes", permissions.STREAM, [stream]),
                allow("Objects", permissions.OBJECTS, [f"{arn}/{it}*" for it in (LOG, UNREADABLE)]),
                # Without it S3 does not tell an object that is missing from one that it must not show.
                allow("Names", permissions.NAMES, [arn]),
                allow("Lost", ["sqs:SendMessage"], [self.lost.queue_arn]),
            ],
        )
        role = cast("iam.Role", function.role)
        shown = f"arn:<AWS::Partition>:s3:::{prefix}-archive-<AWS::AccountId>-<AWS::Region>"
        for it in (LOG, UNREADABLE):
            Validations.of(role).acknowledge(
                Acknowledgment(
                    id=f"AwsSolutions-IAM5[Resource::{shown}/{it}*]",
                    reason="Objects come with what is said; these are the archive's alone.",
                )
            )
        mapping = lambda_.EventSourceMapping(
            function,
            "Mapping",
            target=function,
            event_source_arn=stream,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=stage.archive_batch,
            max_batching_window=Duration.seconds(stage.archive_window),
            parallelization_factor=1,
            bisect_batch_on_error=True,
            max_record_age=GIVE_UP_AFTER,
            report_batch_item_failures=True,
            filters=[{"pattern": json.dumps(ENTRY_CHANGES)}],
        )
        # `on_failure` would let the role do more to the queue than to send.
        resource = cast("lambda_.CfnEventSourceMapping", mapping.node.default_child)
        resource.destination_config = lambda_.CfnEventSourceMapping.DestinationConfigProperty(
            on_failure=lambda_.CfnEventSourceMapping.OnFailureProperty(destination=self.lost.queue_arn)
        )
