"""Language code, or bare text -> family of scripts."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile

from babel.core import get_global

FAMILIES = ("cjk", "latin", "cyrillic", "arabic", "indic", "other")

# The one table: family, then each script of it as its ISO 15924 code and the words that the Unicode
# names of its letters begin with. Of scripts that share a word the one for all its letters comes
# first. Indic: the Brahmic scripts of South Asia.
_TABLE = {
    "cjk": "Hani CJK, Hans CJK, Hant CJK, Hira HIRAGANA, Kana KATAKANA, Hrkt HIRAGANA KATAKANA, "
    "Jpan HIRAGANA KATAKANA, Hang HANGUL, Kore HANGUL, Bopo BOPOMOFO",
    "latin": "Latn LATIN",
    "cyrillic": "Cyrl CYRILLIC",
    "arabic": "Arab ARABIC, Aran ARABIC",
    "indic": "Deva DEVANAGARI, Gujr GUJARATI, Guru GURMUKHI, Beng BENGALI, Taml TAMIL, "
    "Telu TELUGU, Knda KANNADA, Mlym MALAYALAM, Orya ORIYA, Sinh SINHALA, Mtei MEETEI, "
    "Cakm CHAKMA, Lepc LEPCHA, Limb LIMBU, Newa NEWA, Saur SAURASHTRA, Sylo SYLOTI",
    "other": "Grek GREEK, Hebr HEBREW, Armn ARMENIAN, Geor GEORGIAN, Ethi ETHIOPIC, Thai THAI, "
    "Laoo LAO, Khmr KHMER, Mymr MYANMAR, Tibt TIBETAN, Mong MONGOLIAN, Syrc SYRIAC, Thaa THAANA, "
    "Tfng TIFINAGH, Nkoo NKO, Cher CHEROKEE, Olck OL, Java JAVANESE, Bali BALINESE, "
    "Sund SUNDANESE, Bugi BUGINESE, Cans CANADIAN, Adlm ADLAM, Yiii YI",
}
FAMILY_OF_SCRIPT: dict[str, str] = {}
WORDS_OF_SCRIPT: dict[str, tuple[str, ...]] = {}
for _family, _scripts in _TABLE.items():
    for _script, *_words in (entry.split() for entry in _scripts.split(", ")):
        FAMILY_OF_SCRIPT[_script] = _family
        WORDS_OF_SCRIPT[_script] = tuple(_words)


@dataclass(frozen=True)
class Tag:
    """A language code, taken apart.

    Attributes:
        language: as CLDR writes it: ISO 639-1 where there is one (``cmn`` and ``zho`` are ``zh``).
        script: ISO 15924, as given or as the language is most often written; empty if unknown.
    """

    language: str
    script: str


def parse(code: str) -> Tag:
    """Take a code apart: ISO 639-1, ISO 639-3, BCP 47 or FLORES (``zh zho zh-Hans zho_Hans``)."""
    first, *rest = re.split("[-_]", code)
    rest = list(takewhile(lambda part: len(part) > 1, rest))  # up to a ``-u-`` or ``-x-``
    written = [part.title() for part in rest if len(part) == 4 and part.isalpha()]
    language = first.lower()
    language = get_global("language_aliases").get(language, language)
    if "_" in language:  # a script or a region of its own: ``sh`` is ``sr_Latn``
        own = parse(language)
        return Tag(own.language, (written or [own.script])[0])
    if written or language == "und":  # undetermined, which CLDR takes for English
        return Tag(language, (written or [""])[0])
    regions = [part.upper() for part in rest if len(part) == 2 and part.isalpha()]
    subtags = get_global("likely_subtags")
    likely = next(
        (subtags[key] for key in [*(f"{language}_{r}" for r in regions), language]
         if key in subtags), "",
    )  # fmt: skip
    return Tag(language, next((part for part in likely.split("_") if len(part) == 4), ""))


@dataclass(frozen=True)
class FamilyTable:
    """The table, with a user's changes to it.

    Attributes:
        changes: language code or ISO 15924 script -> family, one of `FAMILIES` or a name of one's
            own. A language in one script (``pa-Arab``) goes before the language, that before the
            script. Bare text shows no language, so only changes of scripts concern it.
    """

    changes: Mapping[str, str] = field(default_factory=dict)

    def of(self, code: str) -> str | None:
        """Family of a language code; ``other`` for a script outside the table, None if unknown."""
        tag = parse(code)
        for key in (tag, tag.language, tag.script, _whole(tag.script)):
            if key in self._changes:
                return self._changes[key]
        return FAMILY_OF_SCRIPT.get(tag.script, "other") if tag.script else None

    def of_text(self, text: str) -> str:
        """Family of bare text, by the script of most of its letters."""
        return family_of_text(text, self.words())

    def words(self) -> dict[str, str]:
        """First word of a letter's Unicode name -> family."""
        table: dict[str, str] = {}
        changed = {s: self._changes[s] for s in WORDS_OF_SCRIPT if s in self._changes}
        for script, family in [*changed.items(), *FAMILY_OF_SCRIPT.items()]:
            for word in WORDS_OF_SCRIPT[script]:
                table.setdefault(word, family)
        return table

    @cached_property
    def _changes(self) -> dict[Tag | str, str]:
        """The changes by what they name: a language in one script, a language, or a script."""
        named: dict[Tag | str, str] = {}
        for key, family in self.changes.items():
            tag = parse(key)
            if len(key) == 4 and key.isalpha():  # no language has a code of four letters
                named[key.title()] = family
            elif re.search("[-_]", key) or tag != parse(tag.language):
                named[tag] = family
            else:
                named[tag.language] = family
        return named


def _whole(script: str) -> str:
    """The script for all the letters of a script: ``Hani`` of ``Hans``; itself for most."""
    words = WORDS_OF_SCRIPT.get(script, ())[:1]
    return next((s for s, shared in WORDS_OF_SCRIPT.items() if shared[:1] == words), script)


def family_of(language: str) -> str:
    """Family of a language code in the table as it is; ``other`` if it is unknown."""
    return FamilyTable().of(language) or "other"


def family_of_text(text: str, family_of_word: Mapping[str, str]) -> str:
    """Family of bare text, by the script of most of its letters; ``other`` where it has none.

    Of families with as many letters, the one that comes first in the text.

    Args:
        family_of_word: first word of a letter's Unicode name (``GUJARATI``) -> family.
    """
    # Modifier letters (Lm) are left out: they stand between scripts, and the names of some tell
    # none, as that of the prolonged sound mark in Japanese or of the apostrophe in Ukrainian.
    normal = unicodedata.normalize("NFKC", text)
    letters = [c for c in normal if c.isalpha() and unicodedata.category(c) != "Lm"]
    words = (unicodedata.name(letter, "").split(" ")[0] for letter in letters)
    families = Counter(family_of_word.get(word, "other") for word in words)
    return max(families, key=lambda family: families[family], default="other")
