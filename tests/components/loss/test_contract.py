"""What every loss must do, without naming one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from components.config import variants
from components.embedded import Embedded
from components.interface import Loss, LossConfig
from tests.components.conftest import embedded

KINDS = variants("components.loss", LossConfig)
WIDTH = 16


def settings_of(kind: type[LossConfig]) -> Iterator[dict[str, Any]]:
    """The default settings, and every option of every setting that has options."""
    fields = {name: field for name, field in kind.model_fields.items() if name != "kind"}
    needed = {name: field.examples[0] for name, field in fields.items()
              if field.is_required() and field.examples}  # fmt: skip
    yield needed
    for name, field in fields.items():
        options = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        for option in (False, True) if field.annotation is bool else options:
            if option != field.default:
                yield needed | {name: option}


@dataclass
class Case:
    """A loss with its settings, and batches for it."""

    config: LossConfig
    teacher_width: int

    def build(self) -> Loss:
        return self.config.build(
            WIDTH, {teacher.name: self.teacher_width for teacher in self.config.teachers}
        )

    def batch(
        self,
        anchor: Tensor,
        positive: Tensor,
        meaning: Tensor,
        negative: Tensor | None = None,
        negative_meaning: Tensor | None = None,
    ) -> Embedded:
        if negative is not None and negative_meaning is None:
            negative_meaning = torch.arange(1000, 1000 + len(negative))
        teachers = {
            teacher.name: torch.randn(len(anchor), self.teacher_width)
            for teacher in self.config.teachers
        }
        return embedded(anchor, positive, meaning, negative, negative_meaning, teachers)

    def random(
        self,
        size: int,
        mined: int,
        meaning: Tensor | None = None,
        negative_meaning: Tensor | None = None,
    ) -> Embedded:
        """Random unit vectors, with gradients; so many mined negatives a pair."""
        anchor, positive = (units(size).requires_grad_() for _ in range(2))
        if meaning is None:
            meaning = torch.arange(size)
        negative = units(size * mined).requires_grad_() if mined else None
        return self.batch(anchor, positive, meaning, negative, negative_meaning)


def cases() -> Iterator[Any]:
    for kind, config_class in KINDS.items():
        assert issubclass(config_class, LossConfig)
        for settings in settings_of(config_class):
            config = config_class.model_validate(settings)
            for teacher_width in (WIDTH, 5) if config.teachers else (WIDTH,):
                name = [kind, *map(str, settings.values()), str(teacher_width)]
                yield pytest.param(Case(config, teacher_width), id="-".join(name))


@pytest.fixture(params=list(cases()))
def case(request: pytest.FixtureRequest) -> Case:
    made: Case = request.param
    return made


def units(size: int) -> Tensor:
    return normalize(torch.randn(size, WIDTH), dim=-1)


def leaves(batch: Embedded) -> list[Tensor]:
    sides = [batch.anchor_BE, batch.positive_BE]
    return sides if batch.negative_NE is None else [*sides, batch.negative_NE]


def gradients(value: Tensor, batch: Embedded) -> list[Tensor]:
    grads = torch.autograd.grad(value, leaves(batch), allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(side) if grad is None else grad
        for side, grad in zip(leaves(batch), grads, strict=True)
    ]


MEANINGS = {
    "distinct": lambda size: torch.arange(size),
    "repeated": lambda size: torch.tensor([0, 1, 2, 3, 1, 5, 6, 0, 0])[:size],
    "one": lambda size: torch.zeros(size, dtype=torch.int64),
}


def test_may_train_says_whether_there_may_be_parameters(case: Case) -> None:
    trained = bool(list(case.build().parameters()))
    assert case.config.may_train or not trained
    if case.config.may_train and case.teacher_width == WIDTH:
        # A map to a teacher is there only where its width is another.
        assert trained or case.config.teachers


@pytest.mark.parametrize("mined", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 2, 9])
@pytest.mark.parametrize("meanings", list(MEANINGS))
def test_a_finite_scalar_with_finite_gradients(
    case: Case, size: int, mined: int, meanings: str
) -> None:
    loss = case.build()
    meaning, of_negative = MEANINGS[meanings](size), torch.arange(1000, 1000 + size * mined)
    if meanings == "repeated":
        of_negative[::2] = meaning[0]  # mined by mistake
    batch = case.random(size, mined, meaning, of_negative if mined else None)
    if case.config.needs_negatives and not mined:
        with pytest.raises(ValueError, match=r"negatives\.kind must be 'mined'"):
            loss(batch)
        return
    before = [side.detach().clone() for side in (*leaves(batch), *batch.teachers.values())]
    value = loss(batch)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert value.requires_grad, "a batch that costs nothing has gradients of zero, and not none"
    grads = gradients(value, batch)
    assert all(grad.isfinite().all() for grad in grads)
    if size == 9 and meanings == "distinct":
        assert all(grad.any() for grad in grads[:2]), "neither side of the pairs is left as it is"
    value.backward()
    for name, parameter in loss.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        compared = meanings == "distinct" and (size > 1 or mined > 0)
        assert not compared or parameter.grad.abs().sum() > 0, name
    for now, then in zip((*leaves(batch), *batch.teachers.values()), before, strict=True):
        assert torch.equal(now, then)


@pytest.mark.parametrize("mined", [0, 1, 3])
def test_the_order_of_the_pairs_and_the_numbers_of_meanings_are_nothing(
    case: Case, mined: int
) -> None:
    if case.config.needs_negatives and not mined:
        pytest.skip("it needs mined negatives")
    loss = case.build()
    meaning, of_negative = MEANINGS["repeated"](9), torch.arange(1000, 1000 + 9 * mined)
    of_negative[4:5] = 1
    batch = case.random(9, mined, meaning, of_negative if mined else None)
    order = torch.randperm(9)
    # The negatives of a pair go with it, in another order among themselves.
    inner = (order.unsqueeze(1) * mined + torch.randperm(mined)).flatten()
    other = embedded(
        batch.anchor_BE[order].detach().requires_grad_(),
        batch.positive_BE[order].detach().requires_grad_(),
        500 - 3 * meaning[order],
        None if batch.negative_NE is None else batch.negative_NE[inner].detach().requires_grad_(),
        500 - 3 * of_negative[inner] if mined else None,
        {name: teacher[order] for name, teacher in batch.teachers.items()},
    )
    value, moved = loss(batch), loss(other)
    torch.testing.assert_close(moved, value, rtol=1e-6, atol=1e-6)
    before, after = gradients(value, batch), gradients(moved, other)
    assert any(grad.any() for grad in before)
    for mine, theirs, rows in zip(before, after, (order, order, inner), strict=False):
        torch.testing.assert_close(theirs, mine[rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mined", [0, 1])
def test_equal_embeddings_have_finite_gradients(case: Case, mined: int) -> None:
    if case.config.needs_negatives and not mined:
        pytest.skip("it needs mined negatives")
    anchor, positive, negative = (
        normalize(torch.ones(9, WIDTH), dim=-1).requires_grad_() for _ in range(3)
    )
    batch = case.batch(anchor, positive, torch.arange(9), negative if mined else None)
    value = case.build()(batch)
    assert value.isfinite()
    assert all(grad.isfinite().all() for grad in gradients(value, batch))


def test_what_contrasts_prefers_true_pairs_to_false_ones(case: Case) -> None:
    if not case.config.takes_negatives:
        pytest.skip("it compares with no other sentence")
    loss = case.build()
    anchor, negative = units(9), units(9)
    true, false = (
        loss(case.batch(anchor, positive, torch.arange(9), negative))
        for positive in (anchor, anchor.roll(1, 0))
    )
    assert true < false


def pull(case: Case, spot: str, meaning: int) -> float:
    """How a step down the loss moves the first anchor towards a similar vector in that spot.

    Everything else that the first anchor meets is orthogonal to that vector, or the same whether
    the vector is there or its mirror image; what is the same is taken off.
    """
    torch.manual_seed(1)
    loss = case.build()
    axes = torch.eye(WIDTH)
    vector, mirror, translation = axes[:3]
    anchor, positive, negative = (
        normalize(torch.randn(8, WIDTH) * (torch.arange(WIDTH) > 2), dim=-1) for _ in range(3)
    )
    positive[0] = translation
    anchor[0] = normalize(0.64 * translation + 0.543 * (vector + mirror), dim=-1)
    of_pair, of_negative = torch.arange(8), torch.arange(1000, 1008)
    side, row, numbers = {
        "translation": (positive, 7, of_pair),
        "own negative": (negative, 0, of_negative),
        "negative of another": (negative, 3, of_negative),
    }[spot]
    numbers[row] = meaning
    batch = case.batch(anchor, positive, of_pair, negative, of_negative)
    moves = []
    for there in (vector, mirror):
        side[row] = there
        leaf = anchor.clone().requires_grad_()
        (grad,) = torch.autograd.grad(loss(replace(batch, anchor_BE=leaf)), leaf)
        moves.append(-grad[0] @ vector)
    return float(moves[0] - moves[1])


SPOTS = ["translation", "own negative", "negative of another"]


@pytest.mark.parametrize("spot", SPOTS)
def test_a_repetition_of_a_sentence_is_no_negative_of_it(case: Case, spot: str) -> None:
    assert pull(case, spot, meaning=0) >= -1e-6


@pytest.mark.parametrize("spot", SPOTS)
def test_another_sentence_pushes_where_the_loss_contrasts(case: Case, spot: str) -> None:
    pushed = pull(case, spot, meaning=77)
    if case.config.takes_negatives and (spot == "own negative" or not case.config.needs_negatives):
        assert pushed < -1e-3
    elif not (spot == "translation" and case.config.teachers):  # the teacher says whether it does
        assert pushed == 0


def test_mined_negatives_change_it_if_it_says_so(case: Case) -> None:
    loss = case.build()
    anchor = units(9)
    positive, near = (normalize(anchor + share * units(9), dim=-1) for share in (0.2, 0.5))
    batch = case.batch(anchor, positive, torch.arange(9), near)
    values = [loss(batch), loss(replace(batch, negative_NE=-anchor))]
    if not case.config.needs_negatives:
        values.append(loss(replace(batch, negative_NE=None, is_same=batch.is_same[:, :18])))
    if case.config.takes_negatives:
        assert all(values[0] > other + 1e-4 for other in values[1:])
    else:
        assert torch.equal(values[0], values[1])
        for other in values[2:]:  # products of another width may sum in another order
            torch.testing.assert_close(values[0], other, rtol=1e-5, atol=1e-6)


def test_what_it_needs_is_part_of_what_it_takes(case: Case) -> None:
    assert case.config.takes_negatives or not case.config.needs_negatives
    assert len(set(case.config.teachers)) == len(case.config.teachers)
    if case.config.teachers:
        with pytest.raises(KeyError):
            case.config.build(WIDTH, {})


@pytest.mark.parametrize("mined", [0, 2])
@pytest.mark.parametrize("meaning", ["distinct", "repeated"])
def test_the_losses_of_some_pairs_each_average_to_that_of_all(
    case: Case, meaning: str, mined: int
) -> None:
    """What three workers compute, each for its own pairs, is what one computes."""
    if case.config.needs_negatives and not mined:
        return
    size = 9
    batch = case.random(size, mined, MEANINGS[meaning](size))
    loss = case.build()
    whole = loss(batch)
    shares = []
    for own in (slice(0, 3), slice(3, 6), slice(6, 9)):
        sides = [batch.is_same[:size][own], batch.is_same[size:][own]]
        part = replace(batch, own=own, is_same=torch.cat(sides))
        assert len(part.similarity_RC) == len(part.back_RB) == 3
        shares.append(loss(part))
    mean = torch.stack(shares).mean()
    torch.testing.assert_close(mean, whole, rtol=1e-5, atol=1e-6)
    for got, want in zip(gradients(mean, batch), gradients(whole, batch), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    trained = list(loss.parameters())
    if trained:
        pairs = (torch.autograd.grad(value, trained) for value in (mean, whole))
        for got, want in zip(*pairs, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
