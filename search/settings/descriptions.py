"""What each setting means, as its config's docstring or field says."""

from __future__ import annotations

import inspect
import re

from components.config import Config

_ENTRY = re.compile(r"    (\w+(?:, \w+)*): (.*)")


def describe(config: type[Config]) -> dict[str, str]:
    """Find the meaning of each field: of ``Field(description=...)`` or of a docstring's attributes.

    Returns:
        Field -> one paragraph, for the fields that have one; those of a parent class among them.
    """
    found: dict[str, str] = {}
    for parent in reversed(config.__mro__):
        if issubclass(parent, Config):
            found |= _attributes(inspect.cleandoc(parent.__dict__.get("__doc__") or ""))
    of_fields = {name: field.description for name, field in config.model_fields.items()}
    found |= {name: text for name, text in of_fields.items() if text}
    return {name: found[name] for name in config.model_fields if name in found}


def summary(config: type[Config]) -> str:
    """The docstring of a config, up to its attributes, a paragraph a line."""
    text = inspect.cleandoc(config.__doc__ or "").partition("\nAttributes:")[0]
    return "\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def _attributes(docstring: str) -> dict[str, str]:
    section = docstring.partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if entry := _ENTRY.fullmatch(line):
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif line.startswith("        ") and names:
            found |= dict.fromkeys(names, f"{found[names[0]]} {line.strip()}")
        else:
            names = []
    return found
