"""What is the same text: held against Unicode's own tables and a plain loop."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import regex

from search.data.comparison import INVISIBLE, WHITE_SPACE, comparable, number_texts

EVERY = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]


def matched(pattern: str) -> set[str]:
    column = pa.array(EVERY, pa.large_string())
    return set(column.filter(pc.match_substring_regex(column, pattern)).to_pylist())


def test_invisible_is_what_unicode_says_may_be_ignored() -> None:
    ignorable = regex.compile(r"\p{Default_Ignorable_Code_Point}")
    assert matched(INVISIBLE) == {character for character in EVERY if ignorable.match(character)}


def test_white_space_is_what_python_splits_at() -> None:
    assert matched(WHITE_SPACE) == {character for character in EVERY if character.isspace()}


def slow(text: str) -> str:
    seen = "".join(c for c in text if not regex.match(r"\p{Default_Ignorable_Code_Point}", c))
    return " ".join(unicodedata.normalize("NFC", seen).split())


SAME = {
    "a zero-width space": ("a b", "a\u200b b"),
    "a byte order mark": ("a", "\ufeffa"),
    "a soft hyphen": ("hyphen", "hy\u00adphen"),
    "a mark of direction": ("שלום", "\u200fשלום\u202c"),
    "the non-joiner of Persian": ("می\u200cخواهم", "میخواهم"),
    "the joiner of Devanagari": ("क्\u200dष", "क्ष"),
    "an accent of its own": ("é", "e\u0301"),
    "an accent behind something invisible": ("é", "e\u200b\u0301"),
    "jamo": ("한", "\u1112\u1161\u11ab"),
    "other spaces": ("a b c", "\u3000a\u00a0\tb\r\n  c\u2003"),
    "an emoji in text style": ("\u2764", "\u2764\ufe0f"),
}
OTHER = {
    "case": ("a", "A"),
    "width": ("ａ", "a"),
    "a ligature": ("ﬁ", "fi"),
    "no space at all": ("ab", "a b"),
    "a dot": ("a", "a."),
    "an accent": ("e", "é"),
    "a vowel sign": ("क", "कि"),
}


@pytest.mark.parametrize("case", SAME)
def test_what_nobody_sees_makes_no_other_text(case: str) -> None:
    one, other = SAME[case]
    assert one != other
    column = pa.chunked_array([pa.array([one, other, None], pa.large_string())])
    assert comparable(column).to_pylist() == [slow(one), slow(other), None]
    assert slow(one) == slow(other)
    numbers = number_texts([column])[0]
    assert numbers[0] == numbers[1] >= 0
    assert numbers[2] == -1


@pytest.mark.parametrize("case", OTHER)
def test_what_is_seen_makes_another(case: str) -> None:
    column = pa.chunked_array([pa.array(OTHER[case], pa.large_string())])
    assert comparable(column).to_pylist() == [slow(text) for text in OTHER[case]]
    assert len(set(number_texts([column])[0].tolist())) == 2


def test_blank_text_has_no_number_and_columns_share_none() -> None:
    column = pa.chunked_array([["a", "", None], [" \u200b\n", "b", "a"]], pa.large_string())
    numbers = number_texts([column, column])
    assert (numbers >= 0).tolist() == [[True, False, False, False, True, True]] * 2
    assert numbers[0, 0] == numbers[0, 5] != numbers[0, 4]
    assert not np.isin(numbers[0][numbers[0] >= 0], numbers[1]).any()
    assert number_texts([column.slice(0, 0)]).shape == (1, 0)
