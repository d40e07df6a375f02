"""Reading a space file: the traps of YAML, the place of every value, and --set."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.settings.problems import InputError, Problem
from search.space.source import read


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "space.yaml"


def problems(file: Path, *assignments: str) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        read(file, assignments)
    return caught.value.problems


def test_words_that_yaml_1_1_takes_for_truth_values_stay_words(file: Path) -> None:
    file.write_text("languages: [no, en, yes, on, off, y]\n")
    assert read(file).tree == {"languages": ["no", "en", "yes", "on", "off", "y"]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1.0e-5", 1e-5),
        ("3", 3),
        ("010", 10),
        ("true", True),
        ("null", None),
        ("", None),
        ("'3'", "3"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("{a: [1, {b: 2}]}", {"a": [1, {"b": 2}]}),
    ],
)
def test_a_value_is_read_as_yaml_1_2_has_it_and_of_a_plain_type(
    file: Path, text: str, value: object
) -> None:
    file.write_text(f"key: {text}\n")
    read_value = read(file).tree["key"]
    assert read_value == value
    assert type(read_value) is type(value)  # ruamel's own kinds of numbers would not pickle small


def test_every_value_has_its_line(file: Path) -> None:
    file.write_text("a: 1\nb:\n  c: [1,\n      2]\n  d: {e: 3}\n")
    lines = {path: line for path, (name, line) in read(file).places.items() if name == str(file)}
    assert lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 0): 3,
        ("b", "c", 1): 4,
        ("b", "d"): 5,
        ("b", "d", "e"): 5,
    }


def test_a_merged_mapping_stands_where_it_is_merged_in(file: Path) -> None:
    file.write_text("x: &anchor {kind: mean}\ny:\n  <<: *anchor\n  heads: 2\n")
    source = read(file)
    assert source.tree["y"] == {"kind": "mean", "heads": 2}
    assert source.places["y", "heads"] == (str(file), 4)
    assert source.places["y", "kind"][1] in (2, 3)


def test_a_problem_of_what_was_not_written_stands_at_its_parent(file: Path) -> None:
    file.write_text("a: 1\nb:\n  c: 2\n")
    problem = read(file).problem(("b", "missing", "below"), "is missing")
    assert problem == Problem(str(file), 2, "b.missing.below", "is missing")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "given twice"),
        ("a:\n  b: 1\n  b: 2\n", 3, "given twice"),
        ("a: [1\nb: 2\n", 2, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: *nowhere\n", 1, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
        ("- a\n- b\n", 1, "must hold sections"),
        ("words\n", 1, "must hold sections"),
        ("", 1, "holds nothing"),
        ("# only a comment\n", 1, "holds nothing"),
    ],
)
def test_what_is_no_mapping_is_one_problem_with_its_line(
    file: Path, text: str, line: int, words: str
) -> None:
    file.write_text(text)
    (problem,) = problems(file)
    assert (problem.file, problem.line) == (str(file), line)
    assert words in problem.message
    assert "\n" not in str(problem)


def test_a_repeated_key_is_named(file: Path) -> None:
    file.write_text("base: 1\nbase: 2\n")
    assert problems(file)[0].key == "base"


def test_a_file_that_cannot_be_read_is_one_problem(file: Path, tmp_path: Path) -> None:
    assert "No such file" in str(problems(file)[0])
    assert "directory" in str(problems(tmp_path)[0])
    file.write_bytes(b"a: \xff\xfe")
    assert "not UTF-8" in str(problems(file)[0])


@pytest.mark.parametrize(
    ("assignment", "tree"),
    [
        ("a.b=2", {"a": {"b": 2, "c": [1, {"d": 3}]}}),
        ("a.c.1.d=4", {"a": {"b": 1, "c": [1, {"d": 4}]}}),
        ("a.c.0={x: 1}", {"a": {"b": 1, "c": [{"x": 1}, {"d": 3}]}}),
        ("a=5", {"a": 5}),
        ("new.deep.key=1e-3", {"a": {"b": 1, "c": [1, {"d": 3}]}, "new": {"deep": {"key": 1e-3}}}),
        ("a.b=", {"a": {"b": None, "c": [1, {"d": 3}]}}),
        ("a.b=x=y", {"a": {"b": "x=y", "c": [1, {"d": 3}]}}),
        ("a.b=no", {"a": {"b": "no", "c": [1, {"d": 3}]}}),
    ],
)
def test_set_overrides_any_leaf(file: Path, assignment: str, tree: object) -> None:
    file.write_text("a: {b: 1, c: [1, {d: 3}]}\n")
    assert read(file, [assignment]).tree == tree


def test_the_later_of_two_assignments_is_in_force(file: Path) -> None:
    file.write_text("a: {b: 1}\n")
    source = read(file, ["a.b=2", "a.b=3"])
    assert source.tree == {"a": {"b": 3}}
    assert source.places["a", "b"] == ("--set a.b=3", 0)


def test_set_reaches_into_a_choice_by_index(file: Path) -> None:
    file.write_text("p:\n  choice:\n    - {kind: mean}\n    - {kind: attention, heads: 1}\n")
    source = read(file, ["p.choice.1.heads=4", "p.choice.0={kind: last}"])
    assert source.tree == {"p": {"choice": [{"kind": "last"}, {"kind": "attention", "heads": 4}]}}


def test_what_set_replaces_is_no_longer_placed_in_the_file(file: Path) -> None:
    file.write_text("a:\n  b: {c: 1}\n")
    source = read(file, ["a.b={d: 2}"])
    assert ("a", "b", "c") not in source.places
    assert source.problem(("a", "b", "d"), "is 2").file == "--set a.b={d: 2}"
    assert str(source.problem(("a", "b", "d"), "is bad")) == "--set a.b={d: 2}: a.b.d: is bad"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("a", "must be key=value"),
        ("=3", "must be key=value"),
        ("a..b=3", "must be key=value"),
        ("a.b=[1", "'[1' is not YAML"),
        ("a.b={x: 1, x: 2}", "given twice"),
        ("a.b.c=1", "'a.b' is a value and has no 'c'"),
        ("l.2=1", "'2' must be an index from 0 to 1"),
        ("l.one=1", "'one' must be an index from 0 to 1"),
        ("l.-1=1", "'-1' must be an index from 0 to 1"),
        ("p.kind=max", "'p' is a choice"),
    ],
)
def test_a_wrong_assignment_names_itself(file: Path, assignment: str, words: str) -> None:
    file.write_text("a: {b: 1}\nl: [1, 2]\np: {choice: [{kind: mean}]}\n")
    (problem,) = problems(file, assignment)
    assert problem.file == f"--set {assignment}"
    assert words in problem.message


def test_all_wrong_assignments_are_told_at_once(file: Path) -> None:
    file.write_text("a: {b: 1}\n")
    assert len(problems(file, "x", "a.b.c=1", "a.b=2", "y")) == 3
