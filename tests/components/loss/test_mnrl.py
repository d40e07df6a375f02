"""Multiple negatives ranking loss against sentence-transformers, and against a loop."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor
from torch.nn.functional import normalize

from components.embedded import Embedded
from components.loss.info_nce import InfoNce
from components.loss.mnrl import Direction, Mnrl
from tests.components.conftest import embedded, some_same

ALL: list[Direction] = ["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]
SETTINGS: list[tuple[list[Direction], Literal["joint", "per_direction"]]] = [
    (["query_to_doc"], "joint"),
    (["query_to_doc"], "per_direction"),
    (["query_to_doc", "doc_to_query"], "joint"),
    (["doc_to_query", "query_to_doc"], "per_direction"),
    (["query_to_doc", "query_to_query"], "joint"),
    (["query_to_doc", "doc_to_doc"], "joint"),
    (ALL, "joint"),
]


def close(got: Tensor, expected: Tensor, sides: list[Tensor]) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    mine, theirs = (
        torch.autograd.grad(value, sides, retain_graph=True) for value in (got, expected)
    )
    for one, other in zip(mine, theirs, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mined", [0, 1, 2])
@pytest.mark.parametrize("scale", [20.0, 3.0])
@pytest.mark.parametrize(("directions", "partition"), SETTINGS)
def test_equals_sentence_transformers(
    directions: list[Direction],
    partition: Literal["joint", "per_direction"],
    scale: float,
    mined: int,
) -> None:
    # Gradients of the vectors before they are made unit ones, as theirs makes them so once more.
    raw = torch.randn(2 + mined, 7, 8, requires_grad=True)
    columns = list(normalize(raw, dim=-1))
    theirs = MultipleNegativesRankingLoss(
        torch.nn.Identity(), scale=scale, directions=tuple(directions), partition_mode=partition
    )
    expected = theirs.compute_loss_from_embeddings(columns, torch.empty(0))
    anchor, positive, *negatives = columns
    batch = embedded(anchor, positive, torch.arange(7))
    if mined:  # their negatives come by column, ours by pair
        negative = torch.stack(negatives, dim=1).flatten(0, 1)
        numbers = torch.arange(100, 100 + len(negative))
        batch = embedded(anchor, positive, torch.arange(7), negative, numbers)
    loss = Mnrl(scale=scale, directions=directions, partition=partition).build(8)
    close(loss(batch), expected, [raw])


def by_loop(config: Mnrl, batch: Embedded) -> Tensor:
    """Pair by pair; what is right for the pair is left out, but the pair itself."""
    anchor, positive, same = batch.anchor_BE, batch.positive_BE, batch.is_same.tolist()
    assert batch.negative_NE is not None
    negative = batch.negative_NE
    size, mined = len(anchor), len(negative) // len(anchor)
    terms = []
    for i, (a, p) in enumerate(zip(anchor, positive, strict=True)):
        own = config.scale * (a @ p)
        pairs, candidates = range(size), [*positive, *negative]
        wrong = [c for c in range(len(candidates)) if not same[i][size + c]]
        scores = {
            "query_to_doc": [a @ p, *(a @ candidates[c] for c in wrong)],
            "query_to_query": [
                a @ anchor[j] for j in pairs if not same[i][j] and not same[size + i][j]
            ],
            "doc_to_query": [a @ p, *(p @ anchor[j] for j in pairs if not same[size + i][j])],
            "doc_to_doc": [
                p @ candidates[c]
                for c in wrong
                if not same[size + i][size + c] and not 0 <= c - size - mined * i < mined
            ],
        }
        sums = [
            sum((config.scale * score).exp() for score in scores[direction])
            for direction in config.directions
        ]
        logs = [torch.as_tensor(total).log() for total in sums]
        if config.partition == "joint":
            logs = [torch.as_tensor(sum(sums)).log()]
        terms.append(torch.stack(logs).mean() - own)
    return torch.stack(terms).mean()


@pytest.mark.parametrize(("directions", "partition"), SETTINGS)
def test_repeated_sentences_equal_a_loop(
    directions: list[Direction], partition: Literal["joint", "per_direction"]
) -> None:
    config = Mnrl(scale=5.0, directions=directions, partition=partition)
    sides = [normalize(torch.randn(n, 8), dim=-1).requires_grad_() for n in (6, 6, 12)]
    numbers = torch.tensor([10, 11, 12, 1, 14, 15, 16, 17, 18, 19, 20, 2])
    batch = embedded(sides[0], sides[1], torch.tensor([0, 1, 2, 1, 4, 0]), sides[2], numbers)
    close(config.build(8)(batch), by_loop(config, batch), sides)
    # Being the same is not passed on: a sentence has several translations, and these others.
    batch = Embedded(sides[0], sides[1], some_same(6, 12), sides[2])
    close(config.build(8)(batch), by_loop(config, batch), sides)


def test_both_ways_it_is_symmetric_info_nce_at_the_inverse_temperature() -> None:
    sides = [normalize(torch.randn(6, 8), dim=-1).requires_grad_() for _ in range(2)]
    batch = embedded(sides[0], sides[1], torch.tensor([0, 1, 2, 1, 4, 0]))
    both: list[Direction] = ["query_to_doc", "doc_to_query"]
    mine = Mnrl(scale=4.0, directions=both, partition="per_direction").build(8)
    close(mine(batch), InfoNce(temperature=0.25, symmetric=True).build(8)(batch), sides)


@pytest.mark.parametrize(("directions", "partition"), SETTINGS)
def test_a_single_sentence_has_nothing_to_be_told_from(
    directions: list[Direction], partition: Literal["joint", "per_direction"]
) -> None:
    vector = normalize(torch.randn(2, 8), dim=-1).requires_grad_()
    loss = Mnrl(directions=directions, partition=partition).build(8)
    value = loss(embedded(vector, vector, torch.tensor([3, 3])))
    # Jointly, the pair itself stands in the denominator once for each direction that holds it.
    twice = partition == "joint" and "doc_to_query" in directions
    assert value.item() == pytest.approx(0.6931472 if twice else 0, abs=1e-5)
    assert torch.autograd.grad(value, vector)[0].abs().max() < 1e-5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"directions": ["doc_to_query"]},
         r"loss.directions is \['doc_to_query'\]; it must hold 'query_to_doc'"),
        ({"directions": []}, r"loss.directions is \[\]; it must hold 'query_to_doc'"),
        ({"directions": ["query_to_doc", "query_to_doc"]}, "holds 'query_to_doc' twice"),
        ({"directions": ALL, "partition": "per_direction"},
         "loss.partition is 'per_direction', but 'query_to_query' never .* must be 'joint'"),
        ({"directions": ["query_to_doc", "doc_to_doc"], "partition": "per_direction"},
         "'doc_to_doc' never holds the pair"),
        ({"scale": 0.0}, "greater than 0"),
        ({"directions": ["doc_to_dog"]}, "Input should be 'query_to_doc'"),
    ],
)  # fmt: skip
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Mnrl.model_validate(settings)
