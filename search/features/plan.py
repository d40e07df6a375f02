"""Which outputs of a base's frozen layers are worth storing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from search.settings.sections import CacheSettings


@dataclass(frozen=True)
class FeaturePlan:
    """What a search stores of a base's frozen layers.

    Attributes:
        boundaries: layer indices k whose input states are stored, ascending; the depth of the base
            stands for the last states, which poolings over tokens start from.
        statistics: names of the statistics of the last states that the space's poolings read (see
            `components.ragged.Statistics`).
        needed: bytes of everything whose storing saves time, tokens included, whatever the budget.
    """

    boundaries: tuple[int, ...] = ()
    statistics: tuple[str, ...] = ()
    needed: float = 0.0

    def note(self, cache: CacheSettings) -> str:
        """Say what a larger cache would save; empty where everything fits, or nothing may."""
        if not cache.max_gb or self.needed <= cache.max_gb * 1e9:
            return ""
        return (
            f"cache.max_gb is {cache.max_gb:g}, but the hidden states that trials share take "
            f"{rounded_up_gb(self.needed):g} GB: what finds no room is computed in every pass over "
            f"the sentences; --set cache.max_gb={rounded_up_gb(self.needed):g} would hold all"
        )


def rounded_up_gb(size: float) -> float:
    """Bytes in GB, rounded up to three digits."""
    gb = size / 1e9
    step = 10.0 ** (math.floor(math.log10(gb)) - 2)
    return float(f"{math.ceil(gb / step) * step:.3g}")


def chosen_boundaries(
    expected: dict[int, float], whole: bool, state_bytes: int, tokens: int, budget: float
) -> list[int]:
    """Which layers' states to store.

    An adapter on the last N layers starts from the highest stored boundary at or below L - N, and
    saves as many layers for each token it meets; a pooling that learns over the tokens of a frozen
    base starts from its last states, boundary L, where these are stored. Of all sets of boundaries
    within the budget, this is the one that saves most, once the layers below the highest have been
    run for it, unless they are run for another trial in any case. Where the budget holds not even
    one, one is stored in part.

    Args:
        expected: boundary -> passes over the tokens made by trials that would start there.
        whole: some trial runs all layers, whatever is stored.
        state_bytes: of one token's state.
        tokens: that the trials meet.
        budget: bytes; nothing is stored without any.

    Returns:
        In ascending order; none where storing saves nothing.
    """
    candidates = sorted(b for b in expected if b > 0)
    most = max(1, int(min(budget / max(1, state_bytes * tokens), len(candidates))))
    if budget <= 0:
        return []

    @cache
    def best(last: int, left: int) -> tuple[float, list[int]]:
        """What so many boundaries above one that is stored save at most, and which."""
        found: tuple[float, list[int]] = (0.0, [])
        for boundary in candidates if left else []:
            if boundary > last:
                passes = sum(expected[above] for above in candidates if above >= boundary)
                more, others = best(boundary, left - 1)
                saved = (passes - (not whole)) * (boundary - last) + more
                option = saved, [boundary, *others]
                found = max(found, option, key=lambda one: (one[0], -len(one[1])))
        return found

    return best(0, most)[1]
