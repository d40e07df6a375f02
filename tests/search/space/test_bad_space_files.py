"""A table of space files and options that nobody can mean, and what the command says of each.

Every row runs the real command in this process, with Ray out of reach. A row may become clearer,
never less clear: the exit status is 2, what is said fits on a line, names the place, and holds no
traceback and no class name of a library.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
import torch
from typer.testing import CliRunner

from search.search import app

GOOD = """data: {train: builtin:cldr, languages: [en, de], train_rows: 80, validation_rows: 5}
base: {model: builtin:tiny}
"""
BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
)

# A whole file -> what is said.
FILES: list[tuple[str, str]] = [
    ("", "holds nothing"),
    ("# a comment\n", "holds nothing"),
    ("~", "holds nothing"),
    ("---\n...\n", "holds nothing"),
    ("- a\n- b\n", "holds a list of 2; a space file must hold sections"),
    ("hello", "holds the single value 'hello'"),
    ("3", "holds the single value '3'"),
    ("true", "holds the single value 'True'"),
    ("!!set {a, b}", "has the tag '!!set', which means nothing here"),
    ("a: [1", "is not YAML: while parsing a flow sequence"),
    ("a: 'b", "is not YAML: while scanning a quoted scalar"),
    ("a: b: c", "is not YAML: mapping values are not allowed here"),
    ("\ta: 1", "is not YAML: while scanning for the next token found character '\\t'"),
    ("a: *nowhere", "is not YAML: found undefined alias 'nowhere'"),
    ("a: \0", "is not YAML: unacceptable character #x0000"),
    ("a: 1\n---\nb: 2\n", "expected a single document in the stream but found another document"),
    ("a: 1\na: 2\n", "a: is given twice; it must be given once"),
    ("<<: 3\n", "is not YAML"),
    ("%YAML 1.1\n---\nbase: {}\n", ":2: asks for YAML 1.1; it must be YAML 1.2"),
    ("base: {model: builtin:tiny}\n", "data: is missing; it must be given"),
    ("data: {train: builtin:cldr}\n", "base: is missing; it must be given"),
    ("{choice: [1]}", "is a domain; a space file must hold sections"),
    ("x: 1\n" * 60_000, "stands for more than 20,000 values"),
    ("# " + "x" * 1_000_000, "holds more than 1,000,000 bytes; it must be smaller"),
]

# Lines after a good file -> what is said, and in which line of the file it is.
LINES: list[tuple[str, int, str]] = [
    # YAML that a loader would obey, or choke on
    ("pooling: !!python/object/apply:os.system [ls]", 3,
     "has the tag '!!python/object/apply:os.system', which means nothing here"),
    ("pooling: {kind: !!python/name:os.system ''}", 3, "has the tag '!!python/name:os.system'"),
    ("pooling: !mine {kind: mean}", 3, "has the tag '!mine'"),
    ("pooling: {kind: !!binary bWVhbg==}", 3, "has the tag '!!binary'"),
    ("pooling: {kind: !!timestamp 2020-01-01}", 3, "has the tag '!!timestamp'"),
    (BOMB, 8, "stands for more than 20,000 values"),
    ("pooling: &x {kind: mean, more: *x}", 3, "*x stands inside what it names"),
    ("pooling: " + "[" * 100_000, 3, "is nested deeper than 50 levels; it must be flatter"),
    ("pooling: " + "{a: " * 60 + "1" + "}" * 60, 3, "is nested deeper than 50 levels"),
    ("training: {seed: " + "9" * 400 + "}", 3, "is a whole number of 400 digits"),
    ("training: {seed: " + "9" * 5000 + "}", 3, "is a whole number of 5000 digits"),
    ("training: {seed: 0x" + "f" * 40 + "}", 3, "training.seed: is a whole number beyond 64 bits"),
    ("optimizer: {lr: 1e999}", 3, "optimizer.lr: is inf; it must be a finite number"),
    # keys
    ("~: 3", 3, "has an empty key"),
    (": 3", 3, "has an empty key"),
    ("'': 3", 3, "has an empty key"),
    ("head: {~: 3}", 3, "head: has an empty key"),
    ("true: 3", 3, "has the key true, which is a truth value in YAML"),
    ("? [a, b]\n: 3", 3, "has the key"),
    ("1.5: 3", 3, "has the key '1.5'; it must be a name"),
    ("2020-01-01: 3", 3, "has the key"),
    ("3: 4", 3, "3: is no known key"),
    ("pooing: {kind: mean}", 3, "did you mean 'pooling'?"),
    ("haed:\n  choice:\n    - {kind: identity}\n    - {kind: linear}", 3, "did you mean 'head'?"),
    ("\"a\\e[31mb\": 3", 3, "a\\x1b[31mb: is no known key"),
    ("\"a\\u202eb\": 3", 3, "a\\u202eb: is no known key"),
    ("'[/x]': 3", 3, "[/x]: is no known key"),
    ("'[red]': 3", 3, "[red]: is no known key"),
    ("k" * 500 + ": 3", 3, "…"),
    ("case: mine", 3, "case: stands outside a case; it must be in the list 'cases'"),
    ("cache: {foldr: x}", 3, "did you mean 'folder'?"),
    ("head: {kind: linear, width: 8, hidden: 3}", 3,
     "head.hidden: is no known key; it must be among kind, width"),
    # values of the wrong kind
    ("pooling:", 3, "pooling: is null; it must be"),
    ("pooling: meen", 3, "pooling: is 'meen'; it must be one of attention"),
    ("pooling: [mean, max]", 3,
     "pooling: is [mean, max]; it must be a kind or a mapping with a 'kind'; several values to "
     "choose from are written {choice: [mean, max]}"),
    ("pooling: {heads: 2}", 3, "it must be a kind or a mapping with a 'kind'"),
    ("pooling: {kind: }", 3, "is null; it must be one of attention"),
    ("pooling: {kind: [mean]}", 3, "it must be"),
    ("pooling: {kind: meen}", 3, "did you mean 'mean'?"),
    ("head: {kind: linear, width: 0}", 3, "head.width: is 0; it must be at least"),
    ("head: {kind: linear, width: -8}", 3, "head.width: is -8; it must be"),
    ("head: {kind: linear, width: 8.5}", 3, "head.width: is 8.5; it must be a whole number"),
    ("head: {kind: linear, width: '8'}", 3, "head.width: is '8'; it must be a whole number"),
    ("head: {kind: linear, width: true}", 3, "head.width: is true; it must be a whole number"),
    ("head: {kind: linear, width: [8]}", 3, "head.width: is [8]; it must be a whole number"),
    ("head: {kind: linear, bias: yes}", 3,
     "head.bias: is 'yes'; it must be true or false (YAML 1.2 reads yes, no, on and off as words)"),
    ("head: {kind: linear, bias: on}", 3, "head.bias: is 'on'; it must be true or false"),
    ("head: {kind: linear, bias: 1}", 3, "head.bias: is 1; it must be true or false"),
    ("optimizer: {lr: fast}", 3, "optimizer.lr: is 'fast'; it must be a number"),
    ("optimizer: {lr: .nan}", 3, "optimizer.lr: is nan; it must be a finite number"),
    ("optimizer: {lr: -.inf}", 3, "optimizer.lr: is -inf; it must be a finite number"),
    ("optimizer: {lr: 0}", 3, "optimizer.lr: is 0; it must be greater than 0"),
    ("optimizer: {lr: 11}", 3, "optimizer.lr: is 11; it must be at most 10"),
    ("optimizer: {warmup: 1}", 3, "optimizer.warmup: is 1; it must be less than 1"),
    ("optimizer: {warmup: -0.1}", 3, "optimizer.warmup: is -0.1; it must be"),
    ("optimizer: {weight_decay: -1}", 3, "optimizer.weight_decay: is -1; it must be"),
    ("optimizer: {clip_norm: 0}", 3, "optimizer.clip_norm: is 0; it must be greater than 0"),
    ("optimizer: {schedule: cosin}", 3, "did you mean 'cosine'?"),
    ("optimizer: 2020-01-01", 3, "optimizer: is '2020-01-01'; it must be"),
    ("training: {batch_size: 1}", 3, "training.batch_size: is 1; it must be"),
    ("training: {batch_size: 8\n  }\n  x", 0, "is not YAML"),
    ("training: {batch_size: 128}", 3,
     "training.batch_size is 128, but there are 80 pairs to train on; it must be at most that"),
    ("training: {batch_size: {choice: [64, 999999]}}", 3,
     "training.batch_size is 999999, but there are 80 pairs to train on"),
    ("training: {pairs_per_epoch: 32}", 3,
     "training.batch_size is 64; it must be at most training.pairs_per_epoch, 32"),
    ("training: {seed: -1}", 3, "training.seed: is -1; it must be"),
    ("training: {seed: 4294967296}", 3, "training.seed: is 4294967296; it must be less than"),
    ("training: {matryoshka: []}", 3, "training.matryoshka: is []; it must"),
    ("training: {matryoshka: 8}", 3, "training.matryoshka: is 8; it must be a list"),
    ("training: {matryoshka: [8, 8]}", 3, "names 8 twice"),
    ("training: {matryoshka: [9999]}", 3, "names 9999; it must be below the embedding's width"),
    ("training: {language_temperature: 0.5}", 3, "language_temperature: is 0.5; it must be"),
    ("training: {chunk_tokens: 0}", 3, "training.chunk_tokens: is 0; it must be"),
    ("training: {gather: false}", 3, "a lane has one worker, which gathers nothing"),
    ("negatives: {kind: mined, count: 65}", 3, "negatives.count: is 65; it must be"),
    ("negatives: {kind: mined, margin: 0}", 3, "negatives.margin: is 0; it must be greater than 0"),
    ("negatives: {kind: mined, encoder: ''}", 3, "negatives.encoder: is ''; it must"),
    ("negatives: {kind: mined, encoder: a/b, every: 2}", 3, "negatives.every: is 2, but 'a/b'"),
    ("loss: {kind: distillation}", 3, "loss.teacher: is missing; it must be given"),
    ("loss: {kind: info_nce, temperature: 0}", 3, "loss.temperature: is 0; it must be"),
    ("loss: {kind: sum, weights: {}}", 3, "loss.weights"),
    ("loss: {kind: sum, weights: {info_nc: 1.0}}", 3, "info_nc"),
    ("loss: {kind: sum, weights: {info_nce: 0.0}}", 3, "it must hold at least two kinds"),
    ("pooling: {kind: weighted, weights: {mean: 0.0, max: 0.0}}", 3, "have one at least above 0"),
    # domains
    ("optimizer: {lr: {choice: []}}", 3, "is []; it must have at least 1 item"),
    ("optimizer: {lr: {choice: 3}}", 3, "optimizer.lr.choice: is 3; it must be a list"),
    ("optimizer: {lr: {choice: [0.1, 0.1]}}", 3, "is given twice in this choice"),
    ("optimizer: {lr: {choice: [0.1, 20]}}", 3, "optimizer.lr: is 20; it must be"),
    ("optimizer: {lr: {choice: [0.1], log: true}}", 3, "log: is no known key"),
    ("optimizer: {lr: {float: [0.1]}}", 3, "it must have at least 2 items"),
    ("optimizer: {lr: {float: [0.1, 0.2, 0.3]}}", 3, "it must have at most 2 items"),
    ("optimizer: {lr: {float: 0.1}}", 3, "optimizer.lr.float: is 0.1; it must be a list"),
    ("optimizer: {lr: {float: [0.1, x]}}", 3, "is 'x'; it must be a number"),
    ("optimizer: {lr: {float: [1, 0.1]}}", 3, "it must run from the lower to the higher end"),
    ("optimizer: {lr: {float: [0, 1], log: true}}", 3, "is log and starts at 0.0; it must"),
    ("optimizer: {lr: {float: [0.1, 1], log: true, step: 0.1}}", 3, "has both log and step"),
    ("optimizer: {lr: {float: [0.1, 1], log: yes}}", 3,
     "optimizer.lr.log: is 'yes'; it must be true or false (YAML 1.2"),
    ("optimizer: {lr: {float: [0.1, .inf]}}", 3, "is inf; it must be a finite number"),
    ("optimizer: {lr: {float: [0.1, 1], step: 0}}", 3, "step: is 0; it must be greater than 0"),
    ("optimizer: {lr: {float: [0.1, 1], step: -0.1}}", 3, "step: is -0.1; it must be greater"),
    ("optimizer: {lr: {float: [0.1, 1], stp: 0.1}}", 3, "did you mean 'step'?"),
    ("optimizer: {lr: {float: [0.1, 1.0], step: 0.4}}", 3,
     "optimizer.lr.step: is 0.4; it must divide the range from 0.1 to 1.0, or the range end on a "
     "step, as 0.9"),
    ("adapter: {kind: lora, rank: {int: [4, 30], step: 8}}", 3,
     "adapter.rank.step: is 8; it must divide the range from 4 to 30, or the range end on a step, "
     "as 28"),
    ("adapter:\n  kind: lora\n  rank:\n    int: [4, 8]\n    step: 16", 7,
     "adapter.rank.step: is 16; it must divide the range from 4 to 8, or the range end on a step, "
     "as 20"),
    ("head: {kind: linear, width: {int: [8, 16.5]}}", 3, "is 16.5; it must be a whole number"),
    ("head: {kind: linear, width: {int: [0, 16]}}", 3, "head.width: is 0; it must be"),
    ("head: {kind: linear, width: {float: [8, 16]}}", 3, "it must be a whole number"),
    ("head: {kind: linear, width: {int: [1, 9], float: [1, 2]}}", 3, "is no known key"),
    ("search: {trials: {int: [1, 2]}}", 3, "'search' holds for the whole search"),
    ("lane: {choice: [{workers: 1}]}", 3, "'lane' holds for the whole search"),
    ("pooling: {choice: [{kind: mean}, {kind: meen}]}", 3, "did you mean 'mean'?"),
    ("pooling:\n  choice:\n    - {kind: mean}\n    - {kind: attention, heads: 0}", 6,
     "pooling.heads: is 0; it must be"),
    ("pooling: {kind: {choice: [mean, max]}, heads: 4}", 3, "heads"),
    # cases
    ("cases: []", 3, "must be a list of mappings, one a case"),
    ("cases: {case: a}", 3, "must be a list of mappings"),
    ("cases: [a]", 3, "must be a list of mappings"),
    ("cases: [{case: a}, {case: a}]", 3, "has a name, 'a', given twice"),
    ("cases: [{case: a, search: {trials: 1}}]", 3, "stands in a case"),
    ("cases: [{case: a, pooing: {kind: mean}}]", 3, "did you mean 'pooling'?"),
    ("cases: [{case: '[red]'}]", 3, "is '[red]'; it must be a name of at most 60 letters"),
    ("cases: [{case: \"a\\e[31mb\"}]", 3, "is 'a\\\\x1b[31mb'; it must be a name"),
    ("cases: [{case: \"a\\nb\"}]", 3, "is 'a\\\\nb'; it must be a name"),
    ("cases: [{case: " + "x" * 61 + "}]", 3, "it must be a name of at most 60 letters"),
    ("cases: [{case: ''}]", 3, "is ''; it must be a name"),
    ("cases: [{case: '=1+1'}]", 3, "is '=1+1'; it must be a name"),
    # the search itself
    ("search: {trials: 0}", 3, "search.trials: is 0; it must be"),
    ("search: {trials: many}", 3, "search.trials: is 'many'; it must be a whole number"),
    ("search: {metric: loss}", 3, "search.metric: is 'loss'; it must be"),
    ("search: {concurrency: 0}", 3, "search.concurrency: is 0; it must be"),
    ("search: {sampler: pte}", 3, "search.sampler: is 'pte'; it must be one of grid, random, tpe"),
    ("search: {sampler: {kind: gird}}", 3, "did you mean 'grid'?"),
    ("search: {sampler: {startup_trials: 0}}", 3, "startup_trials: is 0; it must be"),
    ("search: {scheduler: {kind: ash}}", 3, "did you mean 'asha'?"),
    ("search: {scheduler: {max_epochs: 0}}", 3, "max_epochs: is 0; it must be"),
    ("search: {scheduler: {reduction: 1}}", 3, "reduction: is 1; it must be"),
    ("search:\n  scheduler:\n    max_epochs: 3\n    grace_epochs: 5", 6,
     "search.scheduler.grace_epochs: is 5; it must be at most max_epochs, 3"),
    ("search: {scheduler: {grace_epochs: 10}}", 3, "grace_epochs: is 10; it must be at most"),
    ("search: {sampler: {kind: grid}}\noptimizer: {lr: {float: [0.1, 1]}}", 4,
     "which a grid cannot go through"),
    ("search: {sampler: {kind: grid}}\nhead: {kind: linear, width: {int: [1, 99]}}\n"
     "training: {seed: {int: [1, 99]}, pairs_per_epoch: {int: [2, 99]}}", 3,
     "search.sampler.kind: is 'grid', which has 960,498 combinations here; it must have at most"),
    ("lane: {workers: 0}", 3, "lane.workers: is 0; it must be"),
    ("lane: {gpus: -1}", 3, "lane.gpus: is -1; it must be"),
    ("cache: {max_gb: -1}", 3, "cache.max_gb: is -1; it must be"),
    ("cache: {folder: ''}", 3, "cache.folder: is ''; it must"),
]  # fmt: skip

# --set options on a good file -> what is said.
OPTIONS: list[tuple[str, str]] = [
    ("nonsense", "must be key=value, for example"),
    ("=3", "must be key=value"),
    (".=3", "must be key=value"),
    ("a..b=3", "must be key=value"),
    ("optimizer.lr", "must be key=value"),
    ("optimizer.lr=", "optimizer.lr: is null; it must be"),
    ("optimizer.lr=[1", "is not YAML"),
    ("optimizer.lr=!!python/object/apply:os.system [ls]", "has the tag '!!python/object/apply"),
    ("pooling=" + "[" * 1000, "is nested deeper than 50 levels"),
    ("training.seed=" + "9" * 400, "is a whole number of 400 digits"),
    ("pooling={a: &a [x,x,x,x,x,x,x,x,x], b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a], c: &c "
     "[*b,*b,*b,*b,*b,*b,*b,*b,*b], d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c], e: [*d,*d,*d,*d,*d]}",
     "stands for more than 20,000 values"),
    ("pooling={~: 3}", "has an empty key"),
    ("optimizer.lr.x=3", "optimizer.lr"),
    ("data.languages.7=fr", "must be an index from 0 to 1"),
    ("data.languages.x=fr", "must be an index from 0 to 1"),
    ("optimizer={lr: 0}", "optimizer.lr: is 0; it must be greater than 0"),
    ("optmizer.lr=0.1", "did you mean 'optimizer'?"),
    ("training.seed=" + "x" * 5000, "…"),
    ("search.scheduler.grace_epochs=99", "grace_epochs: is 99; it must be at most max_epochs, 9"),
    ("lane.workers=100", "is 100, so that a lane needs 100 workers with 1 CPU; it must fit"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong must be found before Ray starts."""
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def refusal(folder: Path, text: str, *arguments: str) -> str:
    """What the command says of a space file, in one line."""
    file = folder / "space.yaml"
    file.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(
        app, [str(file), "--output", str(folder / "runs"), "--name", "mine", *arguments]
    )
    assert result.exit_code == 2, result.output
    assert [path.name for path in folder.iterdir()] == ["space.yaml"]
    lines = result.stderr.splitlines()
    assert lines and lines[0].startswith("error: ")
    for word in ("Traceback", "Commented", "ruamel", "pydantic", "ScalarFloat"):
        assert word not in result.output
    assert all(character.isprintable() for line in lines for character in line)
    assert max(map(len, lines)) < 1500
    return lines[0]


@pytest.mark.parametrize(("text", "words"), FILES, ids=[text[:40] for text, _ in FILES])
def test_a_whole_file(tmp_path: Path, text: str, words: str) -> None:
    said = refusal(tmp_path, text)
    assert words in said
    assert "space.yaml" in said


@pytest.mark.parametrize(
    ("text", "line", "words"), LINES, ids=[text.replace("\n", "|")[:50] for text, _, _ in LINES]
)
def test_lines_of_a_file(tmp_path: Path, text: str, line: int, words: str) -> None:
    said = refusal(tmp_path, GOOD + text + "\n")
    assert words in said
    assert f"space.yaml:{line}: " in said or not line


@pytest.mark.parametrize(("option", "words"), OPTIONS, ids=[o[:50] for o, _ in OPTIONS])
def test_an_option(tmp_path: Path, option: str, words: str) -> None:
    said = refusal(tmp_path, GOOD, "--set", option)
    assert words in said
    assert said.startswith(f"error: --set {option[:50]}")


def test_of_many_faults_some_are_told_and_the_rest_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(GOOD + "".join(f"key{n}: 1\n" for n in range(1000)))
    result = CliRunner().invoke(app, [str(file), "--dry-run"])
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 980 more"


def test_the_table_has_not_shrunk() -> None:
    assert len(FILES) + len(LINES) + len(OPTIONS) >= 180
