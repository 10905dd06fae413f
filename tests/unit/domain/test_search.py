"""What a search finds: folding, words and beginnings of words, in any script."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Refused
from domain.search import fold, read_query

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LATIN = st.text(
    st.characters(min_codepoint=0x41, max_codepoint=0x24F, categories=["Lu", "Ll"]), min_size=1, max_size=12
)


def found(query: str, text: str) -> bool:
    return read_query(query).matches(text)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("release", "The RELEASE is out"),
        ("rel out", "out with the release"),  # beginnings of words, in any order
        ("cafe", "Cafés"),
        ("CAFÉ", "cafe\N{COMBINING ACUTE ACCENT}"),
        ("strasse", "DIE STRAẞE"),
        ("straße", "Strasse"),
        ("istanbul", "İSTANBUL"),
        ("İstanbul", "istanbul"),
        ("ISPARTA", "ısparta"),
        ("ısparta", "Isparta"),
        ("οδος", "ΟΔΌΣ"),
        ("ΟΔΟΣ", "οδός"),
        ("lodz", "Łódź"),
        ("smorrebrod", "Smørrebrød"),
        ("елка", "Ёлка"),
        ("tokyo 2026", "ＴＯＫＹＯ　２０２６"),
        ("ｶﾞﾗｽ", "ガラス"),
        ("fine", "ﬁne"),
        ("שלום", "שָׁלוֹם"),
        ("محمد", "مُحَمَّد"),
        ("سلام", "ســــلام"),
        ("أحمد", "احمد"),
        ("하늘", "푸른 하늘은"),
        ("東京", "私は東京タワーへ"),
        ("東京tower", "the tower of 東京"),
        ("tower", "東京tower"),
        ("ประเทศ", "ฉันรักประเทศไทย"),
        ("हिन्दी", "वह हिन्दी बोलती है"),
        ("bar", "foo_bar"),
        ("don't", "I don't"),
        ("c++", "C is fine"),
        ("soft", "so\N{SOFT HYPHEN}ft"),
        ("42", "room 421"),
    ],
)
def test_what_is_found(query: str, text: str) -> None:
    """Case, accents, widths, vowel marks and order are no matter."""
    assert found(query, text)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("release out", "the release"),  # all of the words
        ("lease", "the release"),  # the beginning of a word
        ("tower", "watchtower"),
        ("a b", "ab"),
        ("かき", "がき"),  # other letters, not the same with a mark
        ("มา", "มี"),
        ("कल", "काल"),
        ("東京", "東 京"),
        ("release", ""),
        ("늘", "하늘"),
    ],
)
def test_what_is_not_found(query: str, text: str) -> None:
    """Part of a word, part of the words, other letters."""
    assert not found(query, text)


@pytest.mark.parametrize("query", ["", "   ", "…!?", "__", "\N{COMBINING ACUTE ACCENT}", "👍", "\N{SOFT HYPHEN}"])
def test_a_query_without_a_word_is_refused(query: str) -> None:
    """Everything, or nothing, would be found by it."""
    with pytest.raises(Refused, match="`query`: there is no letter and no digit in it"):
        read_query(query)


@given(TEXTS)
def test_folding_is_done_once(text: str) -> None:
    """What is folded stays as it is."""
    assert fold(fold(text)) == fold(text)


@given(TEXTS)
def test_how_a_text_is_composed_is_no_matter(text: str) -> None:
    """Composed and decomposed it is the same, and so are its compatible forms."""
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    assert {fold(it) for it in forms} == {fold(text)}


@given(LATIN)
def test_case_and_accents_are_no_matter(word: str) -> None:
    """Of Latin letters, whatever the language makes of them."""
    assert fold(word.upper()) == fold(word.lower()) == fold(word)
    assert fold("\N{COMBINING DIAERESIS}".join(word) + "\N{COMBINING CEDILLA}") == fold(word)


@given(st.lists(st.text("abcdéß東กλжש7", min_size=1, max_size=6), min_size=1, max_size=6), st.data())
def test_a_text_is_found_by_beginnings_of_its_words(words: list[str], data: st.DataObject) -> None:
    """Of any of them, in any order and case."""
    asked = data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=4))
    cut = [it[: data.draw(st.integers(1, len(it)))] for it in asked]
    assert found(" ".join(cut), ", ".join(words))
    assert found(" ".join(cut).upper(), "-".join(words))
    assert not found(" ".join([*cut, "zz"]), " ".join(words))
