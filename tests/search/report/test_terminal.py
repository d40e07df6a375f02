"""What a person reads while a search runs, on a terminal and in a file."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from search.events.journal import Outcomes
from search.events.types import EpochDone, State, TrialEnded, TrialStarted, UntouchedScored
from search.report.terminal import View, duration, label, ranking

VALUES = {
    "pooling": {"kind": "mean"},
    "head": {"kind": "mlp"},
    "adapter": {"kind": "lora"},
    "loss": {"kind": "info_nce"},
}


def trial(number: int) -> TrialStarted:
    return TrialStarted(trial=number, reference=number == 0, values=VALUES)


def report(number: int, epoch: int, accuracy: float) -> EpochDone:
    return EpochDone(
        trial=number,
        epoch=epoch,
        loss=1.0,
        accuracy=accuracy,
        by_language={"de": accuracy, "ko": accuracy / 2},
        seconds=1.0,
        trainable_parameters=10,
        start="tokens",
        began=0.0,
        ended=1.0,
    )


def end(number: int, state: State, error: str = "") -> TrialEnded:
    return TrialEnded(trial=number, state=state, error=error)


ENDED = [
    trial(0), trial(1), trial(2), trial(3),
    report(0, 3, 0.25), end(0, "finished"),
    report(1, 1, 0.5), end(1, "stopped"),
    end(2, "failed", "the loss is [nan] in epoch 1"),
    report(3, 2, 0.125),
]  # fmt: skip


@pytest.fixture
def screen() -> Callable[[bool], tuple[Console, io.StringIO]]:
    def make(terminal: bool) -> tuple[Console, io.StringIO]:
        out = io.StringIO()
        return Console(file=out, force_terminal=terminal, width=120, color_system=None), out

    return make


Screen = Callable[[bool], tuple[Console, io.StringIO]]


def test_elsewhere_than_on_a_terminal_every_ended_trial_is_one_line(screen: Screen) -> None:
    console, out = screen(False)
    with View(console, "mine", 4) as view:
        view.running("http://127.0.0.1:8265", "2 lanes of 1 worker with 1 CPU")
        for count in range(1, len(ENDED) + 1):
            view.update(Outcomes(ENDED[:count]))
        view.update(Outcomes(ENDED))  # told twice, said once
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("mine: 4 trials on 2 lanes of 1 worker with 1 CPU")
    assert [line[:5] for line in lines[1:]] == ["[1/4]", "[2/4]", "[3/4]"]
    assert "trial 0 finished at epoch 3, accuracy 0.250" in lines[1]
    assert "reference" in lines[1]
    assert "best 0.250 (trial 0)" in lines[1]
    assert "best 0.500 (trial 1)" in lines[2]
    assert "trial 2 failed" in lines[3]
    assert "the loss is [nan] in epoch 1" in lines[3]  # no markup of Rich's
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_the_panel_shows_how_trials_and_languages_stand(screen: Screen) -> None:
    console, out = screen(True)
    with View(console, "mine [b]", 8) as view:
        view.running("http://127.0.0.1:8265", "2 lanes of 1 worker with 1 CPU")
        view.update(Outcomes(ENDED))
        console.print(view._render())
    shown = out.getvalue()
    for words in (
        "mine [b]",
        "1 running",
        "1 stopped early",
        "1 finished",
        "1 failed",
        "3/8",
        "trial 3",
        "best so far: trial 1",
        "0.500",
        "http://127.0.0.1:8265",
    ):
        assert words in shown, words


def test_a_panel_before_any_trial(screen: Screen) -> None:
    console, out = screen(True)
    with View(console, "mine", 8) as view:
        console.print(view._render())
    assert "0/8" in out.getvalue()


def test_the_ranking_ends_with_the_reference_and_says_why_trials_failed(screen: Screen) -> None:
    console, out = screen(False)
    events = [*ENDED, *(event for n in range(4, 16) for event in (trial(n), report(n, 1, 0.9)))]
    console.print(ranking(Outcomes(events), most=3))
    lines = [line.split() for line in out.getvalue().splitlines()]
    header = next(i for i, line in enumerate(lines) if "trial" in line)
    assert lines[header][1:6] == ["trial", "state", "all", "de", "ko"]
    assert [line[:2] for line in lines[header + 1 :]] == [
        ["1", "4"],
        ["2", "5"],
        ["3", "6"],
        ["14", "0"],
    ]
    console, out = screen(False)
    console.print(ranking(Outcomes(ENDED)))
    assert "the loss is [nan] in epoch 1" in out.getvalue()


def test_the_base_is_ranked_though_no_trial_has_a_score(screen: Screen) -> None:
    console, out = screen(False)
    untouched = UntouchedScored(accuracy=0.75, by_language={"de": 0.5, "ko": 1.0})
    console.print(ranking(Outcomes([trial(0), untouched])))
    assert "ko" in out.getvalue() and "0.75" in out.getvalue()


def test_a_trial_in_a_few_words() -> None:
    outcomes = Outcomes(ENDED)
    plain, reference = label(outcomes.by_trial[1]), label(outcomes.by_trial[0])
    assert all(kind in plain for kind in ("mean", "mlp", "lora", "info_nce"))
    assert "reference" in reference
    assert "reference" not in plain


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_a_duration_reads_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_long_error_leaves_the_accuracies_their_room(
    screen: Callable[[bool], tuple[Console, io.StringIO]],
) -> None:
    console, out = screen(False)
    failed = [trial(2), end(2, "failed", "the memory does not hold it " * 20)]
    console.print(ranking(Outcomes([*ENDED[:6], *failed])))
    assert "0.25  0.25  0.12" in out.getvalue()
