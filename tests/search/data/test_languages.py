"""`data.languages` in each way that a person writes it, in a space file and as an option."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from search.data.__main__ import app as data_command
from search.finetune import app as finetune_command
from search.settings.problems import InputError
from search.space.file import space_of
from search.space.source import read
from search.tokens import app as tokens_command

SPACE = "base: {model: builtin:tiny}\ndata: {train: builtin:cldr, languages: %s}\n"


def written(tmp_path: Path, languages: str) -> list[str] | None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE % languages)
    return space_of(read(file))[1].data.languages


@pytest.mark.parametrize(
    ("languages", "expected"),
    [
        ("[en, de]", ["en", "de"]),
        ("[en, no]", ["en", "no"]),
        ("'en,de'", ["en", "de"]),
        ("' en , de '", ["en", "de"]),
        ("null", None),
    ],
)
def test_a_space_file_has_a_list_or_commas(
    tmp_path: Path, languages: str, expected: list[str] | None
) -> None:
    assert written(tmp_path, languages) == expected


@pytest.mark.parametrize(
    ("languages", "words"),
    [
        ("'en,,de'", "data.languages: holds ''; the name of a language must be"),
        ("en de", "data.languages: holds 'en de'; the name of a language must be"),
        ("[en, 5]", "data.languages.1: is 5; it must be text"),
        ("[en, [de]]", "data.languages.1: is [de]; it must be text"),
        ("{en: de}", "it must be a list"),
        ("5", "data.languages: is 5; it must be a list"),
        ("true", "it must be a list"),
    ],
)
def test_anything_else_is_one_sentence(tmp_path: Path, languages: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        written(tmp_path, languages)
    assert words in str(caught.value)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("languages", ["en,de", "en, de", "[en, de]", "['en', 'de']"])
def test_the_option_takes_each_form_in_every_command(tmp_path: Path, languages: str) -> None:
    file = tmp_path / "a.tsv"
    rows = "".join(f"{row} a\t{row} b\t{row} c\n" for row in range(40))
    file.write_text("en\tde\tfr\n" + rows)
    for command, arguments in (
        (data_command, [str(file)]),
        (tokens_command, ["--train", str(file)]),
    ):
        result = CliRunner().invoke(command, [*arguments, "--languages", languages])
        assert result.exit_code == 0, result.output
        first_words = {line.split()[0] for line in result.output.splitlines() if line.strip()}
        assert {"en", "de"} <= first_words and "fr" not in first_words


def test_fine_tuning_reads_the_option_as_the_others_do() -> None:
    # A language that is not there is met after the option has been taken apart.
    for languages in ("en, xx", "[en, xx]"):
        result = CliRunner().invoke(finetune_command, ["--languages", languages])
        assert result.exit_code == 2
        assert "got xx, must be among" in result.stderr


@pytest.mark.parametrize(
    ("languages", "words"),
    [
        ("[en, 5]", "--languages: is 5; it must be text"),
        ("{en: de}", "--languages: is {en: de}; it must be a list"),
        ("[en, [de]", "--languages:1: is not YAML"),
        ("en,,de", "--languages: holds ''; the name of a language must be"),
    ],
)
def test_an_option_at_fault_is_one_sentence(languages: str, words: str) -> None:
    for command in (data_command, tokens_command):
        first = ["builtin:cldr"] if command is data_command else []
        result = CliRunner().invoke(command, [*first, "--languages", languages])
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: {words}") and result.stderr.count("\n") == 1
