"""How commands end when the system is at fault, not the input."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import typer

from search.runs.console import AT_FAULT, exit_on_input_error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "runs/a"), "runs/a: No space left on"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device"),
        (OSError("the store is gone"), "error: the store is gone"),
    ],
)
def test_an_error_of_the_system_is_one_sentence(
    error: OSError, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, exit_on_input_error():
        raise error
    said = capsys.readouterr().err
    assert ended.value.exit_code == AT_FAULT
    assert sentence in said and said.count("\n") == 1


def test_the_name_of_a_file_cannot_write_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit), exit_on_input_error():
        Path("/\x1b[31m/\udcff").read_bytes()
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\\x1b[31m" in said
