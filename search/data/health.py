"""What the sentences of a search are worth: counts by language, and warnings."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from components.base import Base
from search.data.corpus import Corpus
from search.data.loading import LoadedData
from search.data.placement import PLACES
from search.data.prompts import Prompts
from search.data.tokens import SENTENCES_A_CALL, TokenisedCorpus
from search.runtime.store import Store

FEW_PAIRS = 100  # to validate a language with
MOSTLY_COPIED = 0.1  # of a language's sentences; names and numbers are alike in many
MOSTLY_UNKNOWN = 0.5


@dataclass(frozen=True)
class LanguageHealth:
    """What became of one language's sentences.

    Attributes:
        rows: rows read.
        empty: of these, rows in which it has no sentence, or a blank one.
        places: where its other sentences went (see `search.data.loading.Counts`).
        pairs: of those to validate with, how many stand beside the pivot's; of the pivot, all.
        test_pairs: likewise of those to test with.
        tokens: mean tokens of a sentence that is used, special tokens included, after the cut.
        cut: sentences that are used and longer than the model's maximum.
        copied: sentences that are used and are the pivot's own text, untranslated.
        unknown: share of the unknown token among the tokens that stand for text.
    """

    language: str
    rows: int
    empty: int
    places: dict[str, int]
    pairs: int
    test_pairs: int
    tokens: float
    cut: int
    copied: int
    unknown: float


@dataclass(frozen=True)
class Health:
    """What the sentences of a search are worth.

    Attributes:
        rows: rows read, those used and those left out.
        max_length: tokens after which the model cuts a sentence.
        train_pairs: pairs to train on.
        notes: what there is to know of how the sentences were read and divided.
    """

    languages: tuple[LanguageHealth, ...]
    rows: int
    train_rows: int
    validation_rows: int
    test_rows: int
    train_pairs: int
    max_length: int
    pivot: str
    notes: tuple[str, ...]

    def plain(self) -> dict[str, object]:
        """All of it, and the warnings, as plain data."""
        return asdict(self) | {"warnings": list(self.warnings())}

    def warnings(self) -> Iterator[str]:
        """What may make the results of the search worthless, a sentence each."""
        for one in self.languages:
            if one.unknown > MOSTLY_UNKNOWN:
                yield (
                    f"{one.unknown:.0%} of the tokens of {one.language} are unknown to the "
                    f"tokenizer, which makes the same of all of them: what they say is lost, and "
                    f"training cannot bring it back; a base with another tokenizer keeps it"
                )
        for one in self.languages:
            used = sum(one.places[place] for place in ("train", "validation", "test"))
            if one.copied > MOSTLY_COPIED * used:
                yield (
                    f"{one.copied:,} of {used:,} sentences of {one.language} are the text of "
                    f"{self.pivot} itself: untranslated copies teach nothing, and flatter the "
                    f"accuracy"
                )
        few: dict[int, list[str]] = {}
        for one in self.languages:
            if one.language != self.pivot and one.pairs < FEW_PAIRS:
                few.setdefault(one.pairs, []).append(one.language)
        for pairs, names in sorted(few.items()):
            low, high = wilson_interval(0.5, pairs)
            yield (
                f"{', '.join(names)}: {pairs} validation pair{'s'[: pairs != 1]}, fewer than "
                f"{FEW_PAIRS}: an accuracy of .500 on so few may as well be one of {low:.3f} or "
                f"{high:.3f} (95 % interval)"
            )


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share that was measured on so many cases.

    Source: Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference.
    """
    z = 1.959964
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    spread = math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) * z / (1 + z**2 / count)
    return centre - spread, centre + spread


def measure(
    loaded: LoadedData,
    tokenised: tuple[TokenisedCorpus, TokenisedCorpus, TokenisedCorpus | None],
    base: Base,
    store: Store | None = None,
    prompts: Prompts | None = None,
    notes: Sequence[str] = (),
) -> Health:
    """Count the sentences that were read and their tokens, by language.

    Args:
        tokenised: the sentences of ``loaded`` to train on, to validate and to test with.
        base: whose tokenizer that was; it needs no weights.
        store: keeps the counts for later searches.
        prompts: what stands before each sentence; nothing by default.
        notes: what else there is to say.
    """
    prompts = prompts or Prompts()
    train, validation, test = tokenised
    parts = [(loaded.train, train), (loaded.validation, validation)]
    if loaded.test is not None and test is not None:
        parts.append((loaded.test, test))
    cut = np.sum([_cut(text, tokens, base, prompts, store) for text, tokens in parts], axis=0)
    unknown_id = base.tokenizer.unk_token_id
    counts = loaded.counts
    found = []
    for index, language in enumerate(train.languages):
        # Those that stand in every sentence.
        special = base.tokenize([prompts.of(index == train.pivot)])[0]
        sentences = sum(tokens.counts[index] for _, tokens in parts)
        ids = [tokens.ids[slice(*tokens.starts[index, [0, -1]])] for _, tokens in parts]
        total = sum(len(one) for one in ids)
        unknown = 0
        if unknown_id is not None:
            # Some tokenizers end each sentence with the token that also stands for what is unknown.
            added = special.count(unknown_id) * sentences
            unknown = sum(int((part == unknown_id).sum()) for part in ids) - added
        found.append(
            LanguageHealth(
                language=language,
                rows=counts.rows,
                empty=counts.empty[language],
                places={place: counts.places[language][place] for place in PLACES},
                pairs=_pairs(validation, index),
                test_pairs=0 if test is None else _pairs(test, index),
                tokens=total / max(1, sentences),
                cut=int(cut[index]),
                copied=counts.copied[language],
                unknown=unknown / max(1, total - len(special) * sentences),
            )
        )
    return Health(
        tuple(found),
        counts.rows,
        train.rows,
        validation.rows,
        0 if test is None else test.rows,
        train.pair_count,
        base.max_length,
        train.languages[train.pivot],
        (*loaded.notes, *prompts.notes(), *notes),
    )


def _pairs(corpus: TokenisedCorpus, language: int) -> int:
    """Rows that have a language and the pivot."""
    present = corpus.lengths > 0
    return int((present[language] & present[corpus.pivot]).sum())


def _cut(
    corpus: Corpus, tokens: TokenisedCorpus, base: Base, prompts: Prompts, store: Store | None
) -> NDArray[np.int64]:
    """How many sentences of each language are longer than the maximum, (L,).

    Only those that fill it can be: these alone are tokenised once more, without the cut.
    """
    before = [prompts.of(index == tokens.pivot) for index in range(len(tokens.languages))]

    def count() -> dict[str, torch.Tensor]:
        counts = np.zeros(len(corpus.languages), dtype=np.int64)
        for index in range(len(counts)):
            (full,) = np.nonzero(tokens.lengths[index] >= base.max_length)
            for start in range(0, len(full), SENTENCES_A_CALL):
                rows = full[start : start + SENTENCES_A_CALL]
                texts = corpus.lookup(np.full(len(rows), index), rows)
                texts = [before[index] + text for text in texts]
                counts[index] += sum(n > base.max_length for n in base.count_tokens(texts))
        return {"cut": torch.from_numpy(counts)}

    if store is None:
        counted: NDArray[np.int64] = count()["cut"].numpy()
        return counted
    about = json.dumps(["cut", base.tokenization, before, corpus.digest])
    key = hashlib.sha256(about.encode()).hexdigest()
    found = store.build(key, f"sentences cut of {len(corpus)} rows", count, wait=True)
    assert found is not None
    stored: NDArray[np.int64] = found["cut"].numpy()
    return stored
