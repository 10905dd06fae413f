"""The stores on DynamoDB: three tables, on demand, and no Scan but where an operator has a user forgotten."""

from adapters.dynamodb.definitions import STREAM_VIEW, table_definitions
from adapters.dynamodb.marks import DynamoMarks
from adapters.dynamodb.notices import DynamoNotices
from adapters.dynamodb.rows import TTL_ATTRIBUTE
from adapters.dynamodb.statuses import DynamoStatuses
from adapters.dynamodb.store import DynamoStore
from adapters.dynamodb.webhooks import DynamoWebhooks

__all__ = [
    "STREAM_VIEW",
    "TTL_ATTRIBUTE",
    "DynamoMarks",
    "DynamoNotices",
    "DynamoStatuses",
    "DynamoStore",
    "DynamoWebhooks",
    "table_definitions",
]
