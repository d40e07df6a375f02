"""How a domain is written in a space file."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from components.config import Config
from components.errors import SettingError
from search.space.domains import Range


class ChoiceForm(Config):
    """``{choice: [...]}``."""

    choice: Annotated[list[object], Field(min_length=1)]


class RangeForm(Config):
    """What ``{int: [low, high]}`` and ``{float: [low, high]}`` have in common."""

    integer: ClassVar[bool]
    ends: list[int] | list[float]
    log: bool = False
    step: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_range(self.ends, self.log, self.step)
        return self

    def domain(self) -> Range:
        low, high = self.ends
        return Range(low, high, integer=self.integer, log=self.log, step=self.step)


class IntForm(RangeForm):
    """``{int: [low, high]}``."""

    integer: ClassVar[bool] = True
    ends: Annotated[list[int], Field(min_length=2, max_length=2, alias="int")]
    step: Annotated[int, Field(ge=1)] | None = None


class FloatForm(RangeForm):
    """``{float: [low, high]}``."""

    integer: ClassVar[bool] = False
    ends: Annotated[list[float], Field(min_length=2, max_length=2, alias="float")]
    step: Annotated[float, Field(gt=0)] | None = None


FORMS: dict[str, type[ChoiceForm | IntForm | FloatForm]] = {
    "choice": ChoiceForm,
    "int": IntForm,
    "float": FloatForm,
}
KEYS = {"choice": (), "int": ("log", "step"), "float": ("log", "step")}  # beside the first


def _check_range(ends: Sequence[float], log: bool, step: float | None) -> None:
    """Check that a range holds numbers, and ends on a step.

    Raises:
        SettingError: by the key of the range at fault; none for the range as a whole.
    """
    low, high = ends
    if low > high:
        raise SettingError("", f"runs from {low} to {high}", "run from the lower to the higher end")
    if log and low <= 0:
        raise SettingError("", f"is log and starts at {low}", "start above 0")
    if log and step is not None:
        raise SettingError("", "has both log and step", "have one of them at most")
    if step is None:
        return
    # As decimals, as they were written: 0.3 - 0.1 is no multiple of 0.1 in binary.
    first, end, width = (Decimal(str(number)) for number in (low, high, step))
    last = first + (end - first) // width * width
    if last != end:
        fitting = last if last > first else first + width
        must = f"divide the range from {low} to {high}, or the range end on a step, as {fitting}"
        raise SettingError("step", f"is {step}", must)
