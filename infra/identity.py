"""The user pool of a stage with `cognito` auth: who its users are, in which groups, and how their tokens come about.

It is state: users are not to be made anew because the service is. The service finds it by two parameters of Systems
Manager under the stage's name, so that neither stack holds the other up.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Acknowledgment, Duration, RemovalPolicy, Validations
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from adapters.user_pool import GROUPS, PASSWORD, REFRESH_DAYS, TOKEN_MINUTES

__all__ = ["UserPool", "parameter_names"]


def parameter_names(prefix: str) -> tuple[str, str]:
    """Where the ids of the pool and of its app client stand."""
    return f"/{prefix}/user-pool", f"/{prefix}/user-pool-client"


class UserPool(Construct):
    """The pool, its groups and its app client. Operators make the users; a page to sign in at is there on demand."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        protect: bool,
        sign_in_domain: str = "",
        callbacks: Sequence[str] = (),
    ) -> None:
        """`protect`: the pool outlives its stack, and refuses to be deleted. `sign_in_domain`: the prefix of Cognito's
        own domain where its page to sign in is; empty for none. `callbacks`: the URLs that it may send users back to.
        """
        super().__init__(scope, construct_id)
        pool = cognito.UserPool(
            self,
            "Pool",
            user_pool_name=prefix,
            self_sign_up_enabled=False,
            sign_in_case_sensitive=False,
            account_recovery=cognito.AccountRecovery.EMAIL_ONLY,
            standard_attributes=cognito.StandardAttributes(
                email=cognito.StandardAttribute(required=False, mutable=True)
            ),
            password_policy=cognito.PasswordPolicy(
                min_length=PASSWORD["MinimumLength"],
                require_lowercase=PASSWORD["RequireLowercase"],
                require_uppercase=PASSWORD["RequireUppercase"],
                require_digits=PASSWORD["RequireNumbers"],
                require_symbols=PASSWORD["RequireSymbols"],
            ),
            deletion_protection=protect,
            removal_policy=RemovalPolicy.RETAIN if protect else RemovalPolicy.DESTROY,
        )
        for rule, reason in {
            "AwsSolutions-COG2": "Whether users need a second factor is the operator's to say, in the pool itself.",
            "AwsSolutions-COG3": "Threat protection is of the Plus plan, which bills every active user.",
            "AwsSolutions-COG8": "The same.",
        }.items():
            Validations.of(pool).acknowledge(Acknowledgment(id=rule, reason=reason))
        for group, description in GROUPS.items():
            cognito.CfnUserPoolGroup(
                self,
                f"{group.title()}Group",
                user_pool_id=pool.user_pool_id,
                group_name=group,
                description=f"Its users {description}.",
            )
        client = pool.add_client(
            "Client",
            user_pool_client_name=prefix,
            generate_secret=False,
            disable_o_auth=not sign_in_domain,
            o_auth=_code_grant(callbacks) if sign_in_domain else None,
            auth_flows=cognito.AuthFlow(user_password=True, user_srp=True),
            access_token_validity=Duration.minutes(TOKEN_MINUTES),
            id_token_validity=Duration.minutes(TOKEN_MINUTES),
            refresh_token_validity=Duration.days(REFRESH_DAYS),
            enable_token_revocation=True,
            prevent_user_existence_errors=True,
        )
        if sign_in_domain:
            pool.add_domain("SignIn", cognito_domain=cognito.CognitoDomainOptions(domain_prefix=sign_in_domain))
        ids = (pool.user_pool_id, client.user_pool_client_id)
        for name, parameter, value in zip(("PoolId", "ClientId"), parameter_names(prefix), ids, strict=True):
            ssm.StringParameter(self, name, parameter_name=parameter, string_value=value)


def _code_grant(callbacks: Sequence[str]) -> cognito.OAuthSettings:
    """A browser gets a code in its URL, never a token."""
    return cognito.OAuthSettings(
        flows=cognito.OAuthFlows(authorization_code_grant=True),
        scopes=[cognito.OAuthScope.OPENID, cognito.OAuthScope.PROFILE],
        callback_urls=list(callbacks),
        logout_urls=list(callbacks),
    )
