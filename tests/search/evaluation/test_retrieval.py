"""Retrieval accuracy against a slow loop, and the encoding of many sentences at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from components.base import Base
from components.encoder import Encoder, assemble
from search.data.corpus import Corpus
from search.data.tokens import Sentences, TokenisedCorpus, tokenise
from search.evaluation import retrieval
from search.evaluation.retrieval import encode, evaluate, measure, score
from search.runtime.ranks import Ranks
from search.scoring.interface import Comparison
from search.scoring.metric.accuracy import Accuracy
from search.scoring.neighbours import Direction, IsSame
from search.settings.trial import TrialConfig


def corpus_of(columns: dict[str, list[str | None]], pivot: str = "en") -> TokenisedCorpus:
    return tokenise(Corpus.of(columns), pivot, lambda texts: [[1] * len(text) for text in texts])


def top1(query: Tensor, candidate: Tensor, is_same: IsSame) -> float:
    return float(Direction(query, candidate, is_same).is_right_Q.double().mean())


def slow_top1(query: Tensor, candidate: Tensor, right: Callable[[int, int], bool]) -> float:
    """The share of queries i whose nearest candidate j is right."""
    found = 0
    for i in range(len(query)):
        best = max(range(len(candidate)), key=lambda j: float(query[i] @ candidate[j]))
        found += right(i, best)
    return found / len(query)


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("rows", [1, 2, 37, 1500])
def test_top1_equals_a_slow_loop(rows: int) -> None:
    clean = unit(rows, 8)
    noisy = F.normalize(clean + 0.6 * unit(rows, 8, seed=1), dim=-1)
    number = np.arange(rows) // 2  # every sentence stands twice
    same = number[:, None] == number
    some = min(rows, 60)  # the loop is slow; the queries past 1,024 are a second call
    found = top1(noisy, clean, same.__getitem__)
    if rows == some:
        assert found == slow_top1(noisy, clean, lambda i, j: bool(same[i, j]))
    else:
        best = (noisy.double() @ clean.double().T).argmax(1).numpy()
        assert found == (number[best] == number).mean()
    assert 0 < found <= 1


def test_the_translation_s_double_counts_as_right() -> None:
    query = torch.eye(3)
    swapped = torch.eye(3)[[1, 0, 2]]
    same = np.eye(3, dtype=np.bool_)
    assert top1(query, swapped, same.__getitem__) == pytest.approx(1 / 3)
    same[0, 1] = same[1, 0] = True
    assert top1(query, swapped, same.__getitem__) == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_no_number_is_no_score(bad: float, side: int) -> None:
    sides = [unit(4, 3), unit(4, 3)]
    sides[side][2, 1] = bad
    ways = [Direction(a, b, np.eye(4, dtype=np.bool_).__getitem__) for a, b in (sides, sides[::-1])]
    assert math.isnan(measure(Accuracy(), Comparison(*ways)))


def test_score_equals_slow_loops_over_the_rows_that_have_both() -> None:
    columns: dict[str, list[str | None]] = {
        "de": [f"d{r}" if r % 3 else None for r in range(20)],
        "en": [f"e{r % 13}" if r % 4 else None for r in range(20)],
        "ko": [f"k{r % 9}" if r % 5 else None for r in range(20)],  # some sentences stand twice
    }
    corpus = corpus_of(columns)
    present = corpus.present()
    emb = unit(len(present), 4)
    place = {
        key: i
        for i, key in enumerate(zip(present.language.tolist(), present.row.tolist(), strict=True))
    }
    scores = score(emb, corpus)
    expected = {}
    for index, name in ((0, "de"), (2, "ko")):
        rows = [r for r in range(20) if (index, r) in place and (1, r) in place]
        here = emb[[place[index, r] for r in rows]]
        there = emb[[place[1, r] for r in rows]]
        texts = [(columns[name][r], columns["en"][r]) for r in rows]
        recorded = set(zip(columns[name], columns["en"], strict=True))

        def right(i: int, j: int) -> bool:
            return (texts[i][0], texts[j][1]) in recorded  # noqa: B023

        both = (
            slow_top1(here, there, right),
            slow_top1(there, here, lambda i, j: right(j, i)),
        )
        expected[name] = sum(both) / 2
    assert scores.by_language == pytest.approx(expected)
    assert scores.accuracy == pytest.approx(sum(expected.values()) / 2)


def test_random_vectors_are_near_chance_on_a_chain() -> None:
    """Row i shares its English with row i - 1 or its German with row i + 1, and so on to the end.

    A sentence has two translations at most, so a random neighbour is right twice in all.
    """
    rows = 400
    corpus = corpus_of(
        {
            "en": [f"e{(r + 1) // 2}" for r in range(rows)],
            "de": [f"d{r // 2}" for r in range(rows)],
        }
    )
    accuracy = score(unit(2 * rows, 16), corpus).accuracy
    assert accuracy < 0.03  # chance is below 4 / 400


def test_every_recorded_translation_is_right_and_theirs_are_not() -> None:
    # One English sentence has two German ones, of which the second translates another, too.
    corpus = corpus_of({"en": ["a", "a", "b"], "de": ["x", "y", "y"]})
    english, german = torch.eye(3)[[0, 0, 1]], torch.eye(3)

    def right(*nearest: int) -> float:
        """The accuracy if each English sentence found that German one, and German ones nothing."""
        query = german[list(nearest)]
        return top1(query, german, corpus.is_same_in_parts(*sides))

    sides = [Sentences(np.full(3, n), np.arange(3)) for n in (0, 1)]
    assert english.shape == german.shape
    assert right(0, 0, 1) == right(1, 1, 2) == right(0, 1, 2) == 1.0
    assert right(0, 0, 0) == pytest.approx(2 / 3)  # "x" is no translation of "b"


def test_the_two_directions_are_averaged() -> None:
    # Every German sentence finds its English one; two English ones find another's German.
    corpus = corpus_of({"en": ["a", "b", "c"], "de": ["x", "y", "z"]})
    english = torch.eye(3)
    german = F.normalize(torch.tensor([[1.0, 0.9, 0.9], [0.0, 0.1, 0.0], [0.0, 0.0, 1.0]]), dim=-1)
    here = slow_top1(english, german, int.__eq__)
    there = slow_top1(german, english, int.__eq__)
    scores = score(torch.cat([english, german]), corpus)
    assert scores.by_language == {"de": (here + there) / 2}


def test_nan_in_one_language_spoils_the_mean_only() -> None:
    corpus = corpus_of({"en": ["a", "b"], "de": ["x", "y"], "ko": ["p", "q"]})
    emb = torch.cat([torch.eye(2), torch.eye(2), torch.full((2, 2), math.nan)])
    scores = score(emb, corpus)
    assert scores.by_language["de"] == 1.0
    assert math.isnan(scores.by_language["ko"])
    assert math.isnan(scores.accuracy)


@pytest.fixture
def encoder(base: Base, config: Callable[..., TrialConfig]) -> Encoder:
    trial = config(pooling={"kind": "attention"}, head={"kind": "family", "width": 16})
    torch.manual_seed(0)
    encoder = assemble(base, trial.adapter, trial.pooling, trial.head, ("cjk", "latin"))
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    return encoder.eval()


def test_every_sentence_gets_its_own_vector(
    encoder: Encoder, corpora: tuple[TokenisedCorpus, TokenisedCorpus]
) -> None:
    corpus = corpora[1]
    present = corpus.present()
    emb = encode(encoder, corpus, present, Ranks())
    for i in range(0, len(present), 5):
        one = present[i : i + 1]
        with torch.no_grad():
            alone = encoder(corpus.tokens(one), corpus.family(one))
        torch.testing.assert_close(emb[i : i + 1], alone, rtol=1e-5, atol=1e-6)
    assert emb.dtype == torch.float32


def test_vectors_do_not_depend_on_the_order_or_on_how_many_go_at_once(
    encoder: Encoder,
    corpora: tuple[TokenisedCorpus, TokenisedCorpus],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus = corpora[1]
    present = corpus.present()
    emb = encode(encoder, corpus, present, Ranks())
    order = np.random.default_rng(0).permutation(len(present))
    shuffled = encode(encoder, corpus, Sentences(present.language[order], present.row[order]),
                      Ranks())  # fmt: skip
    torch.testing.assert_close(shuffled, emb[torch.from_numpy(order)], rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(retrieval, "TOKENS_A_CALL", 40)
    in_parts = encode(encoder, corpus, present, Ranks())
    torch.testing.assert_close(in_parts, emb, rtol=1e-5, atol=1e-6)


def test_evaluating_leaves_no_gradient_and_evaluation_mode(
    encoder: Encoder, corpora: tuple[TokenisedCorpus, TokenisedCorpus]
) -> None:
    encoder.train()
    scores = evaluate(encoder, corpora[1], Ranks())
    assert not encoder.training
    assert set(scores.by_language) == {"de", "ko"}
    assert scores == evaluate(encoder, corpora[1], Ranks())
    assert all(parameter.grad is None for parameter in encoder.parameters())
