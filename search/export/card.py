"""The README.md of an exported folder: how to load it, how good it is, what it is made of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape

from huggingface_hub import ModelCardData

from components.languages import parse
from search.data.prompts import Prompts
from search.export.facts import Facts, fact_lines, results
from search.settings.trial import Scores, TrialConfig

# A name on the hub: owner and repository, in the characters that it allows there.
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
# What Markdown gives a meaning in a line, a colon in addresses and emoji only, or at its beginning.
_MARKUP = re.compile(r"([\\`*_\[\]|~$@]|:(?=\S)|^[#+!:-]|(?<=^\d)[.)]|(?<=^\d\d)[.)])")


def card(
    config: TrialConfig,
    scores: Scores,
    custom: bool,
    routed: bool = False,
    *,
    dtype: str = "float32",
    pairs: Mapping[str, int] | None = None,
    reference: Scores | None = None,
    untouched: Scores | None = None,
    chosen_by: Scores | None = None,
    comparison: Sequence[str] = (),
    prompts: Prompts | None = None,
    pivot: str = "",
    facts: Facts | None = None,
) -> str:
    """Write the model card; nothing that a setting or a file says is markup in it.

    Args:
        custom: whether loading the folder runs a file of its own.
        routed: whether the model treats families of languages differently.
        dtype: that the base's weights are saved in.
        scores: on the test sentences or, without these, on the validation sentences.
        pairs: language -> number of pairs it was scored on.
        reference: scores of the search's reference trial.
        untouched: scores of the base without training, with its own pooling.
        chosen_by: scores on the validation sentences, where ``scores`` are on test sentences.
        comparison: what else is known of the model, a sentence each.
        prompts: what stands before sentences.
        pivot: language that the others were scored against.
        facts: what else is known of the model.
    """
    trust = ", trust_remote_code=True" if custom else ""
    routes = (
        """
The model treats families of languages differently. It finds the family of each sentence by its
script; where you know the language, say so: `model.encode(texts, task="gu")`.
"""
        if routed
        else ""
    )
    about = ""
    if facts is not None:
        count = sum((pairs or {}).values())
        lines = fact_lines(facts, scores, count, config.training)
        about = "\n".join(["", *lines, ""])
    return f"""---
{front_matter(config, (*scores.by_language, *[pivot] * bool(pivot)), scores, facts)}
---

# Cross-lingual sentence embedder

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("best"{trust})  # the path of this folder, or its name on the hub
vectors = model.encode(["A sentence.", "Ein Satz."])
```
{routes}{prompt_text(prompts or Prompts())}
{source_text(scores, chosen_by)}

{score_table(scores, pairs or {}, reference, untouched)}
{"".join(f"{chr(10)}- {as_text(sentence)}" for sentence in comparison)}

- Base model: {as_text(str(_without_paths(config.base.model)))}
- {dtype_text(dtype)}{about}
Settings:

```json
{settings_json(config)}
```

Made by Isogloss.
"""


def source_text(scores: Scores, chosen_by: Scores | None) -> str:
    """Say what was measured, on which sentences, and what these had to do with the model."""
    measure = "Top-1 retrieval accuracy against the pivot"
    if chosen_by is None:
        return f"{measure} on the validation sentences, mean of both directions:"
    return (
        f"**{measure}: {scores.accuracy:.3f}** on test sentences, which took no part in training "
        f"or in any choice\n({chosen_by.accuracy:.3f} on the validation sentences). Mean of both "
        f"directions:"
    )


def prompt_text(prompts: Prompts) -> str:
    """Say which prompts the model was trained with, and how ``encode`` puts them on."""
    if prompts.differ:
        return (
            f"\nTrained with the prompt {as_text(repr(prompts.pivot))} before each sentence of the "
            f"pivot, and {as_text(repr(prompts.others))} before each other one, which is\n"
            f'`encode`\'s default; for the pivot: `model.encode(texts, prompt_name="pivot")`.\n'
        )
    if not prompts.pivot:
        return ""
    return (
        f"\nTrained with the prompt {as_text(repr(prompts.pivot))} before each sentence; `encode` "
        f"puts it there.\n"
    )


def dtype_text(dtype: str) -> str:
    """Say which dtype the weights are saved in, and how to load them in another one."""
    if dtype == "float32":
        return "All weights are saved in float32."
    return (
        f"The transformer is saved, and by default loaded, in {dtype}; pooling, head and adapters "
        f"of families are saved\nin float32. To run everything in float32: "
        f'`model_kwargs={{"dtype": "float32"}}`.'
    )


def front_matter(
    config: TrialConfig, languages: tuple[str, ...], scores: Scores, facts: Facts | None = None
) -> str:
    """The card's metadata as YAML: the hub's own fields, languages by their ISO codes."""
    codes = {parse(name).language for name in languages}
    base = config.base.model
    data = ModelCardData(
        language=sorted(code for code in codes if re.fullmatch("[a-z]{2,3}", code)) or None,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=[
            "sentence-transformers",
            "sentence-similarity",
            "feature-extraction",
            "dense",
            "isogloss",
        ],
        license=facts.license if facts else None,
        datasets=list(facts.datasets) or None if facts else None,
        model_name="Cross-lingual sentence embedder",
        eval_results=results(scores, tested=facts is not None and facts.tested),
        base_model=base if HUB_NAME.fullmatch(base) else None,
    )
    found: str = data.to_yaml()
    return found.strip()


def score_table(
    scores: Scores,
    pairs: Mapping[str, int],
    reference: Scores | None,
    untouched: Scores | None,
) -> str:
    """A Markdown table with a row a language; a column for each of the scores there are."""
    columns = {"accuracy": scores, "reference": reference, "untouched base": untouched}
    given = {name: column for name, column in columns.items() if column is not None}
    names = ["language", *["pairs"] * bool(pairs), *given]
    lines = [_row(names), _row(["---"] * len(names))]
    for language in scores.by_language:
        values = [_number(column.by_language.get(language)) for column in given.values()]
        count = [str(pairs.get(language, ""))] * bool(pairs)
        lines.append(_row([as_text(language), *count, *values]))
    means = [_number(column.accuracy) for column in given.values()]
    lines.append(_row(["all languages", *[str(sum(pairs.values()))] * bool(pairs), *means]))
    return "\n".join(lines)


def settings_json(config: TrialConfig) -> str:
    """A trial's settings as JSON that cannot end the block of code that it stands in.

    A path of this machine is cut to its last part: it says nothing elsewhere.
    """
    values = _without_paths(config.model_dump())
    # JSON may write any character as an escape, and so a reader gets the same settings.
    return json.dumps(values, indent=2).replace("`", "\\u0060").replace("<", "\\u003c")


def as_text(name: str) -> str:
    """A name as Markdown that shows these characters and nothing else, on one line."""
    shown = "".join(c if c.isprintable() else " " for c in name)
    return _MARKUP.sub(r"\\\1", escape(shown, quote=False))


def _without_paths(value: object) -> object:
    """Plain values, absolute paths among them cut to their last part."""
    if isinstance(value, dict):
        return {_without_paths(key): _without_paths(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(part) for part in value]
    if isinstance(value, str) and re.match(r"(/|~|[A-Za-z]:[\\/])", value):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
