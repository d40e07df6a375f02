"""The command ``isogloss tokens`` (``python -m search.tokens``): tokens a sentence by language."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from search.data.token_counts import Count, count_tokens
from search.report.tables import fits, format_share
from search.runs import options
from search.runs.console import exit_on_input_error, make_app, make_console
from search.runs.options import as_options
from search.settings.problems import InputError
from search.space.source import option_value

if TYPE_CHECKING:
    from rich.console import Console

    from components.base import Base

# Key of a space file -> the option that stands for it here.
OPTIONS = {
    "data.train": "--train",
    "data.languages": "--languages",
    "data.pivot": "--pivot",
    "data.prompt": "--prompt",
}
BAR = 48  # of the longest

EXAMPLES = """
isogloss tokens --train sentences.tsv
isogloss tokens --base DIR --train sentences.tsv --languages en,de,gu --csv tokens.csv
"""

app = make_app()


@app.command(epilog=options.examples(EXAMPLES))
def main(
    base: options.Model = "builtin:tiny",
    train: options.Train = "builtin:cldr",
    languages: options.Languages = None,
    pivot: options.Pivot = "en",
    max_length: options.MaxLength = 128,
    prompt: Annotated[
        str | None,
        typer.Option(help="Text before each sentence.", show_default="the base's default prompt"),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--csv", help="Write the numbers there too.", show_default="none")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Count the tokens a sentence that a model's tokenizer makes of each language.

    Exit status: 0 counted; 2 the data or the model are at fault; 130 interrupted.
    """
    with exit_on_input_error():
        if not base or not train:
            raise InputError(f"--{'train' if base else 'base'} is ''; it must name something")
        # Imported here: they take seconds, and --help and a misspelt option need none of them.
        from components.base import BaseConfig, load_skeleton
        from search.data.loading import load_corpus
        from search.data.prompts import choose_prompts
        from search.data.settings import DataSettings

        source = option_value(train, "--train")
        chosen = None if languages is None else option_value(languages, "--languages")
        with as_options(OPTIONS):
            skeleton = load_skeleton(BaseConfig(model=base, max_length=max_length))
            settings = DataSettings.model_validate(
                {"train": source, "languages": chosen, "pivot": pivot, "prompt": prompt}
            )
            before = choose_prompts(settings.prompt, skeleton.shipped).others  # of all sentences
            corpus = load_corpus(settings)
        counts = count_tokens(corpus, pivot, skeleton, before)
        if file is not None:
            _write(file, counts)
        console = make_console()
        title = f"{base} on {train}: {len(corpus):,} rows, {len(counts)} languages\n"
        console.print(title, markup=False, soft_wrap=True)
        for table in _tables(console, counts, pivot):
            console.print(table, "")
        console.print(_bars(console, counts), "")
        for remark in _remarks(counts, skeleton, before):
            console.print(remark, markup=False, soft_wrap=True)
        if file is not None:
            console.print(f"\nnumbers: {file}", markup=False, soft_wrap=True)
        if as_json:
            typer.echo(json.dumps([dataclasses.asdict(one) for one in counts]))


def _write(file: Path, counts: Sequence[Count]) -> None:
    names = [field.name for field in dataclasses.fields(Count)]
    try:
        with file.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, names)
            writer.writeheader()
            for one in counts:
                plain = dataclasses.asdict(one).items()
                writer.writerow({k: round(v, 6) if isinstance(v, float) else v for k, v in plain})
    except OSError as error:
        reason = error.strerror
        raise InputError(f"--csv is {str(file)!r}, which cannot be written: {reason}") from error


def _tables(console: Console, counts: Sequence[Count], pivot: str) -> list[Table]:
    """The numbers in one table, or in two where the terminal is too narrow for that."""

    def number(value: float) -> str:
        return f"{value:,.1f}"

    columns: dict[str, tuple[str, Callable[[float], str]]] = {
        "language": ("\nlanguage", str),
        "family": ("\nfamily", str),
        "sentences": ("\nsentences", "{:,}".format),
        "tokens_mean": ("tokens\nmean", number),
        "tokens_median": ("\nmedian", number),
        "tokens_p95": ("\np95", number),
        "ratio": (f"times\n{pivot}", lambda ratio: "-" if ratio is None else f"{ratio:.2f}"),
        "unknown": ("\nunknown", format_share),
        "cut": ("\ncut", format_share),
        "characters_mean": ("characters\nmean", number),
        "characters_median": ("\nmedian", number),
        "characters_p95": ("\np95", number),
        "tokens_per_character": ("tokens a\ncharacter", "{:.2f}".format),
    }

    def table(names: Sequence[str]) -> Table:
        made = Table(box=None, padding=(0, 1), header_style="bold")
        for name in names:
            side: Literal["left", "right"] = "left" if name in ("language", "family") else "right"
            # Text, not str: a column of the user's file may be named like Rich's markup.
            made.add_column(Text(columns[name][0], justify=side), no_wrap=True, justify=side)
        for one in counts:
            made.add_row(
                *(Text(columns[name][1](getattr(one, name))) for name in names),
                style="bold" if one.language == pivot else None,
            )
        return made

    names = list(columns)
    whole = table(names)
    if fits(console, whole):
        return [whole]
    half = names.index("characters_mean")
    return [table(names[:half]), table(["language", *names[half:]])]


def _bars(console: Console, counts: Sequence[Count]) -> Table:
    """Mean tokens as bars."""
    block = "#" if console.options.ascii_only else "█"
    longest = max(one.tokens_mean for one in counts) or 1.0
    chart = Table.grid(padding=(0, 1))
    chart.add_column()
    chart.add_column(justify="right")
    chart.add_column(no_wrap=True)
    for one in counts:
        bar = block * round(BAR * one.tokens_mean / longest)
        chart.add_row(Text(f" {one.language}"), f"{one.tokens_mean:,.1f}", Text(bar, "cyan"))
    return chart


def _remarks(counts: Sequence[Count], base: Base, prompt: str) -> Iterator[str]:
    """How the numbers are to be read."""
    added = len(base.tokenize([prompt])[0])
    beside = f" and the prompt {prompt!r}" if prompt else ""
    end = f", {base.cut_reason}" if base.cut_reason else ""
    yield (
        f"Tokens are those the model sees of a sentence: special tokens{beside} included ({added} "
        f"in each), cut at {base.max_length}{end}."
    )
    yield (
        "Characters are Unicode code points (a vowel sign is one); tokens a character are those of "
        "whole sentences."
    )
    if any(one.unknown for one in counts):
        yield (
            "Unknown is the share of tokens that stand for text the tokenizer cannot read. One may "
            "stand for a whole word: few tokens are then no merit."
        )
    cut = [one for one in counts if one.cut]
    if not cut:
        yield f"No sentence is longer than {base.max_length} tokens."
        return
    shares = ", ".join(
        f"{one.language} {format_share(one.cut)} ({format_share(one.lost)})"
        for one in reversed(cut)
    )
    yield (
        f"Cut are sentences of more than {base.max_length} tokens; the model never sees the rest. "
        f"In brackets the share of the language's tokens that is lost: {shares}."
    )


if __name__ == "__main__":
    app()
