"""Which columns hold a language: by their names."""

from __future__ import annotations

import re
from functools import cache
from itertools import takewhile

from babel import Locale
from babel.core import get_global

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

# Codes of ISO 639 that are also ordinary names of columns (or ends of file names). Such a column is
# a language only where data.languages lists it.
_WORDS = """
    to ts mt nr abs add age all alt and any app arg art asr aut avg bag bin bio bit bot bow box bug
    but cat chr cid col com cos cut day den dev did dim dir dis doc dup end err ext fit fix fmt for
    gap gen get gid gpt has hex hit hot hyp idx ids iid ins int iso its job key kid lab lan law lbl
    len lex lib lid lim lng loc log lon los low mae man map mat max med mem mid min mod mon mse msg
    nam ner net new nid nom non nos not now num obj old one opt org par pid pos pre pro pub qid ran
    raw ref reg rel rep res ret rid rng row run sac sec seg sel seq ser set sex sha sid sim siz spe
    spk src std sub sum sys tab tag tax ten ter tgt the tid tim tok top tot tpl trg tru tsv two txt
    typ uid unk uri url use usr val var vec ver vid vol way web wer win xml yes
"""
COLUMN_WORDS = frozenset(_WORDS.split())
ROW_NUMBER = "id"  # Indonesian, but far more often the number of the row
NOT_A_LANGUAGE = frozenset({"und", "mul", "zxx", "mis", "root"})


def is_code(name: str) -> bool:
    """Whether a name is a language code: ISO 639-1, ISO 639-3, BCP 47 or FLORES.

    Codes that are also ordinary words (``id``, ``src``, ``url``) count as codes here.
    """
    first, *rest = re.split("[-_]", name)
    if not all(part.isascii() and part.isalnum() for part in rest):
        return False
    # Up to an extension or a private part, ``-u-`` or ``-x-``, which may say anything.
    rest = list(takewhile(lambda part: len(part) > 1, rest))
    if not re.fullmatch("[A-Za-z]{2,3}", first) or first.lower() not in _languages():
        return False
    for place, part in enumerate(rest):
        script = place == 0 and len(part) == 4 and part.title() in _scripts()
        region = place == len(rest) - 1 and part.upper() in _regions()
        if not script and not region:
            return False
    return True


def is_ambiguous(name: str) -> bool:
    """Whether a language code is also an ordinary name of a column: ``id``, ``src``, ``en_id``."""
    low = name.lower()
    if low in COLUMN_WORDS or low == ROW_NUMBER:
        return True
    # ``en_id`` is English of Indonesia, in theory.
    return name.endswith(("_id", "-id")) and low[:-3] not in ("id", "jv", "su", "ms", "min", "ban")


def is_language(name: str) -> bool:
    """Whether a column of this name is a language without being listed."""
    return is_code(name) and not is_ambiguous(name)


def check_name(name: str) -> None:
    """Check the name of a language, which becomes part of file names and of output.

    Raises:
        ValueError: it holds anything but letters, digits, ``-`` and ``_``.
    """
    if not PLAIN_NAME.fullmatch(name):
        raise ValueError(
            f"holds {name!r}; the name of a language must be letters (a to z), digits, '-' and '_'"
        )


@cache
def _languages() -> frozenset[str]:
    known = {key.split("_")[0] for key in get_global("likely_subtags")}
    known |= {key.split("_")[0] for key in get_global("language_aliases")}
    return frozenset(known - NOT_A_LANGUAGE)


@cache
def _scripts() -> frozenset[str]:
    return frozenset(Locale("en").scripts)


@cache
def _regions() -> frozenset[str]:
    return frozenset(Locale("en").territories)
