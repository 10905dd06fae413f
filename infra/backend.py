"""What servers call: the function `publish`, and its URL where a stage wants one."""

from __future__ import annotations

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.functions import Functions

__all__ = ["Backend"]


class Backend(Construct):
    """`url`: of the function, for whom IAM lets `lambda:InvokeFunctionUrl`; None where the stage has none."""

    def __init__(self, scope: Construct, construct_id: str, *, functions: Functions) -> None:
        super().__init__(scope, construct_id)
        stage = functions.stage
        publish = functions.add(
            self, "publish", "services.publish.handler", memory=stage.api_memory, timeout=stage.api_timeout
        )
        self.url: lambda_.FunctionUrl | None = None
        if stage.publish_url:
            self.url = publish.add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM)
