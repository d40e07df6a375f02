"""The terminal: where commands print, and how they end when the input is at fault."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import typer
from rich.console import Console

from search.runs.stopping import StopError
from search.settings.problems import InputError, shown

# Exit statuses.
FINISHED, NONE_FINISHED, AT_FAULT, INTERRUPTED = 0, 1, 2, 130
LIBRARIES = ("ray", "transformers", "sentence_transformers", "datasets", "optuna", "peft")
MOST_PROBLEMS = 20  # that are printed one by one
PLAIN_WIDTH = 160  # of tables that go to a file


def make_app(*, completion: bool = False, commands: bool = False) -> typer.Typer:
    """The typer application of a command.

    Args:
        completion: offer to install completion for the shell.
        commands: it has several, and its help is printed where none is given.
    """
    return typer.Typer(
        no_args_is_help=commands,
        add_completion=completion,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",  # it fills paragraphs, and [ ] are only brackets
        context_settings={"help_option_names": ["-h", "--help"]},
    )


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """End the command with a sentence for each fault of the user's input, or when interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without UTF-8 ends no command
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except (InputError, OSError) as error:
        print_fault(error)
        raise typer.Exit(AT_FAULT) from error
    except StopError as error:
        _errors().print(error.stop.reason)
        raise typer.Exit(error.stop.status or NONE_FINISHED) from error
    except KeyboardInterrupt as error:
        _errors().print("interrupted")
        raise typer.Exit(INTERRUPTED) from error


def print_fault(error: InputError | OSError) -> None:
    """Print a sentence for each fault of the user's input, or of the system."""
    errors = _errors()
    if isinstance(error, OSError):  # a full disk, a folder taken away, a closed output
        errors.print(f"error: {explain_os_error(error)}", markup=False)
        return
    for problem in error.problems[:MOST_PROBLEMS]:
        errors.print(f"error: {problem}", markup=False)
    if more := len(error.problems[MOST_PROBLEMS:]):
        errors.print(f"and {more:,} more")


def _errors() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False)


def explain_os_error(error: OSError) -> str:
    """The system's reason in a sentence, with the file where one is known."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{shown(error.filename, 1000)}: {reason}" if error.filename else reason


def make_console(*, quiet: bool = False, verbose: bool = False) -> Console:
    """The console to print on.

    Args:
        quiet: print nothing before the end of a run, which clears ``Console.quiet``.
        verbose: print lines where there would be a live view, of what runs.

    Raises:
        InputError: it is to be both.
    """
    if quiet and verbose:
        raise InputError("--quiet is given beside --verbose; one of them must be left out")
    # Bound to this stdout: while libraries run, sys.stdout is a file in the run folder.
    terminal = False if quiet or verbose else None  # None: where it is one
    console = Console(highlight=False, file=sys.stdout, quiet=quiet, force_terminal=terminal)
    if not console.is_terminal and not sys.stdout.isatty():
        console.width = max(console.width, PLAIN_WIDTH)
    return console


@contextmanager
def redirect_library_output(folder: Path) -> Iterator[None]:
    """Send what libraries print and log to a file of the run folder."""
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    handlers = [h for one in loggers for h in one.handlers if isinstance(h, logging.StreamHandler)]
    file = folder / "output.log"
    with file.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        before = [handler.setStream(log) for handler in handlers]
        try:
            yield
        finally:
            for handler, stream in zip(handlers, before, strict=True):
                if stream is not None:
                    handler.setStream(stream)
