"""Settings of a component that adds up others of its family, each times its weight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, ClassVar, Generic, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from components.config import Config, variants
from components.errors import SettingError

PartConfig = TypeVar("PartConfig", bound=Config)


class MixConfig(Config, ABC, Generic[PartConfig]):
    """Settings of a mix.

    Attributes:
        family: of the components that are mixed.
        weights: kind of a component -> its weight.
        settings: kind of a component -> its settings, where they are not the default ones.
    """

    family: ClassVar[str]
    weights: dict[str, Annotated[float, Field(ge=0)]]
    settings: dict[str, dict[str, object]] = Field(default={})

    @classmethod
    @abstractmethod
    def part_config(cls) -> type[PartConfig]:
        """Base class of the parts' configs."""

    @model_validator(mode="after")
    def _parts_are_there(self) -> Self:
        faults = list(self._faults())
        if faults:  # pydantic adds these to its own, each under its key of this config
            raise ValidationError.from_exception_data(type(self).__name__, faults)
        return self

    def parts(self) -> dict[str, PartConfig]:
        """The parts that are made, by kind: those of a weight above 0."""
        kinds = self._kinds()
        return {
            kind: kinds[kind].model_validate(self.settings.get(kind, {}))
            for kind, weight in self.weights.items()
            if weight > 0
        }

    @classmethod
    def _kinds(cls) -> dict[str, type[PartConfig]]:
        """What can be mixed: all but mixes. Found late, since a mix is found in the same way."""
        return {
            kind: config
            for kind, config in variants(f"components.{cls.family}", cls.part_config()).items()
            if issubclass(config, cls.part_config()) and not issubclass(config, MixConfig)
        }

    def _faults(self) -> Iterator[InitErrorDetails]:
        """What is wrong with the parts named, each fault at its own key."""
        kinds = self._kinds()
        if len(self.weights) < 2:
            must = f"is {self.weights}; it must hold at least two kinds"
            yield self._fault(("weights",), self.weights, must)
        for kind in self.weights:
            if kind not in kinds:
                must = f"is no {self.family} that can be mixed; it must be {_among(kinds, kind)}"
                yield self._fault(("weights", kind), kind, must)
            elif kind not in self.settings:
                for name, field in kinds[kind].model_fields.items():
                    if field.is_required():
                        must = f"lacks {kind}.{name}; it must be given"
                        yield self._fault(("settings",), self.settings, must)
        for kind, settings in self.settings.items():
            if kind not in self.weights:
                must = f"is not among the weights; it must be {_among(self.weights, kind)}"
                yield self._fault(("settings", kind), settings, must)
            elif kind in kinds:
                yield from self._settings_faults(kinds[kind], kind, settings)

    def _settings_faults(
        self, config: type[PartConfig], kind: str, settings: Mapping[str, object]
    ) -> Iterator[InitErrorDetails]:
        """Pydantic's faults of one part's settings, moved to where they stand in this config."""
        known = [name for name in config.model_fields if name != "kind"]
        try:
            config.model_validate(settings)
        except ValidationError as error:
            for fault in error.errors():
                place = ("settings", kind, *fault["loc"])
                if fault["type"] == "extra_forbidden":
                    must = f"be {_among(known, str(place[-1]))}" if known else "be left out"
                    must = f"is no setting of {kind!r}; it must {must}"
                    yield self._fault(place, fault["input"], must)
                    continue
                context = fault.get("ctx", {})
                if isinstance(context.get("error"), SettingError):
                    context = {"error": self.moved(kind, context["error"])}
                yield InitErrorDetails(
                    type=fault["type"], loc=place, input=fault["input"], ctx=context
                )

    def moved(self, kind: str, error: SettingError) -> SettingError:
        """A part's error: it names its keys as its own, not knowing that it is part of a mix."""
        return error.renamed(f"{self.family}.", f"{self.family}.settings.{kind}.")

    def _fault(self, place: tuple[str | int, ...], given: object, message: str) -> InitErrorDetails:
        """A fault at a key of this config, as a sentence that begins with the key."""
        error = ValueError(f"{self.family}.{'.'.join(map(str, place))} {message}")
        return InitErrorDetails(type="value_error", loc=place, input=given, ctx={"error": error})


def _among(legal: Collection[str], word: str) -> str:
    """The legal words, and the one that was probably meant."""
    close = get_close_matches(word, legal, n=1)
    return f"among {', '.join(legal)}" + (f"; did you mean {close[0]!r}?" if close else "")
