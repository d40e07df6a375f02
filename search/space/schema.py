"""A JSON schema of space files, for editors and other tools.

It says what `search.space.file` checks as far as a JSON schema can: sections, kinds, settings,
their types and limits, and where a domain may stand. Whether files exist, and whether settings fit
each other and the model, it cannot say.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from components.config import Config
from search.settings.descriptions import describe, summary
from search.space.domains import CASES
from search.space.run_config import FIXED_SECTIONS, RunConfig

Schema = dict[str, Any]
ANY_SOURCE: Schema = {"type": ["string", "array", "object"]}
# Of what a section takes, the forms that are turned into the full one before they are checked.
SHORT_FORMS: dict[str, Schema] = {
    "train": ANY_SOURCE,
    "validation": {"type": ["string", "array", "object", "null"]},
    "languages": {"type": ["string", "array", "null"], "items": {"type": "string"}},
    "prompt": {"type": ["string", "object", "null"]},
}
LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def space_schema() -> Schema:
    """The JSON schema (draft 2020-12) of a space file."""
    whole = RunConfig.model_json_schema()
    # By docstring: several configs share a name, such as Mean.
    configs = {inspect.cleandoc(config.__doc__ or ""): config for config in _configs(Config)}
    trial = _reached(whole, [name for name in RunConfig.model_fields if name not in FIXED_SECTIONS])
    definitions = {}
    for name, definition in whole["$defs"].items():
        title = definition.get("title", name)
        config = configs[definition["description"]]
        meanings = describe(config)
        definition["description"] = summary(config)
        for key, setting in definition.get("properties", {}).items():
            given = SHORT_FORMS.get(key) if title == "DataSettings" else None
            setting = given or _open(setting)
            if name in trial and key != "kind":
                setting = _with_domains(setting)
            definition["properties"][key] = setting | {"description": meanings.get(key, key)}
        definitions[name] = definition
    sections = {
        name: setting if name in FIXED_SECTIONS else _with_domains(setting)
        for name, setting in ((n, _open(s)) for n, s in whole["properties"].items())
        if name != "case"
    }
    part = {key: value for key, value in sections.items() if key not in FIXED_SECTIONS}
    case: Schema = {"type": "object", "properties": {"case": {"type": "string"}} | part}
    case["additionalProperties"] = False
    sections[CASES] = {
        "type": "array",
        "minItems": 1,
        "items": case,
        "description": "parts of a config, tried as wholes",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Space file of Isogloss",
        "type": "object",
        "properties": sections,
        "required": whole["required"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _configs(config: type[Config]) -> Iterator[type[Config]]:
    for child in config.__subclasses__():
        yield child
        yield from _configs(child)


def _reached(whole: Schema, sections: list[str]) -> set[str]:
    """Names of the definitions that sections lead to."""
    found: set[str] = set()
    waiting: list[Any] = [whole["properties"][name] for name in sections]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).removeprefix("#/$defs/")
            if name and name not in found:
                found.add(name)
                waiting.append(whole["$defs"][name])
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return found


def _open(schema: Schema) -> Schema:
    """Where kinds are told apart, admit one alone, and none where there is a default."""
    if "discriminator" not in schema:
        return schema
    kinds = schema["discriminator"]["mapping"]
    default = schema.get("default", {}).get("kind")
    options: list[Schema] = [{"enum": list(kinds)}]
    for kind, reference in kinds.items():
        required = {"type": "object", "required": ["kind"]} if kind != default else {}
        options.append(
            {"allOf": [{"$ref": reference}, required]} if required else {"$ref": reference}
        )
    return {"anyOf": options, "default": schema.get("default")}


def _with_domains(schema: Schema) -> Schema:
    """Admit a domain of such values in place of one."""
    branches = schema.get("anyOf", [schema])
    if extra := schema.get("additionalProperties"):
        if isinstance(extra, dict):
            schema = schema | {"additionalProperties": _with_domains(extra)}
        branches = [schema]
    forms = [*branches, *_ranges(branches)]
    choice = {"type": "array", "minItems": 1, "items": {"anyOf": forms}}
    domain = {
        "type": "object",
        "properties": {"choice": choice},
        "required": ["choice"],
        "additionalProperties": False,
    }
    kept = {key: value for key, value in schema.items() if key in ("default", "description")}
    return {"anyOf": [*forms, domain]} | kept


def _ranges(branches: list[Schema]) -> Iterator[Schema]:
    """Ranges of the numbers that some branches admit."""
    for branch in branches:
        for form, kinds in (("int", ("integer",)), ("float", ("number",))):
            if branch.get("type") in kinds:
                limits = {key: branch[key] for key in LIMITS if key in branch}
                end = {"type": branch["type"], **limits}
                step = {"type": branch["type"], "exclusiveMinimum": 0}
                ends = {"type": "array", "items": end, "minItems": 2, "maxItems": 2}
                yield {
                    "type": "object",
                    "properties": {form: ends, "log": {"type": "boolean"}, "step": step},
                    "required": [form],
                    "additionalProperties": False,
                }
