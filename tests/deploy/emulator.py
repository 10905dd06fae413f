"""The emulator as the deployment test wants it: IAM enforced, and where it differs from AWS, as AWS is.

Executed by path with the emulator's own interpreter, as `local/cloud_launcher.py` is. docs/emulator.md says of each
difference what AWS does. Everything here is the emulator's inside, which `requirements/cloud.txt` pins.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

LAUNCHER = Path(__file__).parents[2] / "local" / "cloud_launcher.py"
FRAME_LIMIT = 32 * 1024

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Serve = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

connected: ContextVar[dict[str, Any]] = ContextVar("connected")
"""What the $connect route's function has answered, in the task of its connection."""


class Unauthorized(Exception):
    """An authorizer has failed with the text that API Gateway makes 401 of."""


def make_app(port: int, config: Any) -> Serve:
    # Where functions find the emulator, and what its URLs say. Read when its modules are imported.
    os.environ["GATEWAY_PORT"] = str(port)
    # It knows messages, not frames: what is sent in one frame of more than 32 KB closes with 1009.
    config.websocket_max_message_size = FRAME_LIMIT
    from ministack.app import app  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

    add_route_responses()
    name_one_api()
    ask_no_identity_source()
    simplify_alarms()
    name_actions_of_batches()
    select_routes_strictly()
    answer_by_route_responses()
    tell_unauthorized()
    serve: Serve = app
    return as_api_gateway(serve)


# ---- CloudFormation


def add_route_responses() -> None:
    """The type AWS::ApiGatewayV2::RouteResponse, on the emulator's own API for it."""
    from ministack.services import apigateway  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    from ministack.services.cloudformation import (  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        provisioners,
    )

    def route(properties: Mapping[str, Any]) -> tuple[str, str]:
        # `Ref` of a route is API/ROUTE here, ROUTE on AWS.
        return properties["ApiId"], properties["RouteId"].rpartition("/")[2]

    def create(_name: str, properties: Mapping[str, Any], _stack: str) -> tuple[str, dict[str, str]]:
        asked = {"routeResponseKey": properties["RouteResponseKey"]}
        status, _, body = apigateway._create_route_response(*route(properties), asked)
        if status >= 300:
            raise ValueError(body.decode())
        response = json.loads(body)["routeResponseId"]
        return response, {"RouteResponseId": response}

    def delete(response: str, properties: Mapping[str, Any]) -> None:
        apigateway._delete_route_response(*route(properties), response)

    provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::RouteResponse"] = {"create": create, "delete": delete}


def name_one_api() -> None:
    """The tag that gives an API its id is on all that is deployed: it is the WebSocket API's."""
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415  # after the port is set: `make_app`

    api = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]
    create = api["create"]

    def create_named(name: str, properties: Mapping[str, Any], stack: str) -> Any:
        if properties.get("ProtocolType") == "HTTP":
            tags = {it: value for it, value in properties.get("Tags", {}).items() if it != "ms-custom-id"}
            properties = {**properties, "Tags": tags}
        return create(name, properties, stack)

    api["create"] = create_named


def ask_no_identity_source() -> None:
    """An authorizer for which the template names no identity source has none, not the Authorization header."""
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415

    authorizer = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Authorizer"]
    create = authorizer["create"]
    authorizer["create"] = lambda name, properties, stack: create(name, {"IdentitySource": [], **properties}, stack)


def simplify_alarms() -> None:
    """An alarm on metric math watches the first metric of its formula: the emulator can't do sums."""
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415

    record = provisioners._cw_metric_alarm_record

    def simple(name: str, properties: Mapping[str, Any]) -> Any:
        formula = properties.get("Metrics")
        if not formula:
            return record(name, properties)
        first = next(it["MetricStat"] for it in formula if "MetricStat" in it)
        plain = {it: value for it, value in properties.items() if it != "Metrics"}
        return record(name, {**plain, **first["Metric"], "Period": first["Period"], "Statistic": first["Stat"]})

    provisioners._cw_metric_alarm_record = simple


# ---- IAM


def name_actions_of_batches() -> None:
    """SendMessageBatch asks for sqs:SendMessage; there is no action sqs:SendMessageBatch."""
    from ministack.core import iam_actions  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

    named = iam_actions.extract_iam_action

    def action(*request: Any, **more: Any) -> str | None:
        name: str | None = named(*request, **more)
        return name.removesuffix("Batch") if name and name.startswith("sqs:") else name

    iam_actions.extract_iam_action = action


# ---- API Gateway


def select_routes_strictly() -> None:
    """A frame nested too deep takes $default, as one that is no JSON does; `$connect` is no route for a frame."""
    from ministack.services import apigateway  # noqa: PLC0415

    selected = apigateway._evaluate_route_selection

    def select(expression: str, frame: str) -> str:
        try:
            key: str = selected(expression, frame)
        except RecursionError:
            return "$default"
        return "$default" if key.startswith("$") else key

    apigateway._evaluate_route_selection = select


def answer_by_route_responses() -> None:
    """What a function returns is the client's answer where its route has a route response, and is dropped elsewhere.

    What $connect's returns is kept for `as_api_gateway`.
    """
    from ministack.services import apigateway  # noqa: PLC0415

    invoke = apigateway._invoke_ws_lambda

    async def invoked(
        api: str,
        account: str,
        region: str,
        route: dict[str, Any],
        stage: str,
        connection: str,
        kind: str,
        *rest: Any,
        **more: Any,
    ) -> dict[str, Any] | None:
        answer: dict[str, Any] | None = await invoke(
            api, account, region, route, stage, connection, kind, *rest, **more
        )
        if answer is None:
            return None
        if kind == "CONNECT":
            connected.set(answer)
        has_response = apigateway._route_responses.get(api, {}).get(route["routeId"])
        return answer if has_response else {**answer, "body": ""}

    apigateway._invoke_ws_lambda = invoked


def tell_unauthorized() -> None:
    """An authorizer that raises `Unauthorized` refuses with 401; every failure is 500 here."""
    from ministack.services import apigateway  # noqa: PLC0415

    run, authorize = apigateway.run_reentrant, apigateway._authorize_ws_connect

    async def run_function(*call: Any, **more: Any) -> Any:
        result = await run(*call, **more)
        refused = result.get("error") and result["body"].get("errorMessage") == "Unauthorized"
        if refused and more.get("thread_name") == "ministack-apigw-authorizer":
            raise Unauthorized
        return result

    async def authorize_connect(*request: Any) -> Any:
        try:
            return await authorize(*request)
        except Unauthorized:
            return (401, "Unauthorized"), None

    apigateway.run_reentrant = run_function
    apigateway._authorize_ws_connect = authorize_connect


def as_api_gateway(serve: Serve) -> Serve:
    """The emulator, as if it were reached by TLS, and a handshake and its frames as API Gateway has them.

    A refused $connect is its function's status, an accepted one is told the subprotocol that the function names, and a
    binary frame closes with 1003.
    """
    from ministack.services import apigateway  # noqa: PLC0415

    async def served(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await serve({**scope, "scheme": "https"}, receive, send)
        elif scope["type"] == "websocket":
            await websocket(scope, receive, send)
        else:
            await serve(scope, receive, send)

    async def websocket(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        accepted = False

        async def told(message: Mapping[str, Any]) -> None:
            nonlocal accepted
            answer = connected.get({})
            if message["type"] == "websocket.accept":
                accepted = True
                subprotocol = (answer.get("headers") or {}).get("Sec-WebSocket-Protocol")
                await send({**message, "subprotocol": subprotocol})
            elif message["type"] == "websocket.close" and not accepted and "statusCode" in answer:
                await apigateway._refuse_ws_handshake(scope, send, answer["statusCode"], answer.get("body"), "", "")
            else:
                await send(message)

        async def heard() -> dict[str, Any]:
            message = await receive()
            if message["type"] == "websocket.receive" and message.get("bytes") is not None:
                await send({"type": "websocket.close", "code": 1003})
                return {"type": "websocket.disconnect", "code": 1003}
            return message

        await serve(scope, heard, told)

    return served


def main() -> None:
    spec = importlib.util.spec_from_file_location("cloud_launcher", LAUNCHER)
    assert spec is not None
    assert spec.loader is not None
    launcher = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launcher)
    launcher.main(make_app)


if __name__ == "__main__":
    main()
