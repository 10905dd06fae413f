"""The topic of notices to who is away. Whoever wants to send mail or pushes subscribes to it."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

from adapters.sns import topic_name

__all__ = ["Notifications"]


class Notifications(Construct):
    """`topic`: encrypted, and by TLS only."""

    def __init__(self, scope: Construct, construct_id: str, *, prefix: str) -> None:
        super().__init__(scope, construct_id)
        self.topic = sns.Topic(
            self,
            "Topic",
            topic_name=topic_name(prefix),
            # AWS's own key for SNS costs nothing, and serves whoever of the account may publish.
            master_key=kms.Alias.from_alias_name(self, "Key", "alias/aws/sns"),
            enforce_ssl=True,
        )
        self.topic.apply_removal_policy(RemovalPolicy.DESTROY)
