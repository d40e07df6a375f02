"""How long a lane stands still between two trials: `python -m tests.benchmarks.lane_gap RUN`.

Reads the journal of a run folder; starts nothing.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from pathlib import Path

from search.events.journal import read_journal
from search.events.types import EpochDone


def gaps(journal: Path) -> list[float]:
    """Seconds from the last report of a trial to the first step of the next in the same lane."""
    spans: dict[tuple[int, int], tuple[float, float]] = {}
    for event in read_journal(journal):
        if isinstance(event, EpochDone):
            spans[event.lane, event.trial] = (event.began, event.ended)
    found = []
    for lane in {lane for lane, _ in spans}:
        in_order = sorted(span for (other, _), span in spans.items() if other == lane)
        found += [later[0] - earlier[1] for earlier, later in itertools.pairwise(in_order)]
    return found


def main() -> None:
    """Print the median and the extremes."""
    found = gaps(Path(sys.argv[1]) / "journal.jsonl")
    print(
        f"{len(found)} gaps: median {statistics.median(found):.3f} s, "
        f"least {min(found):.3f} s, most {max(found):.3f} s"
    )


if __name__ == "__main__":
    main()
