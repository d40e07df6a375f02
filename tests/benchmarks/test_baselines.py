"""The comparison of a search with other ways: what is found, and how sure a difference is."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.baselines.__main__ import read, tables, written
from tests.benchmarks.baselines.comparison import Found, accuracies, accuracy, compare
from tests.benchmarks.baselines.recipes import draw_pairs
from tests.benchmarks.search_speed.measure import run_alone


def hits(*counts: tuple[int, int]) -> Found:
    """Languages of so many rows, of which so many are found both ways."""
    return {
        f"l{index}": np.repeat(np.arange(rows) < found, 2).reshape(rows, 2)
        for index, (rows, found) in enumerate(counts)
    }


def test_languages_count_alike_whatever_their_number_of_rows() -> None:
    found = hits((10, 5), (1000, 1000))
    assert accuracies(found) == {"l0": 0.5, "l1": 1.0}
    assert accuracy(found) == 0.75


def test_a_model_is_no_better_than_itself() -> None:
    gain = compare(hits((50, 20)), hits((50, 20)))
    assert (gain.mean, gain.low, gain.high) == (0, 0, 0)


def test_the_interval_is_that_of_a_slow_bootstrap() -> None:
    one, other = hits((40, 30), (25, 20)), hits((40, 22), (25, 21))
    draw = random.Random(0)
    means = []
    for _ in range(4000):
        gains = []
        for name, found in one.items():
            rows = [draw.randrange(len(found)) for _ in found]
            gains.append(np.mean([found[r].mean() - other[name][r].mean() for r in rows]))
        means.append(np.mean(gains))
    gain = compare(one, other)
    assert gain.mean == pytest.approx((8 / 40 - 1 / 25) / 2)
    assert gain.low == pytest.approx(np.percentile(means, 2.5), abs=0.006)
    assert gain.high == pytest.approx(np.percentile(means, 97.5), abs=0.006)


def test_what_is_found_is_written_and_read() -> None:
    found = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=np.bool_)
    assert written(found) == "0123"
    assert np.array_equal(read("0123"), found)


def test_pairs_are_whole_passes_in_orders_of_their_own() -> None:
    texts = {name: [f"{name}{row}" for row in range(4)] for name in ("en", "de", "ko")}
    drawn = draw_pairs(texts, "en", 20, seed=0)
    assert len(drawn) == 20
    first, second = drawn[:8], drawn[8:16]
    assert sorted(first) == sorted(second) == [(n, r) for n in ("de", "ko") for r in range(4)]
    assert first != second


def test_the_cost_of_a_command_is_the_systems(tmp_path: Path) -> None:
    spend = "import time\nwhile time.process_time() < .3: pass"
    cost = run_alone([sys.executable, "-c", spend], tmp_path / "log", {})
    assert 0.3 <= cost.cpu_s <= cost.wall_s + 0.1
    assert 0 < cost.peak_gb < 1


def test_a_command_that_fails_says_where_its_log_is(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"ended with 3; see .*log"):
        run_alone([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log", {})


def test_tables_show_the_chosen_rate_and_what_a_search_gains() -> None:
    row = {"validation": 0.5, "cpu_s": 10.0}
    rows = {
        "settings": {},
        "the base as it is": row | {"test": {"de": "0000", "ko": "0000"}},
        "distillation": row | {"rates": {"1e-05": 0.4, "0.001": 0.5},
                               "test": {"de": "3300", "ko": "1000"}},
        "search of quick": row | {"test": {"de": "3333", "ko": "3300"}},
    }  # fmt: skip
    lines = list(tables(rows))
    assert lines[0] == "| system | validation | unseen | de | ko | CPU s |"
    assert lines[2:5] == [
        "| the base as it is | 0.500 | 0.000 | 0.000 | 0.000 |  |",
        "| distillation, 0.001 | 0.500 | 0.312 | 0.500 | 0.125 | 10 |",
        "| search of quick | 0.500 | 0.750 | 1.000 | 0.500 | 10 |",
    ]
    assert lines[6].startswith("search of quick - the base as it is: +0.750, 95 % interval +0.")
    assert lines[7].startswith("search of quick - distillation: +0.438, 95 % interval +0.")
    assert len(lines) == 8
