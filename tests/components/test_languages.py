"""Families of scripts."""

from __future__ import annotations

import pytest

from components.languages import FAMILIES, family_of


@pytest.mark.parametrize(
    ("language", "family"),
    [
        ("zh", "cjk"), ("zho", "cjk"), ("zho_Hans", "cjk"), ("ja", "cjk"), ("ko", "cjk"),
        ("en", "latin"), ("de", "latin"), ("sr-Latn", "latin"),
        ("ru", "cyrillic"), ("sr", "cyrillic"), ("ar", "arabic"), ("fa", "arabic"),
        ("hi", "indic"), ("gu", "indic"), ("pa", "indic"), ("pa-Arab", "arabic"),
        ("pan_Guru", "indic"), ("am", "other"), ("xx", "other"), ("", "other"),
        ("EN", "latin"), ("pt-BR", "latin"), ("zh-Hant-TW", "cjk"), ("yue_hant", "cjk"),
        ("sr-Cyrl", "cyrillic"), ("khk_Cyrl", "cyrillic"), ("arb", "arabic"),
        # CLDR knows these by another code that brings a script or a region of its own.
        ("sh", "latin"), ("hbs", "latin"), ("sh-Cyrl", "cyrillic"), ("prs", "arabic"),
    ],
)  # fmt: skip
def test_family_of(language: str, family: str) -> None:
    assert family_of(language) == family
    assert family in FAMILIES
