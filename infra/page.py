"""The page in the browser on AWS: a bucket that nobody but CloudFront reads, and a distribution before it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from aws_cdk import Acknowledgment, Aws, CfnElement, Duration, IgnoreMode, RemovalPolicy, Stack, Validations
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_deployment as deployment
from constructs import Construct, IConstruct

from domain.errors import BadSetting
from domain.page import CACHED, CONFIG, FILES, page_config, page_policy
from infra.functions import allow
from infra.settings import Stage

__all__ = ["BUILT", "Page", "check_built"]

BUILT = Path(__file__).resolve().parents[1] / ".build/web"
HTTPS_ALONE = Duration.days(365)
"""For which a browser that was here asks for nothing else."""


def check_built(folder: Path = BUILT) -> None:
    """`BadSetting` where the page was not built."""
    if missing := [it for it in FILES if not (folder / it).is_file()]:
        raise BadSetting(f"setting page=true: the page was not built, {missing[0]} is missing; run `make page` first")


class Page(Construct):
    """`origin` is what browsers send as the page's; `target` is the distribution's own name, where a domain points."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, prefix: str, service: str, folder: Path = BUILT
    ) -> None:
        """`service`: scheme and host of the WebSocket API. `folder`: what was built."""
        super().__init__(scope, construct_id)
        bucket = s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            # It holds nothing that a build does not make again.
            removal_policy=RemovalPolicy.DESTROY,
        )
        _accept(bucket, {"AwsSolutions-S1": "CloudFront alone reads it, and what it reads is public."})
        distribution = self._distribution(stage, prefix, service, bucket)
        self.target = distribution.distribution_domain_name
        self.origin = f"https://{stage.page_domain or self.target}"
        self._files(prefix, bucket, folder, page_config(f"{service}/{stage.name}", stage.auth))

    def _distribution(self, stage: Stage, prefix: str, service: str, bucket: s3.Bucket) -> cloudfront.Distribution:
        # Names of CloudFront's are the account's, over all Regions.
        name = f"{prefix}-page-{Aws.REGION}"
        access = cloudfront.S3OriginAccessControl(self, "Access", origin_access_control_name=name)
        certificate = (
            acm.Certificate.from_certificate_arn(self, "Certificate", stage.page_certificate)
            if stage.page_certificate
            else None
        )
        distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment=f"{prefix}: the page",
            default_root_object="index.html",
            default_behavior=cloudfront.BehaviorOptions(
                origin=origins.S3BucketOrigin.with_origin_access_control(bucket, origin_access_control=access),
                allowed_methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD,
                # What is kept here is asked for again after a second, since `no-cache` is what the files say.
                cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
                compress=True,
                response_headers_policy=_headers(self, name, service),
                viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
            ),
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            # North America, Europe and Israel: the cheapest. Others are served from there.
            price_class=cloudfront.PriceClass.PRICE_CLASS_100,
            certificate=certificate,
            domain_names=[stage.page_domain] if stage.page_domain else None,
            minimum_protocol_version=cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021 if certificate else None,
        )
        _accept(
            distribution,
            {
                "AwsSolutions-CFR1": "Who may come in is the service's to say, not a country's.",
                "AwsSolutions-CFR2": "Public files, with nothing behind them that runs; firewalls are the account's.",
                "AwsSolutions-CFR3": "Who read public files is nobody's business; the service says who connects.",
                **(
                    {}
                    if certificate
                    else {"AwsSolutions-CFR4": "CloudFront's own certificate allows no other policy: page_domain does."}
                ),
            },
        )
        return distribution

    def _files(self, prefix: str, bucket: s3.Bucket, folder: Path, config: dict[str, str]) -> None:
        log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=f"/aws/lambda/{prefix}-page",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        role.add_to_policy(allow("OwnLog", ["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn]))
        deployment.BucketDeployment(
            self,
            "Files",
            destination_bucket=bucket,
            sources=[
                deployment.Source.asset(
                    str(folder), exclude=["*", *(f"!{it}" for it in FILES)], ignore_mode=IgnoreMode.GIT
                ),
                deployment.Source.json_data(CONFIG, config),
            ],
            cache_control=[deployment.CacheControl.from_string(CACHED)],
            # A bucket that is not empty would outlive its stack.
            retain_on_delete=False,
            role=role,
            log_group=log_group,
        )
        stack = Stack.of(self)
        own = stack.get_logical_id(cast("CfnElement", bucket.node.default_child))
        assets = "arn:<AWS::Partition>:s3:::cdk-hnb659fds-assets-<AWS::AccountId>-<AWS::Region>"
        copies = (
            "The CDK's own function copies the files, out of the bootstrap's bucket into the page's, and into no other."
        )
        actions = [f"Action::s3:{it}*" for it in ("GetObject", "GetBucket", "List", "DeleteObject", "Abort")]
        resources = [f"Resource::{it}/*" for it in (assets, f"<{own}.Arn>")]
        _accept(role, {f"AwsSolutions-IAM5[{it}]": copies for it in (*actions, *resources)})
        for it in stack.node.children:
            if it.node.id.startswith("Custom::CDKBucketDeployment"):
                _accept(it, {"AwsSolutions-L1": "The CDK's own function has the runtime that its code is tested with."})


def _headers(scope: Construct, name: str, service: str) -> cloudfront.ResponseHeadersPolicy:
    """What the twin sends, and that the page is to be had by HTTPS alone."""
    return cloudfront.ResponseHeadersPolicy(
        scope,
        "Headers",
        response_headers_policy_name=name,
        security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
            content_security_policy=cloudfront.ResponseHeadersContentSecurityPolicy(
                content_security_policy=page_policy(service), override=True
            ),
            content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True),
            referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
                referrer_policy=cloudfront.HeadersReferrerPolicy.NO_REFERRER, override=True
            ),
            strict_transport_security=cloudfront.ResponseHeadersStrictTransportSecurity(
                access_control_max_age=HTTPS_ALONE, override=True
            ),
        ),
    )


def _accept(construct: IConstruct, reasons: dict[str, str]) -> None:
    for check, reason in reasons.items():
        Validations.of(construct).acknowledge(Acknowledgment(id=check, reason=reason))
