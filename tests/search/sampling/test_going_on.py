"""A study that is written anew from past trials goes on as if there had been no loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.sampling.study import PastTrial, SearchStudy
from search.settings.sections import SearchSettings
from search.space.domains import Space
from search.space.file import load_space

SPACE = """
search: {start: [{pooling: {kind: max}}]}
pooling: {choice: [{kind: max}, {kind: mean}, {kind: attention, heads: {choice: [1, 4]}}]}
head: {choice: [{kind: linear, width: 32}, {kind: mlp, width: 32, hidden: {int: [8, 64], log: true}}]}
adapter: {choice: [{kind: none}, {kind: lora, rank: {int: [4, 64], step: 4}, last_layers: {choice: [2, all]}}]}
optimizer: {lr: {float: [1e-4, 1e-2], log: true}, warmup: {float: [0, 0.5], step: 0.25}}
"""  # noqa: E501
SMALL = """
pooling: {choice: [{kind: max}, {kind: mean}, {kind: attention, heads: {choice: [1, 4]}}]}
optimizer: {warmup: {float: [0, 0.5], step: 0.25}}
"""
TRIALS = 14
EPOCHS = 3


def refuse(values: Any) -> str:
    same = values["pooling"]["kind"] == "mean" and values["optimizer"]["warmup"] == 0.25
    return "why" if same else ""


class Search:
    """A search of trials one at a time; every third one is stopped, and every seventh fails."""

    def __init__(
        self, space: Space, kind: str, log: Path, past: tuple[PastTrial, ...] = ()
    ) -> None:
        settings = {"sampler": {"kind": kind, "startup_trials": 3, "seed": 5}}
        sampler = SearchSettings.model_validate(settings).sampler
        self.study = SearchStudy(space, sampler, log=log, name="s", refuse=refuse, past=past)
        self.past = list(past)

    def draw(self) -> bool:
        drawn = self.study.draw()
        if drawn is None:
            return False
        number, record, values = drawn
        self.study.report(record, 1, self.score(number, 1))
        self.past.append(PastTrial(number, values, record.params, {1: self.score(number, 1)}, None))
        self.record = record
        return True

    def end(self) -> None:
        trial = self.past.pop()
        curve = {epoch: self.score(trial.number, epoch) for epoch in range(1, EPOCHS + 1)}
        if trial.number % 3 == 2:
            self.study.stop(self.record)
            ended = PastTrial(trial.number, trial.values, trial.drawn, trial.curve, "stopped")
        elif trial.number % 7 == 6:
            self.study.fail(self.record)
            ended = PastTrial(trial.number, trial.values, trial.drawn, trial.curve, "failed")
        else:
            for epoch, value in curve.items():
                self.study.report(self.record, epoch, value)
            self.study.finish(self.record, curve[EPOCHS])
            ended = PastTrial(trial.number, trial.values, trial.drawn, curve, "finished")
        self.past.append(ended)

    @staticmethod
    def score(number: int, epoch: int) -> float:
        return (number * 37 % 11) / 11 + epoch / 100

    def known(self) -> list[tuple[Any, ...]]:
        """What a sampler may learn from: all but the draws of no use."""
        return [
            (t.state, t.params, t.distributions, t.intermediate_values, t.values)
            for t in self.study.study.trials
            if not t.user_attrs.keys() & {"refused", "repeats"}
        ]


@pytest.mark.parametrize("kind", ["tpe", "random", "grid"])
@pytest.mark.parametrize("text", [SPACE, SMALL], ids=["large", "small"])
def test_a_search_that_goes_on_draws_what_it_would_have_drawn(
    space_file: Callable[..., Path], tmp_path: Path, text: str, kind: str
) -> None:
    if kind == "grid" and text == SPACE:
        pytest.skip("no grid goes through it")
    space, _ = load_space(space_file(text))
    whole = Search(space, kind, tmp_path / "whole.log")
    known = []
    while len(whole.past) < TRIALS and whole.draw():
        known.append((list(whole.past), whole.known()))
        whole.end()
    assert len(whole.past) in (TRIALS, 12)  # all of a small space
    for cut, (past, before) in enumerate(known):
        # It is lost while a trial runs, which goes on; then the next one is drawn.
        again = Search(space, kind, tmp_path / "again.log", tuple(past))
        assert again.known() == before
        assert list(again.study.unfinished) == [cut]
        again.record = again.study.unfinished[cut]
        again.end()
        assert again.draw() == (cut + 1 < len(known) or len(whole.past) == TRIALS)
        if cut + 1 < len(known):
            assert again.past == known[cut + 1][0]
            assert again.known() == known[cut + 1][1]
    assert not list(tmp_path.glob("*.new"))


def test_a_number_that_was_drawn_and_lost_is_drawn_again(
    space_file: Callable[..., Path], tmp_path: Path
) -> None:
    space, _ = load_space(space_file(SPACE))
    whole = Search(space, "random", tmp_path / "whole.log")
    for _ in range(6):
        whole.draw()
        whole.end()
    # Two ran side by side: of trial 4 nobody had heard yet.
    past = tuple(trial for trial in whole.past if trial.number != 4)
    again = Search(space, "random", tmp_path / "again.log", past)
    assert again.draw()
    assert again.past[-1].values == whole.past[4].values
    assert again.past[-1].number == 4
    again.end()
    assert again.draw()
    assert again.past[-1].number == 6
    states = [trial.state for trial in again.study.study.trials]
    assert states.count(TrialState.RUNNING) == 1
