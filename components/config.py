"""The base of all configs, and how a folder of them becomes a choice told apart by ``kind``."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from components.errors import SettingError

if TYPE_CHECKING:
    from components.context import Context


class Config(BaseModel):
    """Base of everything a space file can say: unknown keys, loose types and NaN are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    # Sections of a trial, among those of `Context`, that `incompatibility` asks about.
    conflicts_with: ClassVar[tuple[Literal["head", "loss"], ...]] = ()

    def incompatibility(self, context: Context) -> SettingError | None:
        """Find a setting that can have no effect in a context; None where each has one.

        It may depend on the run and on one other section at a time, never on two together.
        """
        return None


def variants(package: str, base: type[Config]) -> dict[str, type[Config]]:
    """Find the variants in a folder: file name -> config class, in the order of names.

    Raises:
        TypeError: a file that does not hold exactly one config class, or whose ``kind`` is not the
            file's name.
    """
    found: dict[str, type[Config]] = {}
    folder = importlib.import_module(package).__path__
    for name in sorted(module.name for module in pkgutil.iter_modules(folder)):
        module = importlib.import_module(f"{package}.{name}")
        configs = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, base)
            and value.__module__ == module.__name__
        ]
        if len(configs) != 1:
            raise TypeError(
                f"{module.__name__} holds {len(configs)} subclasses of {base.__name__}; it must "
                f"hold exactly one"
            )
        kind = configs[0].model_fields["kind"].default
        if kind != name:
            raise TypeError(
                f"{module.__name__}: kind is {kind!r}; it must be the file's name, {name!r}"
            )
        found[name] = configs[0]
    return found


def with_kind(value: object) -> object:
    """Let a kind alone stand for a mapping that holds it and nothing else."""
    return {"kind": value} if isinstance(value, str) else value


def union_of(package: str, base: type[Config], default: str | None = None) -> Any:
    """Form the pydantic union of a folder's config classes, told apart by ``kind``.

    Args:
        default: kind of a mapping that names none; None where it must name one.
    """
    members = tuple(variants(package, base).values())

    def complete(value: object) -> object:
        value = with_kind(value)
        return {"kind": default} | value if isinstance(value, dict) and default else value

    # pydantic refuses a discriminator where there is nothing to tell apart.
    tag = [Field(discriminator="kind")] if len(members) > 1 else []
    return Annotated[(Union[members], *tag, BeforeValidator(complete))]  # noqa: UP007
