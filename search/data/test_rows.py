"""Rows put aside for the test, of those held out for the validation."""

from __future__ import annotations

import numpy as np

from search.data.holdout import hold_out
from search.data.placement import PLACES, PlacedRows
from search.data.settings import DataSettings

LEAST_ROWS = 100  # to validate and to test with: halves of fewer would say little


def rng_of_test(seed: int) -> np.random.Generator:
    """Apart from that of the other splits, which are the same with a test and without."""
    return np.random.default_rng([seed, 1])


def put_aside(placed: PlacedRows, settings: DataSettings) -> list[str]:
    """Move a share of the rows to validate with to the test; what there is to say of it.

    Rows that share a sentence stay together, as in `hold_out`. Where the rows are few, or a
    language would be left without a pair in one of the parts, none are moved.
    """
    rng = rng_of_test(settings.seed)
    (rows,) = np.nonzero(placed.at("validation"))
    alike = "so the figures of the best model are from the sentences that chose it"
    if len(rows) < LEAST_ROWS:
        return [
            f"{len(rows)} row{' is' if len(rows) == 1 else 's are'} too few to put some aside for "
            f"a test ({LEAST_ROWS}), {alike}"
            f" (data.test, with other sentences, makes them independent)"
        ]
    text_LR = placed.text_LR[:, rows]
    found = hold_out(text_LR, max(1, round(settings.test_share * len(rows))), rng)
    main = placed.table.column_names.index(settings.pivot)
    there_LR = text_LR >= 0
    for index, language in enumerate(placed.table.column_names):
        pairs_R = there_LR[index] & there_LR[main]
        if not ((pairs_R & found.held).any() and (pairs_R & ~found.held & ~found.lost).any()):
            return [
                f"no rows are put aside for a test, since {language} has too few pairs to validate "
                f"and to test with, {alike}"
            ]
    placed.place_R[rows[found.held]] = PLACES.index("test")
    placed.place_R[rows[found.lost]] = PLACES.index("leaked")
    placed.limit("test", settings.test_rows, rng)
    if lost := int(found.lost.sum()):
        return [
            f"{int(found.held.sum()):,} of {len(rows):,} rows to validate with are put aside for a "
            f"test, and {lost:,}, which share a sentence with these, are left out"
        ]
    return []
