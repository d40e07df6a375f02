"""Journals that were cut or damaged: the search goes on, or is refused in one sentence."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from search.runs.resume import JOURNAL
from search.settings.problems import InputError
from search.space.domains import Space
from search.space.file import load_space
from search.space.run_config import RunConfig
from tests.faults.rehearsal import LostError, Rehearsal
from tests.faults.searches import SPACE, Row, leaderboard


class Original:
    """A search of twelve trials that nothing has disturbed."""

    def __init__(self, output: Path) -> None:
        self.folder = output / "whole"
        self.folder.mkdir(parents=True)
        self.space: Space
        self.config: RunConfig
        self.space, self.config = load_space(SPACE)
        whole = Rehearsal(self.folder, self.space, self.config)
        whole.run()
        self.trained = whole.trained
        self.leaderboard = leaderboard(self.folder)
        self.journal = (self.folder / JOURNAL).read_bytes()

    def lose(self, output: Path, events: int) -> Path:
        """A search that was lost after so many events."""
        folder = output / f"lost-{events}"
        folder.mkdir()
        search = Rehearsal(folder, self.space, self.config, lost_after=events)
        try:
            search.run()
        except LostError:
            return folder
        raise AssertionError("there are fewer events than that")

    def damage(self, output: Path, journal: bytes) -> str:
        """Give a search another journal, and go on: "same", or what is said.

        Raises:
            AssertionError: it ends with another leaderboard than the search did.
        """
        folder = output / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        (folder / JOURNAL).write_bytes(journal)
        try:
            Rehearsal(folder, self.space, self.config).run()
        except InputError as error:
            (problem,) = error.problems
            return str(problem)
        finally:
            shutil.copy(folder / JOURNAL, output / "last.jsonl")
        assert leaderboard(folder) == self.leaderboard, "another leaderboard"
        return "same"


def losses(original: Original, output: Path, every: int = 1) -> Row:
    """Lose the search after each of its events, or after each of so many, and go on."""
    events = original.journal.count(b"\n") - 1
    repeated: Counter[int] = Counter()
    places = range(0, events, every)
    for lost in places:
        folder = original.lose(output, lost)
        first = Rehearsal(folder, original.space, original.config)
        first.run()
        before = [e for e in original.trained if e not in first.trained]
        repeated[len(before) + len(first.trained) - len(original.trained)] += 1
        assert leaderboard(folder) == original.leaderboard, f"lost after {lost} events"
        shutil.rmtree(folder)
    found = f"{len(places)} of {len(places)} end with the same leaderboard; epochs trained anew: "
    return Row(
        f"lost after {len(places)} of {events} events",
        found + str(dict(repeated)),
        set(repeated) == {0},
    )


def cuts(original: Original, output: Path, count: int, seed: int = 0) -> Row:
    """Cut the journal at random bytes; where no trial is left of it, it must be refused."""
    draw = random.Random(seed)
    places = draw.sample(range(len(original.journal) + 1), count)
    first = original.journal.index(b"\n", original.journal.index(b"\n") + 1) + 1
    said: Counter[str] = Counter()
    sound = True
    for place in places:
        answer = original.damage(output, original.journal[:place])
        said["same" if answer == "same" else "refused"] += 1
        sound &= ("tells of no trial" in answer) if place < first else answer == "same"
    return Row(f"journal cut at {count} bytes", str(dict(said)), sound)


def flips(original: Original, output: Path, count: int, seed: int = 0) -> Row:
    """Damage one byte of the journal at a time: whatever comes of it is a ranking or a sentence."""
    draw = random.Random(seed)
    refused = other = same = 0
    for _ in range(count):
        journal = bytearray(original.journal)
        at = draw.randrange(len(journal))
        journal[at] ^= 1 << draw.randrange(8)
        try:
            said = original.damage(output, bytes(journal))
        except AssertionError:
            other += 1  # a digit, say, that nobody can tell from a right one
            continue
        same += said == "same"
        refused += said != "same"
    found = f"{refused} refused in a sentence, {same} without effect, {other} another leaderboard"
    return Row(f"a byte of the journal damaged, {count} times", found, other == 0)


def lines(original: Original, output: Path) -> Row:
    """Replace each line by noise, or remove it."""
    rows = original.journal.splitlines(keepends=True)
    said: Counter[str] = Counter()
    for number in range(len(rows)):
        for other in ([b"\x00\xff{\n"], []):
            journal = b"".join(rows[:number] + other + rows[number + 1 :])
            answer = original.damage(output, journal)
            said["same" if answer == "same" else "refused"] += 1
    return Row("each line replaced by noise, or removed", str(dict(said)), True)


def rows(output: Path, count: int) -> Iterator[Row]:
    """All of these."""
    original = Original(output)
    yield losses(original, output)
    yield cuts(original, output, 20 * count)
    yield lines(original, output)
    yield flips(original, output, 20 * count)
