"""What a setting of a trial must fit: the run, and the other settings of the trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.errors import SettingError

if TYPE_CHECKING:
    from components.interface import HeadConfig, LossConfig


@dataclass(frozen=True)
class Context:
    """The run, and those sections of the trial that others ask about.

    A section that is None is unknown: nothing can be incompatible with it.

    Attributes:
        width: dimensions D of the base.
        causal: whether the base is a decoder.
        families: names of the families of the run's languages.
        workers: processes that train one model together.
        head: of the same trial.
        loss: of the same trial.
        languages: that are scored: those of the run without the pivot.
    """

    width: int
    causal: bool
    families: Sequence[str]
    workers: int
    head: HeadConfig | None = None
    loss: LossConfig | None = None
    languages: Sequence[str] = ()

    def one_family(self, section: str, kind: str) -> SettingError | None:
        """Find that a section which treats families differently has only one, if so."""
        if len(self.families) >= 2:
            return None
        return SettingError(
            f"{section}.kind",
            f"is {kind!r}, but all languages are of one family, {''.join(self.families)!r}",
            "be one that all families share",
        )
