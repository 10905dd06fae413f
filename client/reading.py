"""How far the user has read each room, and what of that the service has still to be told: one mark at a time a room.

A mark is (epoch, seq). The highest that was wanted while one is under way goes out when that is answered.
"""

from __future__ import annotations

__all__ = ["Reading"]

Place = tuple[int, int]
_NOWHERE = (-1, -1)


class Reading:
    """The marks of one user."""

    __slots__ = ("_asked", "_stands", "_wanted")

    def __init__(self) -> None:
        self._stands: dict[str, Place] = {}
        """Room → the mark that the service has named."""
        self._asked: dict[str, Place] = {}
        """Room → the one that is under way."""
        self._wanted: dict[str, Place] = {}
        """Room → one beyond both."""

    def want(self, room: str, place: Place) -> None:
        """The user has read so far."""
        there = (self._stands, self._asked, self._wanted)
        if place > max(it.get(room, _NOWHERE) for it in there):
            self._wanted[room] = place

    def begin(self, room: str) -> Place | None:
        """The mark to ask for now, if there is one and none is under way."""
        if room in self._asked or room not in self._wanted:
            return None
        place = self._asked[room] = self._wanted.pop(room)
        return place

    def answered(self, room: str) -> None:
        """None is under way any more."""
        self._asked.pop(room, None)

    def stands(self, room: str, place: Place) -> bool:
        """The service has named the user's mark; whether that is news."""
        if place <= self._stands.get(room, _NOWHERE):
            return False
        self._stands[room] = place
        if self._wanted.get(room, place) <= place:
            self._wanted.pop(room, None)
        return True

    def lost(self) -> None:
        """No answer will come to any; what was under way is wanted again."""
        asked, self._asked = self._asked, {}
        for room, place in asked.items():
            self.want(room, place)

    def forget(self, room: str) -> None:
        """Want nothing of the room."""
        self._wanted.pop(room, None)
