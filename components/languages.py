"""Language code -> family of scripts."""

from __future__ import annotations

from babel.core import get_global

FAMILIES = ("cjk", "latin", "cyrillic", "arabic", "indic", "other")

# ISO 15924 codes. Indic: the Brahmic scripts of South Asia.
_SCRIPTS = {
    "cjk": "Hans Hant Hani Jpan Kore Hang Hira Kana Bopo",
    "latin": "Latn",
    "cyrillic": "Cyrl",
    "arabic": "Arab",
    "indic": "Deva Gujr Guru Beng Taml Telu Knda Mlym Orya Sinh",
}
FAMILY_OF_SCRIPT = {
    script: family for family, scripts in _SCRIPTS.items() for script in scripts.split()
}


def family_of(language: str) -> str:
    """Family of a language code.

    Args:
        language: ISO 639-1 or 639-3, with a script where it matters (``zh``, ``zh-Hans``,
            ``zho_Hans``, ``sr-Latn``).

    Returns:
        One of `FAMILIES`; ``other`` for a script outside the table or a code CLDR does not know.
    """
    parts = language.replace("_", "-").split("-")
    for part in parts[1:]:
        if len(part) == 4 and part.isalpha():
            return FAMILY_OF_SCRIPT.get(part.title(), "other")
    # CLDR's likely subtags: the script that a language is most often written in.
    code = parts[0].lower()
    code = get_global("language_aliases").get(code, code)
    if "_" in code:  # a script or a region of its own: ``sh`` is ``sr_Latn``
        return family_of(code)
    likely = get_global("likely_subtags").get(code, "")
    script = next((part for part in likely.split("_") if len(part) == 4), "")
    return FAMILY_OF_SCRIPT.get(script, "other")
