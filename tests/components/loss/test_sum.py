"""The weighted sum of losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import normalize

from components.embedded import Embedded
from components.loss.circle import Circle
from components.loss.distillation import Distillation
from components.loss.info_nce import InfoNce
from components.loss.sum import Sum, SumLoss
from components.loss.triplet import Triplet
from components.other_model import OtherModel
from tests.components.conftest import embedded

TEACHERS = {"first": 5, "second": 8}


def batch_of(size: int = 6) -> Embedded:
    anchor, positive, negative = (
        normalize(torch.randn(size, 8), dim=-1).requires_grad_() for _ in range(3)
    )
    meaning = torch.tensor([0, 1, 2, 1, 4, 0])
    teachers = {name: torch.randn(size, width) for name, width in TEACHERS.items()}
    return embedded(anchor, positive, meaning, negative, torch.arange(10, 16), teachers)


def test_equals_its_parts_with_gradients() -> None:
    parts = {
        "info_nce": InfoNce(temperature=0.3, learned=True),
        "circle": Circle(),
        "triplet": Triplet(margin=0.7, negatives="mined"),
        "distillation": Distillation(teacher="first", distance="cosine"),
    }
    weights = {"info_nce": 1.5, "circle": 0.25, "triplet": 2, "distillation": 10.0}
    config = Sum.model_validate({
        "weights": weights,
        "settings": {
            "info_nce": {"temperature": 0.3, "learned": True},
            "triplet": {"margin": 0.7, "negatives": "mined"},
            "distillation": {"kind": "distillation", "teacher": "first", "distance": "cosine"},
        },
    })  # fmt: skip
    assert config.takes_negatives
    assert config.needs_negatives
    assert config.teachers == (OtherModel("first"),)
    batch = batch_of()
    torch.manual_seed(3)
    loss = config.build(8, TEACHERS)
    torch.manual_seed(3)
    alone = {kind: part.build(8, TEACHERS) for kind, part in parts.items()}
    expected = torch.stack([weights[kind] * alone[kind](batch) for kind in parts]).sum()
    got = loss(batch)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert batch.negative_NE is not None
    sides = [batch.anchor_BE, batch.positive_BE, batch.negative_NE]
    # The parts share the similarities of the batch.
    mine = torch.autograd.grad(got, [*sides, *loss.parameters()], retain_graph=True)
    parameters = [p for part in alone.values() for p in part.parameters()]
    theirs = torch.autograd.grad(expected, [*sides, *parameters])
    assert len(parameters) == 2  # a temperature and a map
    for one, other in zip(mine, theirs, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_the_default_is_both_with_their_default_settings() -> None:
    batch = batch_of()
    got = Sum().build(8)(batch)
    expected = InfoNce().build(8)(batch) + Triplet().build(8)(batch)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_a_weight_of_zero_makes_no_loss_and_asks_for_nothing() -> None:
    settings: dict[str, dict[str, Any]] = {
        "distillation": {"teacher": "first"},
        "info_nce": {"learned": True},
        "triplet": {"negatives": "mined"},
    }
    off = Sum(weights={"distillation": 1.0, "info_nce": 0.0, "triplet": 0.0}, settings=settings)
    assert not off.takes_negatives
    assert not off.needs_negatives
    loss = off.build(8, {"first": 8})
    assert isinstance(loss, SumLoss)
    assert loss.weights == [1.0]
    assert not list(loss.parameters())
    other = Sum(weights={"distillation": 0.0, "info_nce": 1.0, "triplet": 0.1}, settings=settings)
    assert other.takes_negatives
    assert other.needs_negatives
    assert other.teachers == ()
    other.build(8)(batch_of())  # without the teacher, whose part it does not have
    with pytest.raises(
        ValueError, match=r"loss\.weights are all 0; it must have one at least above 0"
    ):
        Sum(weights={"info_nce": 0.0, "triplet": 0.0}).build(8)


@pytest.mark.parametrize(
    ("values", "place", "message"),
    [
        ({"weights": {"info_nce": 1.0}}, ("weights",),
         "loss.weights is {'info_nce': 1.0}; it must hold at least two kinds"),
        ({"weights": {"info_nce": 1.0, "triplett": 1.0}}, ("weights", "triplett"),
         "loss.weights.triplett is no loss that can be mixed; it must be among circle, "
         "distillation, gist, info_nce, kl_distillation, margin_mse, mnrl, triplet; did you mean "
         "'triplet'?"),
        ({"weights": {"info_nce": 1.0, "sum": 1.0}}, ("weights", "sum"),
         "loss.weights.sum is no loss that can be mixed; it must be among circle, "
         "distillation, gist, info_nce, kl_distillation, margin_mse, mnrl, triplet"),
        ({"weights": {"info_nce": 1.0, "triplet": -1.0}}, ("weights", "triplet"),
         "greater than or equal to 0"),
        ({"settings": {"circle": {}}}, ("settings", "circle"),
         "loss.settings.circle is not among the weights; it must be among info_nce, triplet"),
        ({"settings": {"triplet": {"margn": 1.0}}}, ("settings", "triplet", "margn"),
         "loss.settings.triplet.margn is no setting of 'triplet'; it must be among margin, "
         "distance, negatives, symmetric; did you mean 'margin'?"),
        ({"settings": {"triplet": {"margin": "wide"}}}, ("settings", "triplet", "margin"),
         "Input should be a valid number"),
        ({"settings": {"triplet": {"margin": 0.0}}}, ("settings", "triplet", "margin"),
         "greater than 0"),
        ({"settings": {"triplet": {"kind": "circle"}}}, ("settings", "triplet", "kind"),
         "Input should be 'triplet'"),
        ({"weights": {"info_nce": 1.0, "distillation": 1.0}}, ("settings",),
         "loss.settings lacks distillation.teacher; it must be given"),
        ({"weights": {"info_nce": 1.0, "distillation": 1.0}, "settings": {"distillation": {}}},
         ("settings", "distillation", "teacher"), "Field required"),
        ({"weights": {"mnrl": 1.0, "circle": 1.0},
          "settings": {"mnrl": {"directions": ["doc_to_doc"]}}},
         ("settings", "mnrl", "directions"),
         "loss.settings.mnrl.directions is ['doc_to_doc']; it must hold 'query_to_doc', which "
         "compares the pair itself"),
    ],
)  # fmt: skip
def test_what_is_refused(values: dict[str, Any], place: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sum.model_validate(values)
    (fault,) = caught.value.errors()
    assert fault["loc"] == place
    if message.startswith("loss."):
        assert fault["msg"] == f"Value error, {message}"
    else:
        assert message in fault["msg"]


def test_all_faults_are_told_at_once_with_what_was_given() -> None:
    with pytest.raises(ValidationError) as caught:
        Sum.model_validate({
            "weights": {"info_nce": 1.0, "triplet": 1.0, "cirle": 2.0},
            "settings": {"info_nce": {"temperature": -3.0}, "triplet": {"x": 4, "distance": "l1"}},
        })  # fmt: skip
    given = {fault["loc"]: fault["input"] for fault in caught.value.errors()}
    assert given == {
        ("weights", "cirle"): "cirle",
        ("settings", "info_nce", "temperature"): -3.0,
        ("settings", "triplet", "x"): 4,
        ("settings", "triplet", "distance"): "l1",
    }
