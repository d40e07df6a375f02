"""The file of source that an exported folder brings where stock modules cannot express it."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from torch import nn

from components import languages, ragged
from components.interface import Head, Pooling
from search.export import deployed

CUSTOM_FILE = "isogloss_modules"
_CUSTOM_HEADER = '''"""What this model needs beside the stock modules. Made by Isogloss."""

from __future__ import annotations

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules.module import Module
from sentence_transformers.base.modules.transformer import Transformer
from torch import Tensor, nn
from torch.nn import functional as F

Pooling = Head = nn.Module
'''


def describe(component: nn.Module) -> dict[str, object]:
    """A component's class and its constructor's arguments, which are its attributes, as data."""
    arguments = {}
    for name in inspect.signature(type(component)).parameters:
        value = getattr(component, name)
        if isinstance(value, nn.ModuleList):
            value = [describe(part) for part in value]
        arguments[name] = list(value) if isinstance(value, tuple) else value
    return {"class": type(component).__name__, "arguments": arguments}


def custom_source(components: Sequence[Pooling | Head], routed: bool) -> str:
    """The file that defines some components for people without this project.

    Args:
        routed: whether the model treats families of languages differently.
    """
    kinds = dict.fromkeys(
        type(module)
        for component in components
        for module in component.modules()
        if type(module).__module__.startswith("components.")
    )
    parts: list[Callable[..., object]] = [
        deployed.rebuild,
        deployed.Rebuilt,
        deployed.PaddedTransformer,
    ]
    if any(isinstance(component, Pooling) for component in components):
        parts += [ragged.segment_softmax, ragged.segment_sum, ragged.States]
        parts += [deployed.PackedPooling]
    if any(isinstance(component, Head) for component in components):
        parts += [deployed.RoutedHead]
    if routed:
        parts += [languages.family_of_text, deployed.RoutedTransformer]
    parts += kinds
    return "\n\n".join([_CUSTOM_HEADER, *map(inspect.getsource, parts)])


def custom_file(components: Sequence[Pooling | Head], folder: Path, routed: bool) -> ModuleType:
    """Write that file and import it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{CUSTOM_FILE}.py"
    file.write_text(custom_source(components, routed), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(CUSTOM_FILE, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[CUSTOM_FILE] = module  # sentence-transformers saves a class by its module's name
    spec.loader.exec_module(module)
    return module


def trusted(folder: Path) -> bool:
    """Whether loading a folder runs a file of its own."""
    return (folder / f"{CUSTOM_FILE}.py").exists()
