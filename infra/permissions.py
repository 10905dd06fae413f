"""What each function may do: exactly the actions that its code calls, on exactly the tables, indexes and queues.

A worker's name is its lane's. There is no Scan, and no `*` but where a name is not known before it is there: the open
connections of this API's stage, and the streams of a function's own log group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.dynamodb.rows import DIRECTORY_INDEX

__all__ = ["INDEXES", "NAMES", "OBJECTS", "PUBLISHES", "SENDS", "SOCKETS", "STREAM", "TABLES", "WORKS"]

_PURGE = {
    # Who is gone leaves all its rooms, and they are told: `AnnouncingRoster`. GetItem: a leave whose first try died.
    "connections": ("GetItem", "Query", "DeleteItem"),
    # GetItem, BatchGetItem, Query: how the user is, of the connections that are left: `WorkOut`.
    "rooms": ("GetItem", "BatchGetItem", "Query", "UpdateItem", "DeleteItem"),
}
_DURABLE = {
    "connections": _PURGE["connections"],
    "rooms": _PURGE["rooms"],
    "messages": ("Query",),
}

TABLES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "authorizer": {},
    "connect": {
        "connections": ("GetItem", "Query", "PutItem", "DeleteItem"),
        # Query: whom a room that seems full really has.
        "rooms": ("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"),
    },
    "disconnect": _PURGE,
    "message": {
        "connections": ("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem"),
        "rooms": ("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"),
        # UpdateItem: what becomes of a message; DeleteItem: a reaction that is taken back.
        "messages": ("BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"),
    },
    "publish": {
        # Of a service there is no connection; the read of all that a send depends on asks for one all the same.
        "connections": ("BatchGetItem", *_PURGE["connections"]),
        "rooms": _PURGE["rooms"],
        "messages": ("BatchGetItem", "PutItem"),
    },
    "incoming": {
        # As of a service, there is none.
        "connections": ("BatchGetItem",),
        # GetItem: the hook; UpdateItem: the room's head.
        "rooms": ("GetItem", "BatchGetItem", "UpdateItem"),
        "messages": ("BatchGetItem", "PutItem"),
    },
    "tick": {
        "connections": ("GetItem", "Query", "PutItem", "DeleteItem"),
        "rooms": _PURGE["rooms"],
    },
    "interactive": _DURABLE,
    "bulk": _DURABLE,
    "retry": {
        "connections": _PURGE["connections"],
        "rooms": _PURGE["rooms"],
        "messages": ("Query",),
    },
    "ephemeral": {
        "connections": _PURGE["connections"],
        "rooms": _PURGE["rooms"],
    },
    # What rooms want to keep.
    "archive": {"rooms": ("BatchGetItem",)},
    "hooks": {
        # UpdateItem: how far a receiver is, and that its hook is disabled.
        "rooms": ("GetItem", "UpdateItem"),
        "messages": ("Query",),
    },
}
"""Function → table → DynamoDB actions. A transaction needs those of its parts."""

INDEXES: Mapping[str, Mapping[str, Sequence[str]]] = {"message": {"rooms": (DIRECTORY_INDEX,)}}
"""Function → table → the indexes that it queries."""

SENDS: Mapping[str, Sequence[str]] = {
    "connect": ("ephemeral",),
    "disconnect": ("ephemeral",),
    "message": ("interactive", "bulk", "ephemeral", "hooks"),
    "publish": ("interactive", "bulk", "ephemeral", "hooks"),
    "incoming": ("interactive", "bulk", "hooks"),
    "tick": ("ephemeral",),
    "interactive": ("retry", "ephemeral"),
    "bulk": ("bulk", "retry", "ephemeral"),
    "retry": ("retry", "ephemeral"),
    "ephemeral": ("ephemeral", "hooks"),
    "hooks": ("ephemeral", "hooks"),
}
"""Function → the lanes that it sends jobs to. A worker may send to its own dead-letter queue too."""

PUBLISHES: Sequence[str] = ("ephemeral",)
"""Functions that publish notices, to the one topic, where the deployment has one."""

WORKS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes")
"""What a worker, and the mapping that feeds it under its role, do to its own queue."""

SOCKETS: Mapping[str, Sequence[str]] = {
    "message": ("DELETE",),  # who is kicked
    "publish": ("DELETE",),
    "tick": ("DELETE",),
    "interactive": ("POST",),
    "bulk": ("POST",),
    "retry": ("POST", "DELETE"),
    "ephemeral": ("POST",),
}
"""Function → what it does to open connections."""

STREAM = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams")
"""What the mapping that feeds `archive` does to the messages table's stream, under the function's role."""

OBJECTS = ("s3:GetObject", "s3:PutObject")
"""What `archive` does to the objects of its bucket."""

NAMES = ("s3:ListBucket",)
"""And to the bucket."""
