"""A review that refuses messages with words of a list: whole words, whatever their case and accents.

Characters without width, which hide a word from a plain comparison, are ignored. It is a fence, not a wall: who writes
letters that only look alike gets through.
"""

from __future__ import annotations

import re
import unicodedata

from domain.review import Allow, Refuse, Reviewer, Verdict

__all__ = ["folded_words", "word_filter"]

REASON = "The message has a word in it that is not allowed here"
_ALLOW, _REFUSE = Allow(), Refuse(REASON)
_WORD = re.compile(r"[^\W_]+")
_IGNORED = frozenset({"Mn", "Me", "Cf"})
"""Unicode categories: accents and other marks, and what has no width."""


def word_filter(words: str) -> Reviewer:
    """The review for a list with commas between its words, each of which may be several in a row."""
    sought = {tuple(folded_words(it)) for it in words.split(",")} - {()}
    lengths = sorted({len(it) for it in sought})

    async def review(room: str, user: str, text: str) -> Verdict:
        found = folded_words(text)
        hit = any(tuple(found[at : at + it]) in sought for it in lengths for at in range(len(found) - it + 1))
        return _REFUSE if hit else _ALLOW

    return review


def folded_words(text: str) -> list[str]:
    """The words of a text, letters and digits, as they are compared."""
    # Twice: `ß` folds to two letters, and some letters fold to ones that decompose.
    return _WORD.findall(_bare(_bare(text).casefold()))


def _bare(text: str) -> str:
    return "".join(it for it in unicodedata.normalize("NFKD", text) if unicodedata.category(it) not in _IGNORED)
