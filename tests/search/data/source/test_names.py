"""Which names of columns are languages."""

from __future__ import annotations

import pytest

from components.languages import family_of
from search.data.reading.names import is_ambiguous, is_code, is_language

# FLORES-200 and others: ISO 639-1, ISO 639-3, BCP 47, scripts, regions.
LANGUAGES = """
    en de zh ar ko gu pa no is it he am my so or as eng deu zho cmn arb swh plt npi als khk lvs
    nob nno pes prs uzn ydd zsm azj bho mni kas fil yue ceb tpi quy ltg fuv kmb ory zh-Hans
    zho_Hans zho_Hant pt_BR pt-br en-US es-419 sr-Latn sr_Cyrl_RS pa-Arab ace_Arab kas_Deva
    min_Latn lin_Latn tsn tso tum EN De jv_ID id_ID
"""
WORDS = """
    score source target src tgt text label idx index title url domain lang language name date
    year time uuid key ref doc num pos tag set len min max row raw log sentence sentence1 s1 s2
    en_score de_len english english_text corpus split file path license translation meta
    similarity quality alignment length tokens hash topic category author comment note
    id ID Id en_id de-id und mul zxx x e 1 en1 en. .en en/de ../../x [/x] column_1 Unnamed
"""


@pytest.mark.parametrize("name", LANGUAGES.split())
def test_codes_of_languages(name: str) -> None:
    assert is_language(name)
    assert family_of(name)


@pytest.mark.parametrize("name", [*WORDS.split(), "", " ", "en de", "en\n", "de\u200b"])
def test_words_are_no_languages(name: str) -> None:
    assert not is_language(name)


def test_a_word_that_is_a_code_too_is_known_as_such() -> None:
    assert is_code("id") and is_ambiguous("id")
    assert not is_code("score") and not is_code("source")
