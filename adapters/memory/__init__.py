"""Every port in memory: for tests, for the simulation, and to read what the real adapters promise.

Each method gives way to other tasks at least once before its effect, so that tasks interleave as they do with real
services; the effect itself is one step. Data does not expire by itself, just as deletion by TTL lags.
"""

from adapters.memory.archive import MemoryArchive
from adapters.memory.clock import ManualClock
from adapters.memory.connections import MemoryConnections
from adapters.memory.marks import MemoryMarks
from adapters.memory.notices import MemoryNotices, MemoryPublisher
from adapters.memory.queue import MemoryQueue
from adapters.memory.receivers import Delivery, MemoryReceivers
from adapters.memory.statuses import MemoryStatuses
from adapters.memory.store import MemoryStore
from adapters.memory.webhooks import MemoryWebhooks

__all__ = [
    "Delivery",
    "ManualClock",
    "MemoryArchive",
    "MemoryConnections",
    "MemoryMarks",
    "MemoryNotices",
    "MemoryPublisher",
    "MemoryQueue",
    "MemoryReceivers",
    "MemoryStatuses",
    "MemoryStore",
    "MemoryWebhooks",
]
