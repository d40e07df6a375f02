"""Faults of settings, told by the option that a command has for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from search.settings.problems import InputError, Problem


@contextmanager
def as_options(options: Mapping[str, str]) -> Iterator[None]:
    """Name in each fault the option at fault, not the key of a space file.

    Args:
        options: key -> option; a key that has none is named as it is.
    """
    from pydantic import ValidationError

    from search.settings.wording import fault_sentence

    def named(message: str) -> str:
        for key, option in options.items():
            message = message.replace(f" {key}", f" {option}")
        return message

    try:
        yield
    except InputError as error:
        raise InputError(
            [Problem("", 0, options.get(p.key, p.key), named(p.message)) for p in error.problems]
        ) from error
    except ValidationError as error:
        raise InputError(
            [
                Problem("", 0, options.get(key, key), fault_sentence(fault))
                for fault in error.errors()
                for key in [f"data.{fault['loc'][0]}"]
            ]
        ) from error
    except ValueError as error:
        raise InputError(str(error).replace("base.model", "--base", 1)) from error
