"""What a person reads while a search runs, on a terminal and in a file."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from search.events.outcomes import Outcomes
from search.events.types import EpochDone, Event, State, TrialEnded, TrialStarted, UntouchedScored
from search.report.live import Live
from search.report.ranking import print_ranking
from search.report.terminal import View, showing_phases
from search.report.words import duration, label, sparkline
from search.runtime.progress import Progress, tell
from search.settings.scheduler.asha import Asha

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


ENDED: list[Event] = [
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
    with View(console, "mine", 4, Asha()) as view:
        view.running("http://127.0.0.1:8265", "2 lanes of 1 worker with 1 CPU", 2)
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
    with View(console, "mine [b]", 8, Asha()) as view:
        view.running("http://127.0.0.1:8265", "2 lanes of 1 worker with 1 CPU", 2)
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


def test_both_gains_of_the_best_trial_are_those_after_as_many_epochs(screen: Screen) -> None:
    console, out = screen(True)
    reports = [report(0, 1, 0.25), report(0, 2, 0.375), report(1, 1, 0.5)]
    with View(console, "mine", 8, Asha()) as view:
        view.update(Outcomes([trial(0), trial(1), *reports]))
        console.print(view._render())
    shown = out.getvalue()
    assert re.search(r"\ball +0\.500[^\n]* \+0\.250", shown)
    assert re.search(r"\brunning +1 +0\.500 +\+0\.250", shown)


def test_a_panel_before_any_trial(screen: Screen) -> None:
    console, out = screen(True)
    with View(console, "mine", 8, Asha()) as view:
        console.print(view._render())
    assert "0/8" in out.getvalue()


NAMES = [f"l{number:02d}" for number in range(20)]


def by_language(number: int, epoch: int, accuracy: float) -> EpochDone:
    scores = {name: accuracy + index / 100 for index, name in enumerate(NAMES)}
    return report(number, epoch, accuracy).model_copy(update={"by_language": scores})


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
@pytest.mark.parametrize("trials", [1, 30])
def test_the_picture_fills_the_terminal_and_keeps_what_matters(
    size: tuple[int, int], trials: int
) -> None:
    width, height = size
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    outcomes = Outcomes()
    for number in range(trials):
        outcomes.follow(trial(number))
        outcomes.follow(by_language(number, 1, 0.5 - number / 100))
        if number < trials - 8:
            outcomes.follow(end(number, "stopped"))
    progress = Progress(phase="epoch 2/9", done=41, total=165, unit="step")
    live = Live("mine", 40, 8, outcomes, lambda trial: progress, "8 lanes", "http://here", left=65)
    console.print(live)
    lines = out.getvalue().splitlines()
    assert [len(line) for line in lines] == [width] * height
    shown = "\n".join(lines)
    assert "http://here" in lines[-2] and "8 lanes" in lines[-3]
    assert "1 min 05 s left" in shown and "epoch 2/9 step 41/165" in shown
    for number in range(max(0, trials - 8), trials):
        assert f"trial {number} " in shown
    assert all(f"{name} " in shown for name in NAMES)
    live.stopping, live.note = "interrupted", "a note"
    console.print(live)
    last = out.getvalue().splitlines()[-4:-1]
    assert "a note" in last[0] and "Stopping… (interrupted)" in last[1] and "http" in last[2]


@pytest.mark.parametrize(
    ("width", "shown"), [(70, []), (83, ["ko"]), (90, ["gu", "ko"]), (97, ["zh", "gu", "ko"])]
)
def test_where_not_all_languages_fit_the_weakest_do(width: int, shown: list[str]) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, height=24, force_terminal=True, color_system=None)
    scores = {"zh": 0.75, "gu": 0.5, "ko": 0.25}
    done = report(0, 1, 0.5).model_copy(update={"by_language": scores})
    console.print(Live("mine", 8, 2, Outcomes([trial(0), done, trial(1), done.model_copy(
        update={"trial": 1})])))  # fmt: skip
    (heads,) = [line for line in out.getvalue().splitlines() if "epoch  accuracy" in line]
    assert heads.split()[heads.split().index("gain") + 1 : -2] == shown


def test_gains_and_losses_have_their_colours() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True, color_system="standard")
    events: list[Event] = [trial(0), report(0, 1, 0.5), trial(1), report(1, 1, 0.5)]
    better = {"by_language": {"de": 0.75, "ko": 0.125}, "accuracy": 0.625}
    outcomes = Outcomes([*events[:3], report(1, 1, 0.625).model_copy(update=better)])
    console.print(Live("mine", 8, 2, outcomes))
    assert "\x1b[32m+0.250" in out.getvalue()  # green: de
    assert "\x1b[31m-0.125" in out.getvalue()  # red: ko


def test_a_learning_curve_in_blocks() -> None:
    assert sparkline({1: 0.0, 2: 0.5, 3: 1.0}) == "▁▅█"
    assert sparkline({3: 0.2, 1: 0.2}) == "▁▁"
    assert sparkline({1: 0.5}) == ""


def printed(outcomes: Outcomes, width: int = 160, most: int = 10) -> list[str]:
    """The lines of the ranking on a terminal of some width."""
    out = io.StringIO()
    print_ranking(Console(file=out, width=width), outcomes, most)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    return lines


def test_the_ranking_ends_with_the_reference_and_says_why_trials_failed() -> None:
    events = list(ENDED)
    for number in range(4, 16):
        events += trial(number), report(number, 1, 0.9)
    head, *lines = (line.split() for line in printed(Outcomes(events), most=3))
    assert head == [
        "#", "trial", "state", "epoch", "accuracy", "gain", "de", "ko", "lr", "params", "seconds",
        "what",
    ]  # fmt: skip
    assert [line[:2] for line in lines[:4]] == [["1", "4"], ["2", "5"], ["3", "6"], ["14", "0"]]
    # A trial without an ending was interrupted; its gain is that at as many epochs.
    assert lines[0][2:8] == ["interrupted", "1", "0.900", "+0.650", "0.900", "0.450"]
    assert any("the loss is [nan] in epoch 1" in line for line in printed(Outcomes(ENDED)))


def test_a_gain_is_that_after_as_many_epochs() -> None:
    events: list[Event] = [
        trial(0), report(0, 1, 0.25), report(0, 2, 0.5), trial(1), report(1, 1, 0.375),
    ]  # fmt: skip
    _, first, second, *_ = (line.split() for line in printed(Outcomes(events)))
    assert first[:6] == ["1", "0", "interrupted", "2", "0.500", "0.000"]
    assert second[:6] == ["2", "1", "interrupted", "1", "0.375", "+0.125"]


def test_the_winner_is_told_apart_from_the_reference() -> None:
    values = VALUES | {
        "base": {"model": "builtin:tiny"},
        "adapter": {"kind": "lora", "rank": 12, "dora": False},
        "optimizer": {"lr": 0.00025, "base_lr": 0.5},
    }
    winner = TrialStarted(trial=1, reference=False, values=values)
    better = {"by_language": {"de": 0.75, "ko": 0.125}, "accuracy": 0.625}
    outcomes = Outcomes(
        [trial(0), report(0, 1, 0.5), winner, report(1, 1, 0.625).model_copy(update=better)]
    )
    lines = printed(outcomes)
    assert "  adapter.rank: 12" in lines
    assert not [line for line in lines if "dora" in line or "base_lr" in line]  # without effect
    assert "  optimizer.lr: 0.00025" in lines
    assert lines[-1] == "warning: trial 1 is worse than the reference in ko -0.125"
    assert "2.5e-04" in lines[1]


def test_the_rate_of_a_trial_is_that_of_what_trains() -> None:
    values = VALUES | {
        "base": {"model": "builtin:tiny"},
        "head": {"kind": "identity"},
        "adapter": {"kind": "unfrozen"},
        "optimizer": {"lr": 0.5, "base_lr": 0.00025},
    }
    whole = TrialStarted(trial=1, reference=False, values=values)
    lines = printed(Outcomes([trial(0), report(0, 1, 0.5), whole, report(1, 1, 0.625)]))
    assert "2.5e-04" in lines[1] and "5.0e-01" not in lines[1]


def test_where_not_all_languages_fit_the_weakest_are_columns() -> None:
    outcomes = Outcomes([trial(0), by_language(0, 1, 0.25), trial(1), by_language(1, 1, 0.5)])
    heads = printed(outcomes, width=110)[0].split()
    found = [name for name in heads if name in NAMES]
    assert found == NAMES[: len(found)] and 3 <= len(found) < len(NAMES)


def test_trials_that_are_left_out_are_counted() -> None:
    events = [e for n in range(14) for e in (trial(n), report(n, 1, 0.5 - n / 100))]
    lines = printed(Outcomes(events), most=10)
    assert "4 more trials: leaderboard.csv" in lines
    assert not [line for line in printed(Outcomes(events), most=20) if "more trials" in line]


def test_a_model_that_was_trained_alone_differs_from_nothing() -> None:
    alone = TrialStarted(trial=0, reference=False, values=VALUES)
    lines = printed(Outcomes([alone, report(0, 1, 0.5)]))
    assert not [line for line in lines if "differs" in line]


def test_a_leader_that_was_cut_short_is_not_the_best() -> None:
    outcomes = Outcomes([*ENDED, trial(4), report(4, 1, 0.75)])
    leader, best = outcomes.leader(), outcomes.best()
    assert leader is not None and leader.trial == 4
    assert best is not None and best.trial == 1
    lines = printed(outcomes)
    assert not [line for line in lines if "trial 4 is worse" in line]
    ahead = "trial 4 is ahead of trial 1, but has not ended: --resume goes on with it"
    assert any(line.startswith(ahead) for line in lines)


def test_many_languages_on_a_narrow_terminal_are_those_of_the_winner() -> None:
    outcomes = Outcomes([trial(0), by_language(0, 1, 0.25), trial(1), by_language(1, 1, 0.5)])
    lines = printed(outcomes, width=80)
    assert NAMES[0] not in lines[0]
    (at,) = [index for index, line in enumerate(lines) if line == "trial 1 by language"]
    table = "\n".join(lines[at + 1 : at + 12])
    assert all(name in table for name in NAMES)
    assert "l03         0.530 +0.250" in table


def test_the_base_is_ranked_though_no_trial_has_a_score() -> None:
    untouched = UntouchedScored(accuracy=0.75, by_language={"de": 0.5, "ko": 1.0})
    shown = "\n".join(printed(Outcomes([trial(0), untouched])))
    assert "ko" in shown and "0.750" in shown


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


def test_a_long_error_leaves_the_accuracies_their_room() -> None:
    failed: list[Event] = [trial(2), end(2, "failed", "the memory does not hold it " * 20)]
    lines = printed(Outcomes([*ENDED[:6], *failed]), width=80)
    assert any("0.250" in line and "finished" in line for line in lines)


@pytest.mark.parametrize(
    ("left", "limit", "shown"),
    [
        (None, None, "time left: not known yet"),
        (None, 65.0, "at most 1 min 05 s left"),
        (600.0, 65.0, "so far, 1 min 05 s left"),
    ],
)
def test_a_time_limit_is_time_left(left: float | None, limit: float | None, shown: str) -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, height=24, force_terminal=True, color_system=None)
    console.print(Live("mine", 4, 2, Outcomes(ENDED), left=left, limit=limit))
    assert shown in out.getvalue()


def test_verbose_is_a_line_an_epoch_with_the_worst_language_first(screen: Screen) -> None:
    console, out = screen(False)
    with View(console, "mine", 4, Asha(), verbose=True) as view:
        view.resume(Outcomes(ENDED[:-1]))  # what an earlier command has told
        view.update(Outcomes(ENDED))
        view.update(Outcomes(ENDED))
        repeat = {"repeat": 1}
        started, done = trial(1).model_copy(update=repeat), report(1, 1, 0.5)
        view.update(Outcomes([*ENDED, started, done.model_copy(update=repeat)]))
    assert out.getvalue().splitlines() == [
        "trial 3, epoch 2: accuracy 0.125 (ko 0.062, de 0.125)",
        "trial 1, seed 1, epoch 1: accuracy 0.500 (ko 0.250, de 0.500)",
    ]


def test_the_view_leaves_nothing_but_its_notes(screen: Screen) -> None:
    console, out = screen(True)
    with View(console, "mine", 4, Asha(), lambda: "interrupted") as view:
        view.tell("the base runs padded")
        view.update(Outcomes(ENDED))
    shown = out.getvalue()
    assert "\x1b[?1049h" in shown  # a screen of its own
    after = shown.rpartition("\x1b[?1049l")[2]
    assert "note: the base runs padded" in after and "mine" not in after


def test_where_nobody_looks_on_a_line_a_minute_says_how_things_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80)
    clock = [1000.0]
    monkeypatch.setattr("search.report.terminal.time.monotonic", lambda: clock[0])
    finals: list[Event] = [
        trial(3).model_copy(update={"repeat": 1}),
        report(3, 1, 0.2).model_copy(update={"repeat": 1}),
        end(3, "finished").model_copy(update={"repeat": 1}),
        trial(0).model_copy(update={"repeat": 1}),
        report(0, 2, 0.2).model_copy(update={"repeat": 1}),
    ]
    with View(console, "mine", 4, Asha()) as view:
        view.update(Outcomes(ENDED))
        out.truncate(0)
        for seconds, events in ((59, ENDED), (2, ENDED), (2, ENDED), (60, [*ENDED, *finals])):
            clock[0] += seconds
            view._live.outcomes = Outcomes(events)
            view.pulse()
    first, second = out.getvalue().lstrip("\0").splitlines()
    assert first == "3/4 trials ended, 1 running, best 0.500 (trial 1), 1 min 01 s so far"
    assert second == (
        "3/4 trials ended, 1 running, finalists with other seeds: 1 ended, trial 0 at epoch 2, "
        "best 0.500 (trial 1), 2 min 03 s so far"
    )


def test_finalists_stand_among_the_trials_that_run() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, height=24, force_terminal=True)
    events: list[Event] = [
        trial(0), report(0, 3, 0.2), end(0, "finished"), trial(3), report(3, 2, 0.3),
    ]  # fmt: skip
    finals = [event.model_copy(update={"repeat": 1}) for event in events]
    outcomes = Outcomes([*ENDED, end(3, "stopped"), *finals])
    console.print(Live("mine", 4, 2, outcomes, left=65, limit=600))
    shown = out.getvalue()
    assert "finalists: 1 running, 1 ended" in shown
    assert "trial 3, seed 1  epoch 3: starting" in shown and "1 min 05 s left" in shown


@pytest.mark.parametrize(("terminal", "seconds", "told"), [
    (True, 60.0, ["loading [it]", "epoch [1/2] step 3/8"]),
    (False, 0.0, ["epoch [1/2] step 3/8"]),
    (False, 60.0, []),
])  # fmt: skip
def test_phases_without_a_live_view(terminal: bool, seconds: float, told: list[str]) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    with showing_phases(console, "loading [it]", seconds):
        if terminal:
            console.print("a line")  # the status is drawn again below it
        tell("epoch [1/2]", 3, 8, "step")
    printed = file.getvalue()
    for text in ("loading [it]", "epoch [1/2] step 3/8"):
        assert (text in printed) == (text in told)
    tell("later")
    assert "later" not in file.getvalue()


@pytest.mark.parametrize("width", [60, 160])
def test_gains_are_over_the_base_where_no_trial_is_the_reference(width: int) -> None:
    started = TrialStarted(trial=0, reference=False, values=VALUES)
    base = UntouchedScored(accuracy=0.25, by_language={"de": 0.375, "ko": 0.25})
    outcomes = Outcomes([started, base, report(0, 1, 0.5), end(0, "finished")])
    console = Console(file=io.StringIO(), width=width)
    print_ranking(console, outcomes)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert any(line.split()[:6] == ["1", "0", "finished", "1", "0.500", "+0.250"] for line in lines)
    meant = "accuracy: on the validation sentences; gain: over the base without training"
    assert meant in " ".join(line.strip() for line in lines)
    if width == 60:
        at = lines.index("trial 0 by language, gain over the base without training")
        assert lines[at + 2].split() == ["de", "0.500", "+0.125"]
        assert lines[at + 3].split() == ["ko", "0.250", "0.000"]
