"""When two texts are the same: compared without invisible characters.

Text is compared after three steps, and trained on as it was given:

1. Invisible characters are removed: Unicode's property Default_Ignorable_Code_Point (zero-width
   spaces, soft hyphens, byte order marks, marks of direction, variation selectors). The zero-width
   joiner and non-joiner are among them. They change the shape of letters in Persian and in Indic
   scripts, but texts that differ in nothing else are still one sentence, often typed by two people.
2. Unicode's normal form C (UAX #15): ``é`` is one sentence's ``é``, however it is encoded.
3. A run of white space is one space, and none at the ends.

Arrow does all of it, without a Python object a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# Classes of RE2, which Arrow uses; a test holds both against Unicode's own tables.
INVISIBLE = (
    r"[\x{AD}\x{34F}\x{61C}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{200B}-\x{200F}"
    r"\x{202A}-\x{202E}\x{2060}-\x{206F}\x{3164}\x{FE00}-\x{FE0F}\x{FEFF}\x{FFA0}\x{FFF0}-\x{FFF8}"
    r"\x{1BCA0}-\x{1BCA3}\x{1D173}-\x{1D17A}\x{E0000}-\x{E0FFF}]+"
)
WHITE_SPACE = (
    r"[\x{9}-\x{D}\x{1C}-\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}"
    r"\x{205F}\x{3000}]+"
)


def comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The texts of a column as they are compared; null stays null, and blank text is empty.

    Args:
        column: of type large_string.
    """
    column = pc.replace_substring_regex(column, INVISIBLE, "")
    column = pc.utf8_normalize(column, form="NFC")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(column, WHITE_SPACE, " "))


def number_texts(columns: Sequence[pa.ChunkedArray]) -> Ints:
    """Number the different texts of L columns of R rows.

    Returns:
        (L, R) int64: equal numbers are the same text in the same column, and no two columns share a
        number; -1 where the text is missing or blank.
    """
    numbers, first = [], 0
    for column in columns:
        texts = comparable(column)
        texts = pc.if_else(pc.equal(texts, ""), None, texts).combine_chunks()
        indices = texts.dictionary_encode().indices.cast(pa.int64())
        numbered = pc.fill_null(indices, -1).to_numpy(zero_copy_only=False)
        numbers.append(np.where(numbered < 0, -1, numbered + first))
        first += int(numbered.max(initial=-1)) + 1
    return np.stack(numbers) if numbers else np.zeros((0, 0), np.int64)
