"""Discovery of variants, and the rules that every config obeys."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from components.config import Config, union_of, variants
from components.interface import AdapterConfig, HeadConfig, LossConfig, PoolingConfig

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


def least(family: str, kind: str) -> dict[str, Any]:
    """The fewest settings of a variant: what has no default is an example of its own."""
    fields = variants(f"components.{family}", FAMILIES[family])[kind].model_fields
    required = {name: field for name, field in fields.items() if field.is_required()}
    for name, field in required.items():
        assert field.examples, f"{kind}.{name} has no default, so it must have examples"
    return {"kind": kind} | {name: (field.examples or [])[0] for name, field in required.items()}


def test_every_family_has_variants() -> None:
    assert {family for family, _ in ALL} == set(FAMILIES)


@pytest.mark.parametrize(("family", "kind"), ALL)
def test_every_variant_has_its_test(family: str, kind: str) -> None:
    assert (Path(__file__).parent / family / f"test_{kind}.py").exists()


@pytest.mark.parametrize(("family", "kind"), ALL)
def test_configs_are_strict_and_go_round(family: str, kind: str) -> None:
    adapter = TypeAdapter(union_of(f"components.{family}", FAMILIES[family]))
    settings = least(family, kind)
    config = adapter.validate_python(settings)
    assert config.kind == kind
    assert adapter.validate_python(config.model_dump()) == config
    assert adapter.validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError, match="Extra inputs"):
        adapter.validate_python(settings | {"no_such_key": 1})
    with pytest.raises(ValidationError):
        config.kind = "other"
    with pytest.raises(ValidationError):
        adapter.validate_python(settings | {"kind": f"{kind}_no_such"})
    for name in settings.keys() - {"kind"}:
        with pytest.raises(ValidationError, match="Field required"):
            adapter.validate_python({k: v for k, v in settings.items() if k != name})
    for name in (n for n, f in type(config).model_fields.items() if f.annotation is int):
        for wrong in (True, "1", 1.0, 0):  # `rank: yes` is a bool in YAML; no count may be zero
            with pytest.raises(ValidationError) as caught:
                adapter.validate_python(settings | {name: wrong})
            assert {error["loc"][-1] for error in caught.value.errors()} == {name}
    numbers = [
        n for n, f in type(config).model_fields.items() if f.annotation in (float, float | None)
    ]
    for name in numbers:
        with pytest.raises(ValidationError, match="finite"):
            adapter.validate_python(settings | {name: math.nan})


@pytest.mark.parametrize("family", FAMILIES)
def test_every_test_of_a_variant_has_its_variant(family: str) -> None:
    tested = {
        path.stem.removeprefix("test_") for path in (Path(__file__).parent / family).glob("*.py")
    }
    assert tested - {"contract"} == {kind for known, kind in ALL if known == family}


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


def test_a_family_of_one_and_of_two_variants_is_told_by_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "class A(Config):\n    kind: Literal['{0}'] = '{0}'\n"
    package = variant_folder(tmp_path, monkeypatch, "b", text.format("b"))
    one = TypeAdapter(union_of(package, Config))
    assert one.validate_python({"kind": "b"}).model_dump() == {"kind": "b"}
    with pytest.raises(ValidationError):
        one.validate_python({"kind": "a"})
    head = "from typing import Literal\nfrom components.interface import Config\n"
    (tmp_path / package / "a.py").write_text(head + text.format("a"))
    importlib.invalidate_caches()
    assert list(variants(package, Config)) == ["a", "b"]
    two = TypeAdapter(union_of(package, Config))
    assert [two.validate_python({"kind": k}).model_dump() for k in "ab"] == [
        {"kind": k} for k in "ab"
    ]
