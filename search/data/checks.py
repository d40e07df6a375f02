"""What languages and sentences must be, so that there is something to train on and to score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from search.data.corpus import Corpus
from search.settings.problems import InputError, nearest


def refuse_languages(languages: Sequence[str], pivot: str) -> None:
    """Refuse languages that do not make sense together.

    Raises:
        InputError: there are fewer than two, or one comes twice, or the pivot is not among them.
    """
    if len(set(languages)) < 2:
        raise InputError.of(
            "data.languages", f"is {list(languages)}; it must name two languages or more"
        )
    if len(set(languages)) < len(languages):
        raise InputError.of(
            "data.languages", f"is {list(languages)}; it must name each language once"
        )
    if pivot not in languages:
        raise InputError.of(
            "data.pivot",
            f"is {pivot!r}; it must be among the languages, {', '.join(languages)}"
            f"{nearest(pivot, languages)}",
        )


def refuse_too_few(key: str, corpus: Corpus, pivot: str, rest: Corpus | None = None) -> None:
    """Refuse sentences without a pair in each language to train on, or to score with the pivot.

    Args:
        key: of the sentences.
        rest: the rows that are trained on, where these have been held out of the same source.

    Raises:
        InputError: one has none, or no row is left.
    """
    scored = key != "data.train"
    held_out = " among the rows that are held out to validate with"
    if rest is not None:
        key = "data.train"
    if not len(corpus):
        raise InputError.of(
            key,
            "has no rows left; it must have some that share no sentence with the other split",
        )
    present = _present(corpus)
    elsewhere = None if rest is None else _present(rest)
    for language, here in present.items():
        others = [there for name, there in present.items() if name != language]
        if scored and language != pivot:
            others = [present[pivot]]
        if not here.any() and language == pivot:
            among = held_out if elsewhere is not None and elsewhere[pivot].any() else ""
            raise InputError.of(
                key, f"has no sentence in the pivot, {pivot!r}{among}; it must have some, or "
                f"data.pivot must be another language"
            )  # fmt: skip
        if not (here & np.any(others, axis=0)).any():
            among = ""
            if elsewhere is not None and (elsewhere[language] & elsewhere[pivot]).any():
                among = held_out
            partner = f"beside {pivot!r}" if scored else "with a translation"
            raise InputError.of(
                key, f"has no sentence in {language!r} {partner}{among}; it must have some, or the "
                f"language must be left out of data.languages"
            )  # fmt: skip


def _present(corpus: Corpus) -> dict[str, NDArray[np.bool_]]:
    """Language -> which of the R rows have a sentence in it, (R,)."""
    return {
        name: pc.is_valid(column).to_numpy()
        for name, column in zip(corpus.languages, corpus.table.columns, strict=True)
    }
