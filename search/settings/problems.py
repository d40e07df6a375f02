"""What is wrong with the user's input, said once and in full."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One fault: where it stands, which key, and one sentence of what was given and what must be.

    Attributes:
        file: the file, or the command-line option, that holds it; empty where there is none.
        line: line in that file, counted from 1; 0 where there is none.
        key: dotted key, for example ``optimizer.lr``; may be empty.
        message: the sentence.
    """

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = "" if self.message.startswith(self.key) else self.key
        parts = ((place, 1000), (key, 200), (self.message, 2000))
        return ": ".join(shown(part, most) for part, most in parts if part)


class InputError(ValueError):
    """The user's space, data, model or resources are at fault; nothing has been started."""

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem("", 0, "", problems)]
        self.problems = sorted(set(problems))
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def of(cls, key: str, message: str) -> InputError:
        """One fault of one key, wherever that was written."""
        return cls([Problem("", 0, key, message)])


def shown(text: object, most: int = 100) -> str:
    """Text of a file or an option, fit for a terminal: what cannot be printed is escaped.

    Args:
        most: characters of it that are shown; the middle of a longer text is left out.
    """
    plain = str(text)
    if len(plain) > most:
        plain = f"{plain[: most * 2 // 3]}…{plain[-most // 3 :]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in plain)


def nearest(word: object, legal: Sequence[str]) -> str:
    """ "; did you mean 'x'?" for the closest legal word, or nothing."""
    by_letters = {name.casefold(): name for name in reversed(legal)}
    wanted = str(word)[:100].casefold()
    close = difflib.get_close_matches(wanted, by_letters, n=1, cutoff=0.51)
    return f"; did you mean {by_letters[close[0]]!r}?" if close else ""
