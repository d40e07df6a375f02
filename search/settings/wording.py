"""Values and faults of settings in words: pydantic's faults are put into sentences here alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from components.errors import SettingError
from search.settings.problems import nearest, shown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# Type of a fault -> what must be, with pydantic's own context filled in.
MUST = {
    "missing": "be given",
    "greater_than": "be greater than {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than": "be less than {lt}",
    "less_than_equal": "be at most {le}",
    "finite_number": "be a finite number",
    "int_type": "be a whole number",
    "int_from_float": "be a whole number",
    "float_type": "be a number",
    "string_type": "be text",
    "bool_type": "be true or false",
    "list_type": "be a list",
    "dict_type": "be a mapping",
    "model_type": "be a mapping of settings",
    "model_attributes_type": "be a kind or a mapping with a 'kind'",
    "union_tag_not_found": "be a kind or a mapping with a 'kind'",
    "too_short": "have at least {min_length} items",
    "too_long": "have at most {max_length} items",
    "string_too_short": "have at least {min_length} characters",
}
# Pattern of a text -> what must be.
PATTERNS = {
    r"^[a-z][a-z0-9+.-]+://.+": "be a URI, such as s3://bucket/folder",
    r"^[a-z][a-z0-9_]*$": "begin with a letter and hold small letters, digits and _ alone",
}
NUMBERS = ("int_type", "int_from_float", "float_type")


def fault_sentence(fault: ErrorDetails, legal: Sequence[str] = (), suggestion: str = "") -> str:
    """Say what was given and what must be, as a sentence that goes on after the key.

    Args:
        legal: the keys that are known where an unknown one stands.
        suggestion: of the key that was meant, as `search.settings.problems.nearest` words it.
    """
    kind, given, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return f"is no known key; it must be among {', '.join(legal)}{suggestion}"
    if kind == "missing":
        return f"is missing; it must {MUST[kind]}"
    if kind in ("union_tag_invalid", "literal_error"):
        got = given.get("kind") if isinstance(given, dict) else given
        words = str(context.get("expected_tags") or context["expected"]).replace(" or ", ", ")
        known = [word.strip("'") for word in words.split(", ")]
        must = f"be one of {', '.join(known)}{nearest(got, known)}"
        return f"is {as_written(got)}; it must {must}"
    error = context.get("error")
    if isinstance(error, SettingError):
        return f"{error.got}; it must {error.must}"
    if kind == "value_error":
        return str(error)
    template = PATTERNS.get(str(context.get("pattern")), MUST.get(kind))
    if template is None:
        must = str(fault["msg"]).replace("Input should ", "").replace("String should ", "")
    else:
        numbers = {k: f"{v:g}" if isinstance(v, float) else v for k, v in context.items()}
        must = template.format(**numbers)
        must = must.replace(" 1 items", " 1 item").replace(" 1 characters", " 1 character")
    return f"is {as_written(given)}; it must {must}{_hint(kind, given)}"


def _hint(kind: str, given: object) -> str:
    """Explain a value that looks right and has another type in YAML."""
    if kind == "bool_type" and str(given).lower() in ("yes", "no", "on", "off", "y", "n"):
        return " (YAML 1.2 reads yes, no, on and off as words)"
    if kind == "string_type" and isinstance(given, bool):
        return ", in quotes if this is the word"
    if kind in NUMBERS and isinstance(given, str):
        try:
            float(given)
        except ValueError:
            return ""
        return ", without quotes"
    return ""


def as_written(value: object) -> str:
    """Format a value as a space file holds it in one line; the middle of a long one is left out."""
    return shown(_in_a_line(value, _quoted), 200)


def setting_text(value: object) -> str:
    """Write a setting for people, as a space file would hold it, fractions with four digits."""
    return _in_a_line(value, _rounded)


def _in_a_line(value: object, write: Callable[[object, bool], str], inside: bool = False) -> str:
    """Format a value in YAML's flow style.

    Args:
        write: a text or number, and whether it stands in a list or mapping.
    """
    if isinstance(value, Mapping):
        items = (f"{key}: {_in_a_line(item, write, True)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_in_a_line(item, write, True) for item in value)}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return write(value, inside)


def _quoted(value: object, inside: bool) -> str:
    if isinstance(value, str) and inside and value.replace("_", "").isalnum():
        return value
    return repr(value)


def _rounded(value: object, inside: bool) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
