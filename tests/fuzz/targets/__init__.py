"""The targets: one for each way into the service."""

from collections.abc import Mapping

from tests.fuzz.target import Target
from tests.fuzz.targets.deliveries import Deliveries
from tests.fuzz.targets.frames import Frames
from tests.fuzz.targets.handshake import Handshakes
from tests.fuzz.targets.jobs import Jobs
from tests.fuzz.targets.management import Management
from tests.fuzz.targets.requests import Requests
from tests.fuzz.targets.upgrade import Upgrades

__all__ = ["TARGETS"]

TARGETS: Mapping[str, type[Target]] = {
    it.name: it for it in (Requests, Handshakes, Jobs, Management, Upgrades, Frames, Deliveries)
}
