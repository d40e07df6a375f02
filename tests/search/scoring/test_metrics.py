"""Every metric against slow loops, and against the reference libraries' definitions."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import skew
from torch import Tensor
from torch.nn import functional as F

from search.scoring import neighbours
from search.scoring.interface import Comparison, Metric
from search.scoring.metric.accuracy import Accuracy
from search.scoring.metric.alignment import Alignment
from search.scoring.metric.csls import Csls
from search.scoring.metric.f1 import F1
from search.scoring.metric.hubness import Hubness
from search.scoring.metric.mean_reciprocal_rank import MeanReciprocalRank
from search.scoring.metric.uniformity import Uniformity
from search.scoring.metric.xsim import Xsim
from search.scoring.neighbours import Direction

ROWS = 40
METRICS = [
    Accuracy(),
    Alignment(),
    Csls(),
    F1(),
    Hubness(),
    MeanReciprocalRank(),
    Uniformity(),
    Xsim(),
]


def pair_of(x: Tensor, y: Tensor, same: np.ndarray | None = None) -> Comparison:
    same = np.eye(len(x), dtype=np.bool_) if same is None else same
    return Comparison(Direction(x, y, same.__getitem__), Direction(y, x, same.T.__getitem__))


@pytest.fixture(params=[0, 1])
def sides(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(request.param)
    clean = torch.randn(ROWS, 6, generator=generator)
    noisy = clean + 0.8 * torch.randn(ROWS, 6, generator=generator)
    return F.normalize(noisy, dim=1), F.normalize(clean, dim=1)


@pytest.fixture(autouse=True, params=[2**24, 3 * ROWS + 1])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, and in blocks of three queries."""
    monkeypatch.setattr(neighbours, "BLOCK_SIMILARITIES", request.param)


def similarity(x: Tensor, y: Tensor) -> list[list[float]]:
    return [[float(a.double() @ b.double()) for b in y] for a in x]


def best(row: list[float]) -> int:
    return max(range(len(row)), key=row.__getitem__)


def test_accuracy_and_f1(sides: tuple[Tensor, Tensor]) -> None:
    accuracies, f1s = [], []
    for x, y in (sides, sides[::-1]):
        predicted = [best(row) for row in similarity(x, y)]
        accuracies.append(sum(i == p for i, p in enumerate(predicted)) / ROWS)
        # Weighted F1 by its definition: of each class, precision and recall.
        total = 0.0
        for label in range(ROWS):
            hits = predicted[label] == label
            precision = hits / predicted.count(label) if label in predicted else 0.0
            total += 2 * precision * hits / (precision + hits) if hits else 0.0
        f1s.append(total / ROWS)
    assert Accuracy().measure(pair_of(*sides)) == pytest.approx(sum(accuracies) / 2, abs=1e-12)
    assert F1().measure(pair_of(*sides)) == pytest.approx(sum(f1s) / 2, abs=1e-12)
    assert 0 < f1s[0] < accuracies[0] < 1


def test_f1_takes_another_recorded_translation_for_the_own_one() -> None:
    x, y = torch.eye(3), torch.eye(3)[[1, 0, 2]]
    same = np.eye(3, dtype=np.bool_)
    assert F1().measure(pair_of(x, y, same)) == pytest.approx(1 / 3)
    same[0, 1] = same[1, 0] = True
    assert F1().measure(pair_of(x, y, same)) == 1.0


def test_mean_reciprocal_rank(sides: tuple[Tensor, Tensor]) -> None:
    number = np.arange(ROWS) // 2  # every sentence stands twice
    same = number[:, None] == number
    found = []
    for x, y in (sides, sides[::-1]):
        for i, row in enumerate(similarity(x, y)):
            order = sorted(range(ROWS), key=lambda j: -row[j])
            found.append(1 / (1 + next(at for at, j in enumerate(order) if same[i, j])))
    expected = sum(found) / len(found)
    assert MeanReciprocalRank().measure(pair_of(*sides, same)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("margin", ["ratio", "distance", "absolute"])
@pytest.mark.parametrize("count", [1, 4, 2 * ROWS])
def test_xsim(sides: tuple[Tensor, Tensor], margin: str, count: int) -> None:
    x, y = sides
    there, back = similarity(x, y), similarity(y, x)

    def around(row: list[float]) -> float:
        nearest = sorted(row)[-count:]
        return sum(nearest) / len(nearest)

    wrong = 0
    for i in range(ROWS):
        candidates = sorted(range(ROWS), key=lambda j: -there[i][j])[:count]
        scores = {}
        for j in candidates:
            a, b = there[i][j], (around(there[i]) + around(back[j])) / 2
            scores[j] = {"ratio": a / b, "distance": a - b, "absolute": a}[margin]
        wrong += max(candidates, key=scores.__getitem__) != i
    metric = Xsim.model_validate({"margin": margin, "neighbours": count})
    assert metric.measure(pair_of(x, y)) == pytest.approx(wrong / ROWS, abs=1e-12)
    assert 0 < wrong < ROWS


def test_csls(sides: tuple[Tensor, Tensor]) -> None:
    right = 0
    for x, y in (sides, sides[::-1]):
        there, back = similarity(x, y), similarity(y, x)
        r_x = [sum(sorted(row)[-5:]) / 5 for row in there]
        r_y = [sum(sorted(row)[-5:]) / 5 for row in back]
        for i in range(ROWS):
            right += best([2 * there[i][j] - r_x[i] - r_y[j] for j in range(ROWS)]) == i
    assert Csls(neighbours=5).measure(pair_of(*sides)) == pytest.approx(right / (2 * ROWS))


def test_hubness(sides: tuple[Tensor, Tensor]) -> None:
    expected = 0.0
    for x, y in (sides, sides[::-1]):
        met: Counter[int] = Counter()
        for row in similarity(x, y):
            met.update(sorted(range(ROWS), key=lambda j: -row[j])[:3])
        expected += float(skew([met[j] for j in range(ROWS)])) / 2
    assert Hubness(neighbours=3).measure(pair_of(*sides)) == pytest.approx(expected, abs=1e-9)
    assert Hubness(neighbours=1).measure(pair_of(sides[1], sides[1])) == 0.0


def test_alignment_and_uniformity(sides: tuple[Tensor, Tensor]) -> None:
    x, y = sides
    apart = [float((a.double() - b.double()).square().sum()) for a, b in zip(x, y, strict=True)]
    assert Alignment().measure(pair_of(x, y)) == pytest.approx(sum(apart) / ROWS, abs=1e-6)
    kernel = [
        math.exp(-2 * float((x[i].double() - x[j].double()).square().sum()))
        for i in range(ROWS)
        for j in range(i)
    ]
    expected = math.log(sum(kernel) / len(kernel))
    assert Uniformity().measure(pair_of(x, y)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.kind)
def test_a_better_model_has_the_greater_merit(metric: Metric) -> None:
    generator = torch.Generator().manual_seed(0)
    y = F.normalize(torch.randn(ROWS, 16, generator=generator), dim=1)
    hub = torch.ones(16)
    poor = F.normalize(y + 1.5 * hub + torch.randn(ROWS, 16, generator=generator), dim=1)
    worse, better = metric.measure(pair_of(poor, y)), metric.measure(pair_of(y, y))
    assert math.isfinite(worse) and math.isfinite(better)
    assert metric.merit(better) > metric.merit(worse)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.kind)
def test_one_pair_has_a_finite_value(metric: Metric) -> None:
    one = torch.ones(1, 1)
    assert math.isfinite(metric.measure(pair_of(one, one)))


def test_every_kind_is_tested_here() -> None:
    from components.config import variants
    from search.scoring.interface import Metric

    assert sorted(variants("search.scoring.metric", Metric)) == sorted(m.kind for m in METRICS)
