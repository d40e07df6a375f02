"""The command that counts parameters, against formulas and modules with real weights."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, Qwen3Config
from typer.testing import CliRunner

import components
from components.base import Base, BaseConfig, load
from components.base.locate import BUILTIN
from components.config import Config, variants
from components.interface import AdapterConfig, HeadConfig, PoolingConfig
from search.params import app

FAMILIES = ["arabic", "cjk", "cyrillic", "indic", "latin"]


def run(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def numbers(said: str) -> dict[str, int]:
    """What stands before the first number of a line -> that number."""
    found = (re.match(r" (\S.*?) +(\d[\d,]*)(?:  .*| *)$", line) for line in said.splitlines())
    return {match[1]: int(match[2].replace(",", "")) for match in found if match}


def linear(width: int, out: int) -> int:
    return width * out + out


def lora(width: int, inner: int, keys: int, *, every: bool) -> int:
    """Rank 16 on the last four layers: 16 x (in + out) for each linear layer."""
    sizes = [width + width, width + keys]  # q, v
    if every:
        sizes += [width + keys, width + width, *[width + inner] * 3]  # k, o, gate, up, down
    return 4 * sum(16 * size for size in sizes)


def configuration_rows(said: str) -> list[int]:
    (_, table) = said.split("Configurations\n", 1)
    return list(numbers(table.split("Each number")[0]).values())


def expected_configurations(width: int, out: int, keys: int) -> list[int]:
    return [
        linear(width, out),
        width,
        linear(width, 2048) + linear(2048, out),
        linear(width, 4096) + linear(4096, out),
        lora(width, 3 * width, keys, every=False),
        lora(width, 3 * width, keys, every=True),
    ]


def test_configurations_at_the_default_width() -> None:
    said = run("--width", "4096")
    assert configuration_rows(said) == expected_configurations(4096, 768, 1024)
    assert "auto: q_proj, v_proj" in said and "all-linear" in said
    assert said == run()


@pytest.mark.parametrize(
    ("width", "out", "keys"), [(1280, 768, 2), (768, 100, 1), (2560, 768, 5), (4096, 512, 8)]
)
def test_configurations_at_other_widths(width: int, out: int, keys: int) -> None:
    said = run("--width", str(width), "--out", str(out))
    assert configuration_rows(said) == expected_configurations(width, out, 128 * keys)
    assert (
        f"{width // 128} query and {keys} key-value heads of 128, inner width {3 * width}" in said
    )


def test_order_of_magnitude_at_the_width_of_qwen3_8b() -> None:
    """Rough figures for 4096 -> 768 that were estimated by hand, as ranges in parameters.

    The estimates of the MLP heads and of LoRA on two projections were too high; these ranges are
    what the products of the widths give: 4096 x 2048 + 2048 x 768 is ten million, not eighteen.
    """
    linear_only, attention, mlp_2048, mlp_4096, lora_auto, lora_all = configuration_rows(run())
    assert 2_500_000 < linear_only < 3_500_000
    assert 3_500 < attention < 4_500
    assert 9_500_000 < mlp_2048 < 10_500_000
    assert 19_500_000 < mlp_4096 < 20_500_000
    assert 500_000 < lora_auto < 1_000_000
    assert 4_500_000 < lora_all < 5_500_000


@pytest.fixture
def variant_table() -> Callable[[str], dict[str, list[str]]]:
    def parse(said: str) -> dict[str, list[str]]:
        """Part -> its lines."""
        table = said.split("Every variant")[1].split("\n\n")[0].splitlines()[2:]
        found: dict[str, list[str]] = {}
        for line in table:
            if not line.startswith("  "):
                part = line.split()[0]
            found.setdefault(part, []).append(line.replace(f" {part} ", "", 1).strip())
        return found

    return parse


def test_every_variant_against_modules_with_weights(
    variant_table: Callable[[str], dict[str, list[str]]],
) -> None:
    found = variant_table(run("--base", "builtin:tiny", "--out", "40"))
    assert list(found) == ["pooling", "head", "adapter"]
    base = load(BaseConfig(model="builtin:tiny", dtype="float32"))
    for part, config_class in (
        ("pooling", PoolingConfig),
        ("head", HeadConfig),
        ("adapter", AdapterConfig),
    ):
        files = sorted(
            file.stem
            for file in (Path(str(components.__path__[0])) / part).glob("*.py")
            if file.stem != "__init__"
        )
        assert [line.split()[0] for line in found[part]] == files
        for line in found[part]:
            kind, shown, *_ = line.split()
            exact = count(variants(f"components.{part}", config_class)[kind], base)
            assert int(shown.replace(",", "")) == exact, (part, kind)


def count(chosen: type[Config], base: Base) -> int:
    sized = {"width": 40} if "width" in chosen.model_fields else {}
    config = chosen.model_validate(sized)
    if isinstance(config, AdapterConfig):
        adapter = config.build(base.model, FAMILIES)
        adapter.remove()
        return sum(p.numel() for p in adapter.parameters())
    if isinstance(config, HeadConfig):
        module: torch.nn.Module = config.build(base.width, FAMILIES)
    else:
        assert isinstance(config, PoolingConfig)
        module = config.build(base.width)
    return sum(weight.numel() for weight in module.state_dict().values())


def test_what_does_not_fit_the_model_is_said_in_its_row(
    tmp_path: Path, variant_table: Callable[[str], dict[str, list[str]]]
) -> None:
    """A model of three layers and a width that eight heads do not divide."""
    config = Qwen3Config(
        vocab_size=4096, hidden_size=36, intermediate_size=8, num_hidden_layers=3,
        num_attention_heads=3, num_key_value_heads=3, head_dim=12,
    )  # fmt: skip
    AutoModel.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(BUILTIN["builtin:tiny"]).save_pretrained(tmp_path)
    said = run("--base", str(tmp_path))
    configurations = said.split("Each number")[0]
    assert configurations.count("does not fit: adapter.last_layers is 4; it must be at most 3") == 2
    (latent,) = (line for line in variant_table(said)["pooling"] if line.startswith("latent"))
    assert "does not fit: pooling.heads is 8; it must divide the base's width, 36" in latent
    (adapter,) = (line for line in variant_table(said)["adapter"] if line.startswith("lora"))
    assert int(adapter.split()[1].replace(",", "")) == 3 * 2 * 16 * (36 + 36)


SPACE = """
pooling:
  choice:
    - {kind: mean}
    - {kind: attention}
head:
  choice:
    - {kind: mlp, width: 16, hidden: {int: [8, 24]}}
    - {kind: linear, width: 16}
loss:
  choice:
    - {kind: info_nce}
    - {kind: info_nce, learned: true}
optimizer: {lr: {float: [1.0e-4, 1.0e-2]}}
"""
D = 128  # of builtin:tiny


def rows_of_space(said: str) -> list[tuple[int, str]]:
    lines = said.strip().splitlines()[2:]
    cells = [re.sub(r"  +", " | ", line.strip()) for line in lines]
    assert cells[0].startswith("reference | ")
    split = [cell.removeprefix("reference | ").split(" | ", 1) for cell in cells]
    return [(int(number.replace(",", "")), parts) for number, parts in split]


def mlp(hidden: int) -> int:
    return linear(D, hidden) + linear(hidden, 16)


def test_each_option_of_a_space(space_file: Callable[..., Path]) -> None:
    said = run(str(space_file(SPACE)))
    assert "Every variant" not in said and "Configurations" not in said
    assert rows_of_space(said) == [
        (linear(D, 16), "mean | linear (width: 16) | none | info_nce"),
        (mlp(16), "mean | mlp (width: 16, hidden: 16) | none | info_nce"),
        (mlp(16) + D, "attention | mlp (width: 16, hidden: 16) | none | info_nce"),
        (mlp(8), "mean | mlp (width: 16, hidden: 8) | none | info_nce"),
        (mlp(24), "mean | mlp (width: 16, hidden: 24) | none | info_nce"),
        (mlp(16) + 1, "mean | mlp (width: 16, hidden: 16) | none | info_nce (learned: true)"),
    ]


def test_every_combination_of_a_grid(space_file: Callable[..., Path]) -> None:
    text = SPACE.replace("{int: [8, 24]}", "{int: [8, 24], step: 16}").replace(
        "{float: [1.0e-4, 1.0e-2]}", "{choice: [1.0e-3, 1.0e-2]}"
    )
    said = run(str(space_file(text + "search: {sampler: {kind: grid}}\n")))
    rows = rows_of_space(said)
    heads = [("mlp (width: 16, hidden: 8)", mlp(8)), ("mlp (width: 16, hidden: 24)", mlp(24)),
             ("linear (width: 16)", linear(D, 16))]  # fmt: skip
    expected = {
        (number + more + one, f"{pooling} | {head} | none | {loss}")
        for pooling, more in (("mean", 0), ("attention", D))
        for head, number in heads
        for loss, one in (("info_nce", 0), ("info_nce (learned: true)", 1))
    }
    assert len(rows) == 12  # learning rates are no parameters
    assert set(rows) == expected


def test_a_grid_too_large_to_go_through_is_shown_option_by_option(
    space_file: Callable[..., Path],
) -> None:
    numbers = "{int: [2, 101]}"
    said = run(
        str(
            space_file(f"""
search: {{trials: 3, sampler: {{kind: grid}}}}
head: {{kind: linear, width: {{int: [16, 115]}}}}
training: {{seed: {numbers}, pairs_per_epoch: {{int: [64, 163]}}}}
""")
        )
    )
    assert "each option, and each range's ends and middle, in turn" in said
    assert {number for number, _ in rows_of_space(said)} == {
        linear(D, width) for width in (16, 66, 115)
    }


def test_the_names_of_cases_and_a_width_beside_a_space(space_file: Callable[..., Path]) -> None:
    text = """
head: {kind: linear, width: 16}
cases:
  - {case: plain}
  - {case: "wide [b]", head: {kind: linear, width: 32}}
"""
    said = run(str(space_file(text)), "--width", "128")
    assert "Every variant" in said and "Configurations" in said
    table = numbers(said[said.index("space.yaml") :])
    assert table["reference"] == linear(D, 16)
    assert table["wide [b]"] == linear(D, 32)


BAD = {
    "width 0": (["--width", "0"], "--width is 0; it must be a multiple of 128"),
    "width 100": (["--width", "100"], "--width is 100; it must be a multiple of 128"),
    "negative width": (["--width=-128"], "--width is -128"),
    "too wide": (["--width", "128000000"], "to 65536"),
    "no embedding": (["--out", "0"], "--out is 0; it must be from 1"),
    "width and base": (["--width", "128", "--base", "builtin:tiny"], "must be left out"),
    "no base": (["--base", ""], "--base is ''"),
    "no such base": (["--base", "./nowhere"], "--base is './nowhere', which does not exist"),
    "unknown built-in": (["--base", "builtin:no"], "built in is only builtin:tiny"),
    "no such space": (["nowhere.yaml"], "No such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case: str) -> None:
    arguments, words = BAD[case]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and words in line


def test_a_space_with_a_fault(space_file: Callable[..., Path]) -> None:
    file = space_file("pooling: {kind: maen}")
    result = CliRunner().invoke(app, [str(file)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"error: {file}:1: pooling: is 'maen'" in result.stderr


def test_a_narrow_terminal_loses_nothing() -> None:
    said = run("--width", "256", COLUMNS="80", TTY_COMPATIBLE="1", NO_COLOR="1", TERM="dumb")
    assert "…" not in said
    table = said.split("Every variant")[1]
    assert max(map(len, table.splitlines())) <= 80
    assert f"{linear(256, 768):,}" in table


def test_as_a_user_pipes_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "search.params", "--width", "128"],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert numbers(done.stdout)["linear projection only"] == linear(128, 768)
    assert not list(tmp_path.iterdir())
