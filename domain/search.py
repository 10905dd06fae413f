"""What a search finds: (text, query) -> whether all words of the query are in the text.

    fold        what is the same to who searches becomes the same text: case, accents, widths, vowel marks
    word        a run of letters, digits and the marks on them, in any script
    found       where a word of the text begins with the word of the query

Some scripts have no spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese): a word of theirs is found
anywhere. Everything is by Unicode's own tables, in the version that Python has; nothing depends on a language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from domain.errors import Refused

__all__ = ["Query", "fold", "read_query"]

_OTHER_FORMS = str.maketrans(
    {
        "ı": "i",  # Turkish writes ISPARTA and means ısparta, and who searches types either
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "ħ": "h",
        "ł": "l",
        "ŧ": "t",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "\N{ARABIC TATWEEL}": "",  # it only makes a word longer
    }
)
"""Letters that are written as others by who has no key for them, and that Unicode takes for letters of their own."""
_SPACELESS = re.compile(
    "[\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese
    "\u3041-\u30ff\u31f0-\u31ff]+"  # Japanese
)
_VOICING, _VIRAMA = 8, 9
"""Combining classes whose marks make another letter of one: か and が, and the sign that a syllable has no vowel."""
_FIXED_LAST = 36
"""The last of the classes of Hebrew's, Arabic's and Syriac's marks. Those up to 199 are vowels of Indic scripts and of
Thai, without which a word is another."""
_ABOVE_AND_BELOW = 200
"""The first of the classes of accents."""


@dataclass(frozen=True, slots=True)
class Query:
    """The words to look for, folded. `anywhere`: those of scripts without spaces; `beginnings`: all others."""

    anywhere: Sequence[str]
    beginnings: Sequence[str]

    def matches(self, text: str) -> bool:
        """Whether all of them are in a message's text."""
        folded = fold(text)
        return all(it in folded for it in self.anywhere) and all(_begins(it, folded) for it in self.beginnings)


def read_query(text: str) -> Query:
    """The query that somebody has typed, or `Refused` where it has no word."""
    anywhere, beginnings = [], []
    for word in _words(fold(text)):
        last = 0
        for run in _SPACELESS.finditer(word):
            beginnings.append(word[last : run.start()])
            anywhere.append(run[0])
            last = run.end()
        beginnings.append(word[last:])
    # The longest first: it is in the fewest texts, and the rest need not be looked for there.
    query = Query(
        *(sorted({it for it in words if it}, key=lambda it: (-len(it), it)) for words in (anywhere, beginnings))
    )
    if not query.anywhere and not query.beginnings:
        raise Refused("BAD_REQUEST", "`query`: there is no letter and no digit in it")
    return query


def fold(text: str) -> str:
    """The text as it is compared: without case, accents, vowel marks, widths and invisible characters.

    >>> fold("Ｓtraße in İSTANBUL: ΟΔΟΣ")
    'strasse in istanbul: οδοσ'
    """
    if text.isascii():
        return text.lower()
    # Twice, since casefold may take apart what has to be put in order again, and put together what has to be folded.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).casefold()
    kept = "".join(it for it in decomposed if not _is_dropped(it))
    return unicodedata.normalize("NFC", kept.translate(_OTHER_FORMS))


@lru_cache(maxsize=4096)
def _is_dropped(character: str) -> bool:
    """Whether it is a mark that people leave out when they search, or can't be seen."""
    if character.isascii():
        return False
    mark = unicodedata.combining(character)
    if mark:
        return (mark <= _FIXED_LAST and mark not in {_VOICING, _VIRAMA}) or mark >= _ABOVE_AND_BELOW
    category = unicodedata.category(character)
    # Joiners, soft hyphens, marks of direction; and what chooses between forms of a sign.
    return category == "Cf" or "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def _is_letter(character: str) -> bool:
    """Whether it is within words: a letter, a digit, or a mark on one."""
    return character.isalnum() or (not character.isascii() and unicodedata.category(character).startswith("M"))


def _words(folded: str) -> list[str]:
    return "".join(it if _is_letter(it) else " " for it in folded).split()


def _begins(word: str, folded: str) -> bool:
    """Whether a word of the text begins so."""
    place = folded.find(word)
    while place >= 0:
        before = folded[place - 1 : place]
        if not before or not _is_letter(before) or _SPACELESS.match(before):
            return True
        place = folded.find(word, place + 1)
    return False
