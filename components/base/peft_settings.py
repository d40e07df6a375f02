"""The settings of a PEFT adapter folder, and the model that the adapter was trained on."""

from __future__ import annotations

import dataclasses
import json
import os
from os.path import expanduser
from pathlib import Path

from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftConfig

from components.base.errors import one_sentence
from components.base.locate import ADAPTER_FILE

# Kinds of training after which a model's hidden states are all that is needed of it.
TASKS = (None, "CAUSAL_LM", "FEATURE_EXTRACTION")


def subject(model: str) -> str:
    """Begin a sentence about an adapter."""
    return f"base.model {model!r} is a PEFT adapter"


def read_adapter_settings(model: str, folder: Path) -> PeftConfig:
    """Read ``adapter_config.json``; refuse what cannot be merged, or says what is not known here.

    Raises:
        ValueError: one sentence says why.
    """
    file = folder / ADAPTER_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        kind = PEFT_TYPE_TO_CONFIG_MAPPING[content["peft_type"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        known = ", ".join(sorted(map(str.lower, PEFT_TYPE_TO_CONFIG_MAPPING)))
        raise ValueError(
            f"{subject(model)} whose {ADAPTER_FILE} cannot be read: it must hold a peft_type "
            f"(one of {known})"
        ) from error
    with one_sentence(model):
        settings = PeftConfig.from_pretrained(str(folder))
    fields = {entry.name for entry in dataclasses.fields(kind)}
    unknown = sorted(name for name in content.keys() - fields if content[name])
    why = ""
    if settings.is_prompt_learning:
        why = f"{content['peft_type']} adds tokens to the input and changes no weights"
    elif settings.task_type not in TASKS:
        why = f"it was trained for {settings.task_type}, with a head that is not used here"
    elif unknown:
        why = f"the installed PEFT does not know {unknown[0]!r}, which its {ADAPTER_FILE} sets"
    else:
        # Of one, a module is imported by name; of the other, layers share what would be merged.
        for name in ("megatron_config", "layer_replication"):
            if getattr(settings, name, None):
                why = f"its {ADAPTER_FILE} sets {name}, which is not supported"
    if why:
        raise ValueError(f"{subject(model)} that cannot be merged: {why}")
    return settings


def find_trained_base(model: str, folder: Path, settings: PeftConfig) -> tuple[str, str]:
    """Find the model that an adapter was trained on, and say where it is, or was looked for.

    Raises:
        ValueError: none is named, or it is not there and no name on the hub.
    """
    name = settings.base_model_name_or_path
    file = folder / ADAPTER_FILE
    if not isinstance(name, str) or not name.strip():
        raise ValueError(
            f"{subject(model)} that names no base; name one as base_model_name_or_path in {file}"
        )
    if name.startswith("builtin:"):
        return name, "built in"
    for place in (folder / name, Path(expanduser(name))):
        if os.path.exists(place):
            return str(place.resolve()), f"at {place}"
    beside, here = folder / name, Path.cwd() / name
    looked = f"neither {beside} nor {here}" if beside != here else f"no {beside}"
    # One slash at most makes a hub name; anything else can only have been meant as a path.
    if name.count("/") > 1 or name.startswith(("/", ".", "~")) or "\0" in name:
        raise ValueError(
            f"{subject(model)} of {name!r}, which is not there ({looked} exists); name its "
            f"folder, or a model on the hub, as base_model_name_or_path in {file}"
        )
    return name, f"on the hub, as {looked} exists"
