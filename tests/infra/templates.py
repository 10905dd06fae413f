"""Reading a CloudFormation template in the service's own words."""

from __future__ import annotations

from typing import Any

__all__ = ["Template"]

NAMES = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SNS::Topic": "TopicName",
}
"""Type → the property with the name that we gave it."""


class Template:
    """A template whose references are read as names: `Ref` is `<name>`, `GetAtt` is `<name.Attribute>`.

    `name` is the resource's own name where it has one, else its logical id; a parameter of AWS's is `<AWS::…>`.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.outputs = {name: self.plain(it["Value"]) for name, it in body.get("Outputs", {}).items()}

    def of(self, kind: str) -> dict[str, Any]:
        """Logical id → the properties of each resource of the type, in plain words."""
        found = {name: it for name, it in self.body["Resources"].items() if it["Type"] == kind}
        assert found, f"no {kind}"
        return {name: self.plain(it["Properties"]) for name, it in found.items()}

    def named(self, kind: str) -> dict[str, Any]:
        """The resource's own name → its properties."""
        return {it[NAMES[kind]]: it for it in self.of(kind).values()}

    def ids(self, kind: str) -> dict[str, str]:
        """The resource's own name → its logical id."""
        return {it[NAMES[kind]]: name for name, it in self.of(kind).items()}

    def plain(self, value: Any) -> Any:
        match value:
            case {"Ref": str(name)}:
                return f"<{self._name(name)}>"
            case {"Fn::GetAtt": [name, attribute]}:
                return f"<{self._name(name)}.{attribute}>"
            case {"Fn::Join": [separator, parts]}:
                return separator.join(map(str, map(self.plain, parts)))
            case dict():
                return {name: self.plain(it) for name, it in value.items()}
            case list():
                return [self.plain(it) for it in value]
            case _:
                return value

    def _name(self, logical_id: str) -> str:
        resource = self.body["Resources"].get(logical_id)
        if resource is None:
            return logical_id
        name = resource["Properties"].get(NAMES.get(resource["Type"], ""), logical_id)
        return str(name)
