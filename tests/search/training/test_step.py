"""One step: the loss a slow loop gives, and the same gradients whatever is kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from components.base import Base
from components.embedded import Embedded
from components.encoder import assemble
from components.loss.info_nce import InfoNceLoss
from components.matryoshka import Matryoshka
from components.other_model import OtherModel
from components.ragged import States
from search.data.corpus import Corpus
from search.data.pairs import Batch, Pairs
from search.data.teachers import Teachers
from search.data.tokens import Sentences, TokenisedCorpus
from search.runtime.ranks import Ranks
from search.settings.trial import TrialConfig
from search.training.step import Objective, build_loss

TEACHER = "builtin:tiny"
LORA = {"kind": "lora", "rank": 2, "targets": "all-linear", "last_layers": 2}
DISTILLATION = {"kind": "distillation", "teacher": TEACHER}
SUM = {
    "kind": "sum",
    "weights": {"info_nce": 1.0, "distillation": 3.0, "triplet": 0.5},
    "settings": {"distillation": {"teacher": TEACHER}, "info_nce": {"learned": True}},
}
VARIETY: dict[str, dict[str, Any]] = {
    "lora, learned temperature": {
        "adapter": LORA,
        "loss": {"kind": "info_nce", "learned": True},
    },
    "attention, moe": {
        "pooling": {"kind": "attention", "heads": 2},
        "head": {"kind": "moe", "width": 16, "experts": 3, "balance": 2.0},
    },
    "families": {
        "adapter": LORA | {"kind": "family_lora", "shared": True},
        "head": {"kind": "family", "width": 16},
    },
    "matryoshka": {"training": {"matryoshka": [4, 8]}, "loss": {"kind": "mnrl"}},
    "distillation": {"adapter": LORA, "loss": DISTILLATION},
    "sum": {"loss": SUM, "training": {"matryoshka": [5]}},
    "adapter alone": {"adapter": LORA, "head": {"kind": "identity"}},
}
PAIRS, MINED = 5, 2

MakeConfig = Callable[..., TrialConfig]


@pytest.fixture(scope="module")
def corpus(corpora: tuple[TokenisedCorpus, TokenisedCorpus]) -> TokenisedCorpus:
    """One in which three rows at a time share their English sentence, and two their German one."""
    text = corpora[0].text.copy()
    for language, size in ((0, 3), (1, 2)):
        text[language] = text[language][np.arange(corpora[0].rows) // size * size]
    return replace(corpora[0], text=text)


@pytest.fixture(scope="module")
def teachers(texts: tuple[Corpus, Corpus]) -> dict[str, Tensor]:
    return {TEACHER: Teachers(texts[0], "en").rows(OtherModel(TEACHER))}


@pytest.fixture(params=[0, MINED], ids=["none mined", "mined"])
def batch(request: pytest.FixtureRequest, corpus: TokenisedCorpus) -> Batch:
    """Some pairs, without or with negatives, of which one is the sentence itself."""
    rows_LRK = None
    if request.param:
        shape = (*corpus.lengths.shape, request.param)
        rows_LRK = np.random.default_rng(0).integers(0, shape[1], shape).astype(np.int32)
        rows_LRK[:, :, 1] = np.arange(shape[1])
    return next(Pairs(corpus, PAIRS, 5.0, 0).epoch(0, PAIRS, rows_LRK))


@pytest.fixture
def make(
    base: Base, corpus: TokenisedCorpus, teachers: dict[str, Tensor], config: MakeConfig
) -> Any:
    """An objective whose every weight has been moved from where it starts, ready to train."""

    @contextmanager
    def made(sections: dict[str, Any], **options: Any) -> Iterator[Objective]:
        trial = config(**sections)
        torch.manual_seed(1)
        encoder = assemble(base, trial.adapter, trial.pooling, trial.head, corpus.families)
        try:
            loss = build_loss(trial, base.width, {n: t.shape[1] for n, t in teachers.items()})
            objective = Objective(encoder, loss, corpus, Ranks(), teachers=teachers, **options)
            with torch.no_grad():  # many start at zero, where a lost gradient would not show
                for parameter in objective.trained:
                    parameter.add_(0.05 * torch.randn_like(parameter))
            yield objective.train()
        finally:
            encoder.close()

    return made


Make = Callable[..., Any]


def gradients(objective: Objective) -> dict[str, Tensor | None]:
    return {
        name: None if parameter.grad is None else parameter.grad.clone()
        for name, parameter in objective.named_parameters()
        if parameter.requires_grad
    }


def assert_close(found: dict[str, Tensor | None], expected: dict[str, Tensor | None]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient is not None and gradient.any(), f"{name} gets no gradient"
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-5, atol=1e-5 * float(gradient.abs().max()),
            msg=f"{name}: {{}}".format,
        )  # fmt: skip


def slow(
    objective: Objective,
    batch: Batch,
    corpus: TokenisedCorpus,
    teachers: dict[str, Tensor],
    budget: int | None = None,
) -> Tensor:
    """The loss with its graph, from runs of sentences that a plain count has cut."""
    sides = [batch.anchor, batch.positive, batch.negative]
    runs: list[list[tuple[int, int]]] = []
    held = 0
    for side in sides:
        for language, row in zip(side.language.tolist(), side.row.tolist(), strict=True):
            length = int(corpus.starts[language, row + 1] - corpus.starts[language, row])
            if not runs or (budget is not None and held + length > budget):
                runs.append([])
                held = 0
            runs[-1].append((language, row))
            held += length
    embedded, routed = [], []
    for run in runs:
        sentences = Sentences(*np.array(run).T)
        family = corpus.family(sentences)
        states = objective.encoder.base(corpus.tokens(sentences), family)
        emb, routing = objective.encoder.embed(states, family)
        embedded.append(emb)
        routed.append(routing)
    anchor, positive, negative = torch.cat(embedded).split([len(side) for side in sides])
    everything = [(n, r) for s in sides for n, r in zip(s.language, s.row, strict=True)]
    texts = [(n, corpus.text[n, r]) for n, r in everything]
    rows = [set(zip(range(len(column)), column, strict=True)) for column in corpus.text.T.tolist()]
    is_same = torch.tensor([
        [any(one in row and other in row for row in rows) for other in texts]
        for one in texts[: 2 * len(batch)]
    ])  # fmt: skip
    taught = {name: rows[torch.from_numpy(batch.positive.row)] for name, rows in teachers.items()}
    mined = negative if len(negative) else None
    seen = Embedded(anchor, positive, is_same, mined, taught)
    loss: Tensor = objective.loss(seen) + objective.encoder.head.penalty(torch.cat(routed))
    return loss


@pytest.mark.parametrize("name", VARIETY)
def test_a_step_equals_the_loss_put_together_by_hand(
    make: Make, batch: Batch, corpus: TokenisedCorpus, teachers: dict[str, Tensor], name: str
) -> None:
    with make(VARIETY[name]) as objective:
        found = objective.backward(batch)
        ours = gradients(objective)
        objective.zero_grad()
        expected = slow(objective, batch, corpus, teachers)
        expected.backward()
        assert not found.requires_grad
        torch.testing.assert_close(found, expected.detach(), rtol=1e-6, atol=1e-6)
        assert_close(ours, gradients(objective))


@pytest.mark.parametrize("chunk_tokens", [1, 60], ids=["a sentence a chunk", "60 tokens a chunk"])
@pytest.mark.parametrize("name", VARIETY)
def test_chunks_leave_loss_and_gradients_as_they_are(
    make: Make, batch: Batch, name: str, chunk_tokens: int
) -> None:
    with make(VARIETY[name]) as objective:
        whole = objective.backward(batch)
        expected = gradients(objective)
    with make(VARIETY[name], chunk_tokens=chunk_tokens) as objective:
        loss = objective.backward(batch)
        assert not loss.requires_grad
        torch.testing.assert_close(loss, whole, rtol=1e-6, atol=1e-6)
        assert_close(gradients(objective), expected)


@pytest.mark.parametrize("name", ["lora, learned temperature", "families"])
def test_both_passes_of_a_chunk_drop_the_same(
    make: Make, batch: Batch, corpus: TokenisedCorpus, teachers: dict[str, Tensor], name: str
) -> None:
    sections = VARIETY[name] | {"adapter": VARIETY[name]["adapter"] | {"dropout": 0.3}}

    def step(backward: Callable[[Objective], Tensor], seed: int) -> tuple[Any, ...]:
        with make(sections, chunk_tokens=60) as objective:
            torch.manual_seed(seed)
            loss = backward(objective)
            return loss, gradients(objective), torch.get_rng_state()

    def keep_the_graph(objective: Objective) -> Tensor:
        loss = slow(objective, batch, corpus, teachers, budget=60)
        loss.backward()
        return loss.detach()

    def chunked(objective: Objective) -> Tensor:
        return objective.backward(batch)

    loss, found, after = step(chunked, 5)
    expected_loss, expected, expected_after = step(keep_the_graph, 5)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-6, atol=1e-6)
    assert_close(found, expected)
    assert torch.equal(after, expected_after)  # as if every sentence had gone through once
    assert step(chunked, 6)[0] != loss


def held(objective: Objective, batch: Batch) -> list[tuple[bool, int, int]]:
    """Of each call of the encoder in a step: whether it kept a graph, its tokens and sentences."""
    calls = []

    def note(module: Any, arguments: tuple[States]) -> None:
        (states,) = arguments
        calls.append((torch.is_grad_enabled(), len(states.values_TD), len(states)))

    handle = objective.encoder.pooling.register_forward_pre_hook(note)
    objective.backward(batch)
    handle.remove()
    return calls


@pytest.mark.parametrize("budget", [10, 41, 43, 44, 46, 80])
def test_no_more_tokens_than_asked_for_are_held_for_the_backward_pass(
    make: Make, batch: Batch, corpus: TokenisedCorpus, budget: int
) -> None:
    sentences = Sentences.join([batch.anchor, batch.positive, batch.negative])
    lengths = corpus.lengths[sentences.language, sentences.row].tolist()
    expected = [0]
    for length in lengths:
        if expected[-1] and expected[-1] + length > budget:
            expected.append(0)
        expected[-1] += length
    # Only a sentence that is longer by itself goes past it.
    assert max(expected) <= max(budget, *lengths)
    with make({}, chunk_tokens=budget) as objective:
        calls = held(objective, batch)
    half = len(calls) // 2
    assert half > 1
    assert [kept for kept, _, _ in calls] == [False] * half + [True] * half
    assert [tokens for _, tokens, _ in calls] == expected * 2
    assert sum(count for _, _, count in calls) == 2 * len(sentences)


@pytest.mark.parametrize("chunk_tokens", [None, 10_000])
def test_what_fits_at_once_is_encoded_once(
    make: Make, batch: Batch, corpus: TokenisedCorpus, chunk_tokens: int | None
) -> None:
    with make({"adapter": LORA}, chunk_tokens=chunk_tokens) as objective:
        ((kept, tokens, sentences),) = held(objective, batch)
    assert kept
    assert sentences == 2 * PAIRS + len(batch.negative)
    assert tokens == sum(
        corpus.lengths[side.language, side.row].sum()
        for side in (batch.anchor, batch.positive, batch.negative)
    )


def test_an_encoder_that_does_not_train_is_not_run_twice(make: Make, batch: Batch) -> None:
    sections = {"head": {"kind": "identity"}, "loss": {"kind": "info_nce", "learned": True}}
    with make(sections, chunk_tokens=1) as objective:
        assert len(held(objective, batch)) == 1
        assert gradients(objective).keys() == {"loss.log_temperature"}
        assert objective.loss.log_temperature.grad != 0


@pytest.mark.parametrize("chunk_tokens", [None, 20])
def test_a_step_in_which_nothing_trains_is_a_loss(
    make: Make, batch: Batch, chunk_tokens: int | None
) -> None:
    with make({"head": {"kind": "identity"}}, chunk_tokens=chunk_tokens) as objective:
        assert objective.trained == []
        loss = objective.backward(batch)
    assert loss.isfinite() and not loss.requires_grad


@pytest.mark.parametrize("chunk_tokens", [None, 40])
def test_gradients_are_added_to_those_that_are_there(
    make: Make, batch: Batch, chunk_tokens: int | None
) -> None:
    with make(VARIETY["lora, learned temperature"], chunk_tokens=chunk_tokens) as objective:
        objective.backward(batch)
        once = gradients(objective)
        objective.backward(batch)
        assert_close(gradients(objective), {n: 2 * g for n, g in once.items() if g is not None})


@pytest.mark.parametrize("loss", ["info_nce", "mnrl", "circle", "triplet"])
def test_a_sentence_mined_for_itself_is_no_negative_of_its_own(
    make: Make, corpus: TokenisedCorpus, loss: str
) -> None:
    own = np.broadcast_to(np.arange(corpus.lengths.shape[1])[:, None], (*corpus.lengths.shape, 1))
    pairs = Pairs(corpus, 8, 5.0, 0)
    with make({"loss": {"kind": loss}}) as objective:
        for rows, counts in ((own, False), ((own + 1) % len(own[0]), True)):
            batch = next(pairs.epoch(0, 8, rows.astype(np.int32)))
            found = [float(objective.backward(batch[i : i + 1])) for i in range(8)]
            assert any(found) == counts


def test_the_loss_is_that_of_the_config_at_every_width_asked_for(config: MakeConfig) -> None:
    plain = build_loss(config(), 128, {})
    assert isinstance(plain, InfoNceLoss)
    wrapped = build_loss(config(training={"matryoshka": [4, 2]}), 128, {})
    assert isinstance(wrapped, Matryoshka)
    assert isinstance(wrapped.loss, InfoNceLoss)
    assert (wrapped.width, wrapped.widths) == (16, [4, 2])
    with pytest.raises(ValueError, match=r"training\.matryoshka names 16; it must be below"):
        build_loss(config(training={"matryoshka": [16]}), 128, {})
    # A head without a width of its own has the base's.
    build_loss(config(head={"kind": "identity"}, training={"matryoshka": [127]}), 128, {})
