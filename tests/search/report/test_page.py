"""report.html: what a reader finds on it, and that nothing is fetched."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from search.events.journal import Journal
from search.events.outcomes import Outcomes
from search.events.types import (
    EpochDone,
    Event,
    FinalComparison,
    FinalRow,
    FinalsDecided,
    Interval,
    TrialEnded,
    TrialStarted,
)
from search.finals.decision import decide
from search.report.__main__ import app
from search.report.page import load_sections, write_page
from search.report.section import ReportedRun, compared_on, compared_scores
from search.report.sections import gains
from search.report.sections.tokens import rank_correlation
from search.settings.sections import SearchSettings
from tests.search.finals.events import flat, scored, trained


def epoch(trial: int, number: int, **scores: float) -> EpochDone:
    return EpochDone(
        trial=trial,
        epoch=number,
        loss=1.0,
        accuracy=sum(scores.values()) / len(scores),
        by_language=scores,
        seconds=1.5,
        trainable_parameters=1000 * (trial + 1),
        start="tokens",
        began=0.0,
        ended=1.0,
    )


EVENTS: list[Event] = [
    TrialStarted(trial=0, reference=True, values={"pooling": {"kind": "mean"}}),
    TrialStarted(trial=1, reference=False, values={"pooling": {"kind": "max"}}),
    TrialStarted(trial=2, reference=False, values={"pooling": {"kind": "<b>"}}),
    epoch(0, 1, de=0.8, gu=0.2),
    epoch(1, 1, de=0.7, gu=0.5),
    TrialEnded(trial=0, state="finished"),
    TrialEnded(trial=1, state="stopped"),
    TrialEnded(trial=2, state="failed", error="</script><script>alert(1)</script>"),
]


def test_sections_give_gains_over_the_reference() -> None:
    described = {one.title: one for one in load_sections(ReportedRun("run", Outcomes(EVENTS)))}
    winner, tokens = described["The winner"], described["Accuracy against tokens a sentence"]
    languages, curves = described["Languages by trial"], described["Learning curves"]
    failures = described["Failures"]
    said = " ".join(winner.sentences)
    assert "Trial 1 is the best, with accuracy 0.600 on the validation sentences." in said
    assert "Against the reference (0.500): +0.100." in said
    assert "Languages worse than the reference: de (-0.100)." in said
    assert "No models have been compared" in described["The final comparison"].sentences[0]
    assert winner.rows == [["pooling.kind", "max", "mean"]]
    assert [row[0] for row in languages.rows] == [1, 0]
    for row, expected in zip(languages.rows, [(-0.1, 0.3), (0, 0)], strict=True):
        for gain, value in zip(row[1:], expected, strict=True):
            assert isinstance(gain, int | float)
            assert math.isclose(gain, value, abs_tol=1e-9)
    assert curves.rows == [[1, "stopped", 1, 0.6], [0, "finished", 1, 0.5]]
    assert "did not record tokens" in tokens.sentences[0]
    assert failures.rows == [[2, 0, "</script><script>alert(1)</script>"]]


def test_one_model_that_was_trained_alone_has_beaten_no_other() -> None:
    (first, *_) = load_sections(ReportedRun("run", Outcomes([EVENTS[1], epoch(1, 1, de=0.5)])))
    assert first.title == "The model"
    assert first.sentences[0] == "Trial 1 reaches accuracy 0.500 on the validation sentences."


def test_warnings_of_the_sentences_stand_with_the_winner() -> None:
    run = ReportedRun("run", Outcomes(EVENTS), warnings=["60% of the tokens of gu are unknown"])
    winner = next(one for one in load_sections(run) if one.title == "The winner")
    assert winner.sentences[-1] == "Warning: 60% of the tokens of gu are unknown."


def test_accuracy_is_set_against_the_tokens_of_a_sentence() -> None:
    done = [epoch(0, 1, de=0.8, gu=0.2, ko=0.5), epoch(1, 1, de=0.7, gu=0.9, ko=0.8)]
    events = [*EVENTS[:3], *done, *EVENTS[5:]]
    run = ReportedRun("run", Outcomes(events), {"en": 8.0, "gu": 38.0, "de": 12.0, "ko": 20.0})
    section = next(s for s in load_sections(run) if s.title == "Accuracy against tokens a sentence")
    assert section.columns == ["language", "tokens", "the reference", "trial 1, the best"]
    said = " ".join(section.sentences)
    assert "fewest tokens a sentence (de): 0.800 before, 0.700 after." in said
    assert "most tokens a sentence (gu): 0.200 before, 0.900 after." in said
    assert "search.floors" in said
    assert section.rows == [
        ["de", 12.0, 0.8, 0.7], ["ko", 20.0, 0.5, 0.8], ["gu", 38.0, 0.2, 0.9]
    ]  # fmt: skip
    assert section.sentences[1:3] == [
        "Rank correlation of the reference: -1.00.",
        "Rank correlation of trial 1, the best: +1.00.",
    ]


def test_gains_have_intervals_and_stand_by_tokens() -> None:
    def ends(value: float, low: float, high: float) -> Interval:
        return Interval(value=value, low=low, high=high)

    total = ends(0.1, 0.0, 0.2)
    row = FinalRow(
        trial=1, repeats=(0,), validation=0.6, lowest=0.6, highest=0.6, measured=total,
        by_language={}, trainable_parameters=10,
    )  # fmt: skip
    over_reference = {
        "gu": ends(0.3, 0.1, 0.5), "de": ends(-0.2, -0.3, -0.1), "ko": ends(0.1, 0.0, 0.2)
    }  # fmt: skip
    over_base = {name: ends(0.4, 0.2, 0.6) for name in over_reference}
    comparisons = tuple(
        FinalComparison(other=other, trial=trial, difference=total, by_language=by_language)
        for other, trial, by_language in (
            ("runner-up", 2, over_base), ("reference", 0, over_reference),
            ("untouched", None, over_base),
        )
    )  # fmt: skip
    decided = FinalsDecided(
        trial=1, repeat=0, split="test", compared="accuracy", rows=(row,), comparisons=comparisons
    )
    tokens = {"en": 8.0, "gu": 38.0, "de": 12.0, "ko": 20.0}
    made = gains.describe(ReportedRun("run", Outcomes([*EVENTS, decided]), tokens))
    assert made.rows == [
        ["de", 12.0, -0.2, -0.3, -0.1, 0.4, 0.2, 0.6],
        ["ko", 20.0, 0.1, 0.0, 0.2, 0.4, 0.2, 0.6],
        ["gu", 38.0, 0.3, 0.1, 0.5, 0.4, 0.2, 0.6],
    ]
    assert list(made.sentences[1:3]) == [
        "Against the reference, ahead by more than chance in gu.",
        "Against the reference, behind by more than chance in de.",
    ]
    first: Any = made.traces[0]
    assert first["x"] == ["de", "ko", "gu"] and first["y"] == [-0.2, 0.1, 0.3]
    for drawn, expected in (("array", [0.1, 0.1, 0.2]), ("arrayminus", [0.1, 0.1, 0.2])):
        for value, wanted in zip(first["error_y"][drawn], expected, strict=True):
            assert math.isclose(value, wanted)
    plain = gains.describe(ReportedRun("run", Outcomes([*EVENTS, decided])))
    assert [row[:2] for row in plain.rows] == [["gu", None], ["de", None], ["ko", None]]
    assert not gains.describe(ReportedRun("run", Outcomes(EVENTS))).traces


def test_rank_correlation_needs_three_pairs_that_differ() -> None:
    assert rank_correlation([1, 2, 3], [0.1, None, 0.2]) is None
    assert rank_correlation([1, 2, 3], [0.5, 0.5, 0.5]) is None
    assert math.isclose(rank_correlation([1, 2, 3, 4], [0.1, 0.3, 0.2, 0.4]) or 0, 0.8)


def test_page_of_a_run_is_small_and_loads_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for event in EVENTS:
        journal.append(event)
    journal.close()
    result = CliRunner().invoke(app, [str(tmp_path), str(tmp_path)])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 5_000_000
    assert page.count("<h1>") >= 2 and 'id="chart3"' in page
    assert not re.search(r"<(script|link|img|iframe)[^>]*\b(src|href)=", page.split("<script>")[0])
    assert "&lt;/script&gt;" in page and "<script>alert" not in page


def test_page_of_a_run_without_scores_is_written(tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", [ReportedRun("empty", Outcomes())])
    assert "No trial has a score." in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_folder_without_a_journal_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert result.exit_code == 2


def test_before_and_after_are_what_the_final_comparison_has_measured() -> None:
    runs = [scored(1, 0.5, 0.7, repeat=1), scored(0, 0.4, 0.5), scored(None, 0.3, 0.2)]
    events = [*flat(trained(0, 0.4), trained(1, 0.6, state="stopped"), trained(1, 0.5, repeat=1))]
    outcomes = Outcomes([*events, *runs])
    settings = SearchSettings.model_validate({"finalists": {"count": 1, "seeds": 1}})
    assert compared_on(outcomes) == "validation"
    before = compared_scores(outcomes)
    assert before["trial 1, the best"]["de"] == 0.6, "as the search trained it"
    decided = decide(outcomes, settings, {"de": "latin", "ko": "cjk"})
    assert decided is not None
    outcomes.follow(decided)
    assert compared_on(outcomes) == "test"
    found = compared_scores(outcomes)
    assert [(name, scores["de"]) for name, scores in found.items()] == [
        ("the untouched base", 0.2), ("the reference", 0.5), ("trial 1, the best", 0.7)
    ]  # fmt: skip
