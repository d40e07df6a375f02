"""Discovery of variants, and the rules that every config obeys."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from components.interface import (
    AdapterConfig,
    Config,
    HeadConfig,
    LossConfig,
    PoolingConfig,
    union_of,
    variants,
)

FAMILIES: dict[str, type[Config]] = {
    "pooling": PoolingConfig,
    "head": HeadConfig,
    "adapter": AdapterConfig,
    "loss": LossConfig,
}
ALL = [
    (family, kind)
    for family, base in FAMILIES.items()
    for kind in variants(f"components.{family}", base)
]


def test_every_family_has_variants() -> None:
    assert {family for family, _ in ALL} == set(FAMILIES)


@pytest.mark.parametrize(("family", "kind"), ALL)
def test_every_variant_has_its_test(family: str, kind: str) -> None:
    assert (Path(__file__).parent / family / f"test_{kind}.py").exists()


@pytest.mark.parametrize(("family", "kind"), ALL)
def test_configs_are_strict_and_go_round(family: str, kind: str) -> None:
    adapter = TypeAdapter(union_of(f"components.{family}", FAMILIES[family]))
    config = adapter.validate_python({"kind": kind})
    assert config.kind == kind
    assert adapter.validate_python(config.model_dump()) == config
    with pytest.raises(ValidationError, match="Extra inputs"):
        adapter.validate_python({"kind": kind, "no_such_key": 1})
    with pytest.raises(ValidationError):
        config.kind = "other"
    numbers = [n for n, f in type(config).model_fields.items() if "float" in str(f.annotation)]
    for name in numbers:
        with pytest.raises(ValidationError, match="finite"):
            adapter.validate_python({"kind": kind, name: math.nan})


def variant_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> str:
    package = tmp_path / f"planted_{tmp_path.name}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / f"{name}.py").write_text(
        "from typing import Literal\nfrom components.interface import Config\n" + text
    )
    monkeypatch.syspath_prepend(tmp_path)
    return package.name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class A(Config):\n    kind: Literal['b'] = 'b'\n", "must be the file's name, 'a'"),
        ("", "holds 0 subclasses"),
        ("class A(Config):\n    kind: Literal['a'] = 'a'\nclass B(A):\n    pass\n", "holds 2"),
    ],
)
def test_a_misplaced_variant_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        variants(variant_folder(tmp_path, monkeypatch, "a", text), Config)
