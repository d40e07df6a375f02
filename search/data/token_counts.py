"""How many tokens a tokenizer makes of the sentences of each language. Imports torch late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from components.base import Base
    from search.data.corpus import Corpus


@dataclass(frozen=True)
class Count:
    """What a tokenizer makes of one language. Shares are between 0 and 1.

    Attributes:
        family: of scripts.
        tokens_mean, tokens_median, tokens_p95: a sentence, as the model sees it: with special
            tokens and cut.
        ratio: mean tokens over the pivot's, of the rows that have both; None where there are none.
        unknown: share of the unknown token among those that stand for text.
        cut: share of the sentences that are longer than the model's maximum.
        lost: share of the tokens that lie beyond it.
        characters_mean, characters_median, characters_p95: Unicode code points a sentence.
        tokens_per_character: of whole sentences, before the cut.
    """

    language: str
    family: str
    sentences: int
    tokens_mean: float
    tokens_median: float
    tokens_p95: float
    ratio: float | None
    unknown: float
    cut: float
    lost: float
    characters_mean: float
    characters_median: float
    characters_p95: float
    tokens_per_character: float


def count_tokens(corpus: Corpus, pivot: str, base: Base, prompt: str = "") -> list[Count]:
    """Count the tokens of each language; the languages with the fewest come first.

    Args:
        base: needs no weights.
        prompt: stands before each sentence; its tokens are counted, its characters are not.
    """
    import numpy as np

    from components.languages import FamilyTable
    from search.data.tokens import families_of

    families = dict(zip(corpus.languages, families_of(corpus, FamilyTable()), strict=True))
    added = base.tokenize([prompt])[0]  # what stands in every sentence
    unknown_id = base.tokenizer.unk_token_id
    seen: dict[str, dict[int, int]] = {}  # tokens of each row that has the language
    counts = {}
    for language, rows in zip(corpus.languages, corpus.text_numbers >= 0, strict=True):
        texts = dict(zip(np.flatnonzero(rows).tolist(), corpus.texts(language), strict=True))
        given = [prompt + text for text in texts.values()]
        ids = base.tokenize(given)
        tokens = np.array([len(one) for one in ids])
        whole = _uncut(base, given, tokens.tolist())
        characters = np.array([len(text) for text in texts.values()])
        # Some tokenizers end every sentence with the token that also stands for what is unknown.
        unknown = sum(one.count(unknown_id) - added.count(unknown_id) for one in ids)
        seen[language] = dict(zip(texts, tokens.tolist(), strict=True))
        counts[language] = Count(
            language=language,
            family=families[language],
            sentences=len(texts),
            tokens_mean=float(tokens.mean()),
            tokens_median=float(np.median(tokens)),
            tokens_p95=float(np.percentile(tokens, 95)),
            ratio=None,
            unknown=unknown / max(1, int(tokens.sum()) - len(added) * len(texts)),
            cut=float((whole > tokens).mean()),
            lost=float((whole - tokens).sum() / max(1, whole.sum())),
            characters_mean=float(characters.mean()),
            characters_median=float(np.median(characters)),
            characters_p95=float(np.percentile(characters, 95)),
            tokens_per_character=float(whole.sum() / characters.sum()),
        )
    ratios = {language: _ratio(rows, seen[pivot]) for language, rows in seen.items()}
    full = [replace(one, ratio=ratios[one.language]) for one in counts.values()]
    return sorted(full, key=lambda one: one.tokens_mean)


def _uncut(base: Base, texts: Sequence[str], tokens: Sequence[int]) -> NDArray[np.int64]:
    """Tokens of whole sentences; only those that fill the model's maximum can be longer."""
    import numpy as np

    whole = np.array(tokens)
    full = np.flatnonzero(whole == base.max_length).tolist()
    if full:
        whole[full] = base.count_tokens([texts[place] for place in full])
    return whole


def _ratio(rows: dict[int, int], others: dict[int, int]) -> float | None:
    both = rows.keys() & others.keys()
    beneath = sum(others[row] for row in both)
    return sum(rows[row] for row in both) / beneath if beneath else None
