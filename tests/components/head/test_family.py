"""The heads by family against a loop over sentences."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from components.head.family import Family, FamilyHead

FAMILIES = ("latin", "indic", "cjk")
MIXED = torch.tensor([2, 0, 3, 1, 2, 2, 3])


def trained(config: Family, width: int = 4) -> FamilyHead:
    """A head whose own layers have left zero."""
    head = config.build(width, FAMILIES)
    assert isinstance(head, FamilyHead)
    for parameter in head.own.parameters():
        nn.init.normal_(parameter)
    return head


def by_sentence(head: FamilyHead, pooled: Tensor, family: Tensor) -> Tensor:
    rows = []
    for row, index in zip(pooled, family.tolist(), strict=True):
        weight: Tensor = head.shared.weight
        shift: Tensor | None = head.shared.bias
        if index in head.owners:
            own = head.own[head.owners.index(index)]
            assert isinstance(own, nn.Linear)
            weight = weight + own.weight
            shift = None if shift is None else shift + own.bias
        rows.append((weight * row).sum(1) + (0 if shift is None else shift))
    return torch.stack(rows)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chosen", [None, ["cjk"], ["cjk", "latin"]])
@pytest.mark.parametrize("family", [MIXED, torch.tensor([3]), torch.tensor([1, 1])])
def test_values_and_gradients(bias: bool, chosen: list[str] | None, family: Tensor) -> None:
    head = trained(Family(width=3, bias=bias, families=chosen))
    pooled = torch.randn(len(family), 4, requires_grad=True)
    got, expected = head(pooled, family), by_sentence(head, pooled, family)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    weight = torch.randn_like(got)
    inputs = [pooled, *head.parameters()]
    mine = torch.autograd.grad((got * weight).sum(), inputs)
    theirs = torch.autograd.grad((expected * weight).sum(), inputs, materialize_grads=True)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_it_starts_as_the_linear_head() -> None:
    torch.manual_seed(7)
    head = Family(width=3, init="random").build(4, FAMILIES)
    torch.manual_seed(7)
    linear = nn.Linear(4, 3)
    pooled = torch.randn(7, 4)
    assert torch.equal(head(pooled, MIXED), linear(pooled))


def test_none_of_the_families_gets_the_shared_layer_alone() -> None:
    head = trained(Family(width=3))
    pooled = torch.randn(2, 4)
    none = torch.full((2,), len(FAMILIES))
    assert torch.equal(head(pooled, none), head.shared(pooled))
    # One without a layer of its own is as one that is none of them.
    few = trained(Family(width=3, families=["indic"]))
    assert torch.equal(few(pooled, torch.tensor([0, 2])), few.shared(pooled))


def test_a_family_learns_from_its_own_sentences_only() -> None:
    head = trained(Family(width=3))
    head(torch.randn(4, 4), torch.tensor([2, 0, 3, 2])).sum().backward()
    learned = [
        [name for name, p in own.named_parameters() if p.grad is not None and p.grad.any()]
        for own in head.own
    ]
    assert learned == [["weight", "bias"], [], ["weight", "bias"]]


def test_owners_follow_the_run_not_the_settings() -> None:
    head = Family(families=["cjk", "latin"]).build(4, FAMILIES)
    assert isinstance(head, FamilyHead)
    assert head.owners == [0, 2]
    assert len(head.own) == 2


@pytest.mark.parametrize(
    ("bias", "families", "expected"),
    [(True, None, 18_878_976), (True, ["cjk", "indic"], 9_439_488), (False, None, 18_874_368)],
)
def test_parameters(bias: bool, families: list[str] | None, expected: int) -> None:
    run = ["cjk", "latin", "arabic", "indic", "other"]
    with torch.device("meta"):
        head = Family(bias=bias, families=families).build(4096, run)
    assert sum(p.numel() for p in head.parameters()) == expected


def test_no_tensor_holds_a_matrix_a_sentence() -> None:
    """What is kept for the gradient grows with B x E, not with B x D x E."""
    head = trained(Family(width=32), width=32)
    sizes: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        head(torch.randn(64, 32, requires_grad=True), torch.arange(64) % 4)
    assert sizes
    assert max(sizes) <= 64 * 32


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            FAMILIES,
            "head.families names cyrillic, thai; it must name families of the run's languages: "
            "latin, indic, cjk",
        ),
        ((), "of the run's languages: there are none"),
    ],
)
def test_a_family_that_the_run_lacks_is_refused(run: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Family(families=["cyrillic", "thai"]).build(4, run)


@pytest.mark.parametrize(
    ("families", "message"),
    [
        (["latin", "cjk", "latin"], "named twice: latin; each family must be named once"),
        ([], "at least 1 item"),
        (["latin", 3], "valid string"),
        ("latin", "valid list"),
    ],
)
def test_settings_refused(families: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Family.model_validate({"families": families})
