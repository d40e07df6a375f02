"""Write docs/settings.md and spaces/schema.json from the configs that define the settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.config import Config, variants
from components.interface import AdapterConfig, HeadConfig, LossConfig, PoolingConfig
from search.data.reading.interface import SourceConfig
from search.scoring.interface import Metric, Objective
from search.settings.descriptions import describe, summary
from search.settings.interface import NegativesConfig, SamplerConfig, SchedulerConfig
from search.space.run_config import RunConfig
from search.space.schema import space_schema

ROOT = Path(__file__).parents[1]
PAGE, SCHEMA = ROOT / "docs" / "settings.md", ROOT / "spaces" / "schema.json"

HEAD = """# Settings

Every setting of a space file, with its default and meaning; one without a default must be given.
In the sections of a trial any value may be a domain ([space-files.md](space-files.md)).
`python -m tools.write_reference` writes this page from the classes that define the settings.
"""
# Section -> where its kinds are, and the class of all of them.
KINDS: dict[str, tuple[str, type[Config]]] = {
    "pooling": ("components.pooling", PoolingConfig),
    "head": ("components.head", HeadConfig),
    "adapter": ("components.adapter", AdapterConfig),
    "loss": ("components.loss", LossConfig),
    "negatives": ("search.settings.negatives", NegativesConfig),
    "search.sampler": ("search.settings.sampler", SamplerConfig),
    "search.scheduler": ("search.settings.scheduler", SchedulerConfig),
    "search.metric": ("search.scoring.metric", Metric),
    "search.objective": ("search.scoring.objective", Objective),
    "data.train": ("search.data.source", SourceConfig),
}
TRIAL = ("base", "pooling", "head", "adapter", "loss", "negatives", "optimizer", "training")
WHOLE = ("search", "data", "lane", "cache")


def settings_page() -> str:
    """The page as Markdown."""
    parts = [HEAD, "## A trial"]
    for section in TRIAL:
        parts += _section(section, _kinds(section))
    parts.append("## The whole search")
    for section in WHOLE:
        parts += _section(section, {})
        for name in (name for name in KINDS if name.startswith(f"{section}.")):
            parts += _section(name, _kinds(name))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _kinds(section: str) -> dict[str, type[Config]]:
    return variants(*KINDS[section]) if section in KINDS else {}


def _section(section: str, kinds: dict[str, type[Config]]) -> Iterator[str]:
    yield f"### {section}"
    if not kinds:
        annotation = RunConfig.model_fields[section].annotation
        assert isinstance(annotation, type) and issubclass(annotation, Config)
        yield _plain(summary(annotation))
        yield _table(annotation)
    for kind, config in kinds.items():
        yield f"#### {section}: {kind}"
        yield _plain(summary(config))
        if set(config.model_fields) - {"kind"}:
            yield _table(config)


def _table(config: type[Config]) -> str:
    meanings = describe(config)
    types = config.model_json_schema()
    rows = ["| setting | values | default | meaning |", "|---|---|---|---|"]
    for name, field in config.model_fields.items():
        if name != "kind":
            default = "" if field.is_required() else f"`{_written(_default(config, name))}`"
            values = " or ".join(_values(types["properties"][name])).replace("|", "\\|")
            meaning = _plain(meanings.get(name, "")).replace("|", "\\|")
            rows.append(f"| `{name}` | {values} | {default} | {meaning} |")
    return "\n".join(rows)


def _default(config: type[Config], name: str) -> Any:
    field = config.model_fields[name]
    return field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]


def _values(schema: dict[str, Any]) -> Iterator[str]:
    """What may be given, in a few words."""
    if "discriminator" in schema or "$ref" in schema or schema.get("type") == "object":
        yield "mapping"
    elif "anyOf" in schema:
        for branch in schema["anyOf"]:
            yield from _values(branch)
    elif "enum" in schema:
        yield ", ".join(f"`{value}`" for value in schema["enum"])
    elif "const" in schema:
        yield f"`{schema['const']}`"
    elif schema.get("type") == "array":
        yield "list"
    elif schema.get("type") == "null":
        yield "`null`"
    else:
        names = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`"}
        yield names.get(schema.get("type", ""), "text") + _limits(schema)


def _limits(schema: dict[str, Any]) -> str:
    words = {
        "minimum": "from",
        "exclusiveMinimum": "above",
        "maximum": "to",
        "exclusiveMaximum": "below",
    }
    return "".join(f" {word} {schema[key]}" for key, word in words.items() if key in schema)


def _written(value: Any) -> str:
    """A value as a space file has it."""
    if isinstance(value, Config):
        value = value.model_dump()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(item)}" for key, item in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)


def _plain(text: str) -> str:
    """Markdown of a docstring: single back quotes, and null where Python has None."""
    return re.sub(r"\bNone\b", "null", text.replace("``", "`")).replace("\n", "\n\n")


def main() -> None:
    """Write both files."""
    PAGE.write_text(settings_page(), encoding="utf-8")
    SCHEMA.write_text(json.dumps(space_schema()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
