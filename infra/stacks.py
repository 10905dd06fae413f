"""The two stacks of a deployment: what it must not lose, and what serves.

The service finds the tables by the names that the stage gives them, not by CloudFormation's exports: each stack can be
updated without the other.
"""

from __future__ import annotations

from pathlib import Path

from aws_cdk import App, CfnOutput, CliCredentialsStackSynthesizer, DefaultStackSynthesizer, Stack, StackSynthesizer
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from adapters.s3 import bucket_name
from adapters.settings import Settings, table_names
from adapters.user_pool import issuer_of, jwks_url_of
from infra.archive import ArchiveStore, Archiving
from infra.backend import Backend
from infra.broadcast_pipeline import BroadcastPipeline
from infra.broadcast_queues import BroadcastQueues
from infra.functions import Functions
from infra.identity import UserPool, parameter_names
from infra.incoming import IncomingWebhooks
from infra.notifications import Notifications
from infra.observability import Observability
from infra.page import Page
from infra.room_store import RoomStore
from infra.settings import Stage, listed_callbacks, listed_origins
from infra.websocket_api import ROUTE_SELECTION, WebSocketRoutes

__all__ = ["ServiceStack", "StateStack", "deployment"]


def deployment(app: App, stage: Stage, bundle: Path) -> tuple[StateStack, ServiceStack]:
    """Both stacks of a stage. `bundle`: the zip of the functions."""
    prefix = f"roomcast-{stage.name}"
    state = StateStack(app, f"{prefix}-state", stage, prefix)
    service = ServiceStack(app, f"{prefix}-service", stage, prefix, bundle)
    service.add_stack_dependency(state)
    return state, service


class StateStack(Stack):
    """The tables, the users and the archive. In a protected stage they outlive it."""

    def __init__(self, scope: Construct, name: str, stage: Stage, prefix: str) -> None:
        super().__init__(
            scope,
            name,
            description="roomcast: rooms, connections and messages",
            termination_protection=stage.protect,
            synthesizer=_synthesizer(stage),
        )
        self.store = RoomStore(self, "RoomStore", prefix=prefix, protect=stage.protect, stream=stage.archive)
        if stage.archive:
            ArchiveStore(
                self,
                "Archive",
                prefix=prefix,
                protect=stage.protect,
                days=stage.archive_days,
                messages=self.store.tables["messages"],
            )
        if stage.auth == "cognito":
            UserPool(
                self,
                "Users",
                prefix=prefix,
                protect=stage.protect,
                sign_in_domain=stage.sign_in_domain,
                callbacks=listed_callbacks(stage),
            )


class ServiceStack(Stack):
    """The APIs, the broadcast, what watches them. Its queues hold jobs for an hour; the log is the truth."""

    def __init__(self, scope: Construct, name: str, stage: Stage, prefix: str, bundle: Path) -> None:
        super().__init__(
            scope,
            name,
            description="roomcast: WebSocket API, broadcast pipeline, dashboard",
            synthesizer=_synthesizer(stage),
        )
        api = apigateway.WebSocketApi(self, "Api", api_name=prefix, route_selection_expression=ROUTE_SELECTION)
        # From API id, Region and stage: a custom domain refuses `@connections`.
        host = f"{api.api_id}.execute-api.{self.region}.{self.url_suffix}"
        endpoint = stage.management_endpoint or f"https://{host}"
        queues = BroadcastQueues(self, "Queues", prefix=prefix, lanes=stage.lanes)
        topic = Notifications(self, "Notifications", prefix=prefix).topic if stage.notices else None
        pool, client = self._user_pool(stage, prefix)
        issuer = issuer_of(pool, self.region, self.url_suffix) if pool else stage.oidc_issuer
        elsewhere = f"{stage.cognito_endpoint}/{pool}" if stage.cognito_endpoint else issuer
        jwks_url = jwks_url_of(elsewhere) if pool else ""
        bucket = bucket_name(prefix, self.account, self.region) if stage.archive else ""
        page = Page(self, "Page", stage=stage, prefix=prefix, service=f"wss://{host}") if stage.page else None
        allowed = listed_origins(stage)
        settings = Settings(
            tables=table_names(prefix),
            queues={lane: it.queue_url for lane, it in queues.queues.items()},
            dead_letter_queues={lane: it.queue_url for lane, it in queues.dead_letter_queues.items()},
            management_endpoint=f"{endpoint}/{stage.name}",
            region=self.region,
            auth=stage.auth,
            user_claim=stage.user_claim,
            # Where any page may connect, its own needs no mention.
            origins=tuple(dict.fromkeys((*allowed, page.origin))) if page is not None and allowed else allowed,
            issuer=issuer,
            audience=client or stage.oidc_audience,
            jwks_url=jwks_url,
            open_rooms=stage.open_rooms,
            roster_limit=stage.roster_limit,
            shard_limit=stage.shard_limit,
            max_connections_per_user=stage.max_connections_per_user,
            max_members=stage.max_members,
            retention_days=stage.retention_days,
            trace=stage.trace,
            edit_window=stage.edit_window,
            hook_days=stage.hook_days,
            delete_window=stage.delete_window,
            review=stage.review,
            review_words=stage.review_words,
            review_fails=stage.review_fails,
            review_services=stage.review_services,
            topic=topic.topic_arn if topic is not None else "",
            bucket=bucket,
            archive_all=stage.archive_all,
            lanes=stage.lanes,
            rates=stage.rates,
        )
        functions = Functions(stage, prefix, bundle, settings, queues, api, topic)
        BroadcastPipeline(self, "Broadcast", functions=functions, queues=queues)
        workers = [functions.made[it] for it in stage.lanes]
        backend = Backend(self, "Backend", functions=functions)
        archiving = (
            Archiving(self, "Archiving", prefix=prefix, bucket=bucket, functions=functions) if stage.archive else None
        )
        incoming = IncomingWebhooks(self, "Webhooks", functions=functions, prefix=prefix)
        routes = WebSocketRoutes(self, "Routes", api=api, functions=functions, prefix=prefix)
        # A worker reads what the version before its own wrote, so the workers are updated before who writes jobs.
        for it in ("connect", "disconnect", "message", "publish", "incoming"):
            functions.made[it].node.add_dependency(*workers)
        observability = Observability(
            self,
            "Observability",
            prefix=prefix,
            lanes=stage.lanes,
            queues=queues.queues,
            dead_letter_queues=queues.dead_letter_queues,
            functions=functions.made,
            api_id=api.api_id,
            stage_name=stage.name,
            alarm_email=stage.alarm_email or None,
            lost=archiving.lost if archiving else None,
        )
        outputs = {
            "WebSocketUrl": routes.stage.url,
            "ManagementUrl": f"{endpoint}/{stage.name}",
            "DashboardUrl": observability.dashboard_url,
            "WebhooksUrl": incoming.url,
            "PublishFunction": functions.made["publish"].function_name,
            **({"PublishUrl": backend.url.url} if backend.url is not None else {}),
            **{f"{lane.title()}Queue": it.queue_name for lane, it in queues.queues.items()},
            **{f"{lane.title()}DeadLetterQueue": it.queue_name for lane, it in queues.dead_letter_queues.items()},
        }
        if page is not None:
            outputs |= {"PageUrl": page.origin, "PageTarget": page.target}
        if topic is not None:
            outputs["NoticesTopic"] = topic.topic_arn
        if archiving is not None:
            outputs |= {"ArchiveBucket": bucket, "ArchiveLostQueue": archiving.lost.queue_name}
        if pool:
            outputs |= {"UserPoolId": pool, "UserPoolClientId": client}
        for output, value in outputs.items():
            CfnOutput(self, output, value=value)

    def _user_pool(self, stage: Stage, prefix: str) -> tuple[str, str]:
        """The ids of the pool and its app client, known when it is deployed; empty where there is none."""
        if stage.auth != "cognito":
            return "", ""
        pool, client = (ssm.StringParameter.value_for_string_parameter(self, it) for it in parameter_names(prefix))
        return pool, client


def _synthesizer(stage: Stage) -> StackSynthesizer:
    return CliCredentialsStackSynthesizer() if stage.synthesizer == "cli" else DefaultStackSynthesizer()
