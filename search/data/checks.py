"""What languages and sentences must be, so that there is something to train on and to score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc

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


def refuse_too_few(key: str, corpus: Corpus, pivot: str, is_held_out: bool = False) -> None:
    """Refuse sentences without a pair in each language to train on, or to score with the pivot.

    Args:
        key: of the sentences.
        is_held_out: they are rows of ``data.train``.

    Raises:
        InputError: one has none, or no row is left.
    """
    scored = key != "data.train"
    among = ""
    if is_held_out:
        key, among = "data.train", " among the rows that are held out to validate with"
    if not len(corpus):
        raise InputError.of(
            key,
            "has no rows left; it must have some that share no sentence with the other split",
        )
    present = {
        name: pc.is_valid(column).to_numpy()
        for name, column in zip(corpus.languages, corpus.table.columns, strict=True)
    }
    for language, here in present.items():
        others = [there for name, there in present.items() if name != language]
        if scored and language != pivot:
            others = [present[pivot]]
        if not here.any() and language == pivot:
            raise InputError.of(
                key, f"has no sentence in the pivot, {pivot!r}{among}; it must have some, or "
                f"data.pivot must be another language"
            )  # fmt: skip
        if not (here & np.any(others, axis=0)).any():
            partner = f"beside {pivot!r}" if scored else "with a translation"
            raise InputError.of(
                key, f"has no sentence in {language!r} {partner}{among}; it must have some, or the "
                f"language must be left out of data.languages"
            )  # fmt: skip
