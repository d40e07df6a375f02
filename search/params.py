"""The command: ``python -m search.params``: how many parameters train, counted on built modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from search.runs.console import exit_on_input_error, make_console
from search.settings.problems import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from transformers import PreTrainedModel

    from components.interface import Config
    from search.runs.prepare import Prepared
    from search.settings.trial import TrialConfig

# The shape of Qwen3-8B; a decoder of another width has its proportions.
WIDTH, OUT = 4096, 768
LAYERS, OF_A_HEAD, OF_KEYS, INNER = 36, 128, 4, 3
LARGEST = 65_536

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Claim:
    """A row of the table of parameters in the notes that this project began with (4096 -> 768).

    Attributes:
        said: the figure, as it stands there.
        low, high: the same in units.
        unit: parameters; the figure is rounded to it.
        settings: of the component that the figure is for, one row each.
    """

    what: str
    said: str
    low: int
    high: int
    unit: int
    family: str
    settings: tuple[dict[str, Any], ...]

    def holds(self, exact: int) -> bool:
        """Whether the exact number, rounded as the figure is, is the figure or in its range."""
        return self.low <= round(exact / self.unit) <= self.high


LORA = {"kind": "lora", "rank": 16, "last_layers": 4}
CLAIMS = (
    Claim("linear projection only", "~3M", 3, 3, 10**6, "head", ({"kind": "linear"},)),
    Claim("+ attention pooling", "+4K", 4, 4, 10**3, "pooling", ({"kind": "attention"},)),
    *(
        Claim(f"+ MLP head ({n})", said, m, m, 10**6, "head", ({"kind": "mlp", "hidden": n},))
        for n, said, m in ((2048, "~18M", 18), (4096, "~35M", 35))
    ),
    Claim(
        "+ LoRA (r=16, last 4 layers)", "+10-20M", 10, 20, 10**6, "adapter",
        (LORA | {"targets": "auto"}, LORA | {"targets": "all-linear"}),
    ),
)  # fmt: skip


@app.command()
def main(
    space: Annotated[
        Path | None,
        typer.Argument(help="Space file: its configs are counted too; alone, only they."),
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Dimensions of the base.", show_default=str(WIDTH))
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Folder or hub name of a model.", show_default="a decoder of --width"),
    ] = None,
    out: Annotated[int, typer.Option(help="Dimensions of the embedding.")] = OUT,
) -> None:
    """Count exactly the parameters that train, part by part.

    Exit status: 0 counted; 2 the settings, the space or the model are at fault; 130 interrupted.
    """
    with exit_on_input_error():
        console = make_console()
        if width is not None and (width % OF_A_HEAD or not OF_A_HEAD <= width <= LARGEST):
            raise InputError(
                f"--width is {width}; it must be a multiple of {OF_A_HEAD}, the width of an "
                f"attention head, from {OF_A_HEAD} to {LARGEST}"
            )
        if width is not None and base is not None:
            raise InputError(
                f"--width is {width} beside --base {base}; it must be left out, for the model has "
                f"its own"
            )
        if not 1 <= out <= LARGEST:
            raise InputError(f"--out is {out}; it must be from 1 to {LARGEST}")
        # First, for a fault in the space is to be all that is said.
        of_space = None if space is None else _of_space(space)
        if of_space is None or width is not None or base is not None:
            model, shape = _decoder(width or WIDTH) if base is None else _skeleton(base)
            families = _families()
            _say(console, f"{shape}; embedding of {out}; families: {', '.join(families)}\n")
            _say(console, "The configurations of the project's notes", "bold")
            same = model.config.hidden_size == WIDTH and out == OUT
            console.print(_claims(model, families, out, compare=same))
            _say(console, f"\n{_claims_remark(same)}\n")
            _say(console, "Every variant, as it is by default", "bold")
            console.print(_variants(model, families, out))
            if of_space is not None:
                console.print()
        if of_space is not None:
            title, table = of_space
            _say(console, title, "bold")
            console.print(table)


def _say(console: Console, line: str, style: str | None = None) -> None:
    console.print(line, style=style, markup=False, soft_wrap=True)


def _decoder(width: int) -> tuple[PreTrainedModel, str]:
    """A decoder without weights, and its shape in words."""
    # Imported here: they take seconds, and --help and a misspelt option need none of them.
    import torch
    from transformers import AutoModel, Qwen3Config

    heads = width // OF_A_HEAD
    # A key-value head serves four heads; where they cannot be shared out so, a few more.
    keys = next(n for n in range(max(1, heads // OF_KEYS), 0, -1) if heads % n == 0)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModel.from_config(
            Qwen3Config(
                hidden_size=width,
                num_hidden_layers=LAYERS,
                num_attention_heads=heads,
                num_key_value_heads=keys,
                head_dim=OF_A_HEAD,
                intermediate_size=INNER * width,
            )
        )
    model.requires_grad_(False)
    like = "Qwen3-8B's shape" if width == WIDTH else "Qwen3-8B's proportions"
    return model, (
        f"a decoder of {like}: width {width}, {LAYERS} layers, {heads} query and {keys} "
        f"key-value heads of {OF_A_HEAD}, inner width {INNER * width}"
    )


def _skeleton(base: str) -> tuple[PreTrainedModel, str]:
    if not base:
        raise InputError("--base is ''; it must name something")
    from components.base import BaseConfig, load_skeleton

    try:
        model = load_skeleton(BaseConfig(model=base)).model
    except ValueError as error:
        raise InputError(str(error).replace("base.model", "--base", 1)) from error
    config = model.config
    return model, f"{base}: width {config.hidden_size}, {config.num_hidden_layers} layers"


def _families() -> tuple[str, ...]:
    from components.languages import FAMILIES

    return tuple(sorted(set(FAMILIES) - {"other"}))


def _kinds(family: str) -> dict[str, type[Config]]:
    """The variants of a family of components."""
    from components.interface import AdapterConfig, HeadConfig, PoolingConfig, variants

    classes: dict[str, type[Config]] = {
        "pooling": PoolingConfig, "head": HeadConfig, "adapter": AdapterConfig
    }  # fmt: skip
    return variants(f"components.{family}", classes[family])


def _configure(family: str, settings: dict[str, Any], out: int) -> Config:
    """A config; where nothing else is said, its embedding has ``out`` dimensions."""
    chosen = _kinds(family)[settings["kind"]]
    sized = {"width": out} if "width" in chosen.model_fields else {}
    return chosen(**(sized | settings))


def _count(config: Config, model: PreTrainedModel, families: Sequence[str]) -> int | str:
    """Exact number of parameters that a component trains, or why it does not fit."""
    import torch

    from components.encoder import trainable_parameters
    from components.interface import AdapterConfig, HeadConfig, PoolingConfig

    width = model.config.hidden_size
    try:
        with torch.device("meta"):
            if isinstance(config, AdapterConfig):
                adapter = config.build(model, families)
                try:
                    return trainable_parameters(adapter)
                finally:
                    adapter.remove()
            if isinstance(config, HeadConfig):
                return trainable_parameters(config.build(width, families))
            assert isinstance(config, PoolingConfig)
            return trainable_parameters(config.build(width))
    except ValueError as error:
        return str(error)


def _settings(config: Config, **dump: Any) -> str:
    """Settings other than the kind, as they are written in a space file."""
    plain = config.model_dump(exclude={"kind"}, exclude_none=True, **dump)
    return _written({key: value for key, value in plain.items() if value != {}})[1:-1]


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in columns:
        number = column in ("trainable", "the notes say")
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _claims(model: PreTrainedModel, families: Sequence[str], out: int, *, compare: bool) -> Table:
    """The notes' configurations, their figures where these are for such a base, and the numbers."""
    table = _table("", "trainable", *(("the notes say",) if compare else ()), "")
    for claim in CLAIMS:
        for settings in claim.settings:
            exact = _count(_configure(claim.family, settings, out), model, families)
            number, verdict = _cells(exact)
            if compare and isinstance(exact, int):
                agrees = claim.holds(exact)
                verdict = Text("agrees", "green") if agrees else Text("differs", "bold red")
            said = (claim.said,) if compare else ()
            table.add_row(claim.what + _targets(settings, model), number, *said, verdict)
    return table


def _cells(exact: int | str, beside: str = "") -> tuple[str, Text]:
    """A number and what stands beside it: where there is none, the reason."""
    if isinstance(exact, str):
        return "-", Text(f"does not fit: {exact}", "yellow")
    return f"{exact:,}", Text(beside, "dim")


def _targets(settings: dict[str, Any], model: PreTrainedModel) -> str:
    """Which layers an adapter's targets are."""
    if settings.get("targets") != "auto":
        return f", {settings['targets']}" if "targets" in settings else ""
    from components.low_rank import select

    try:
        names = {name.rpartition(".")[2] for name in select(model, "auto")}
    except ValueError:  # none are listed for such a model, as the count says too
        return ", auto"
    return f", auto: {', '.join(sorted(names))}"


def _claims_remark(compare: bool) -> str:
    parts = (
        "Each number is that of the part alone: an MLP head stands in place of the linear "
        "projection, attention and LoRA come on top."
    )
    if not compare:
        return f"{parts} The notes' own figures are for {WIDTH} -> {OUT} and are left out here."
    return (
        f"{parts} A figure agrees if the number, rounded to the figure's last digit, is the same "
        f"or lies in its range; else it differs."
    )


def _variants(model: PreTrainedModel, families: Sequence[str], out: int) -> Table:
    table = _table("part", "kind", "trainable", "settings")
    for family in ("pooling", "head", "adapter"):
        for index, kind in enumerate(_kinds(family)):
            config = _configure(family, {"kind": kind}, out)
            exact = _count(config, model, families)
            part = "" if index else family
            table.add_row(part, kind, *_cells(exact, _settings(config)))
    return table


def _of_space(file: Path) -> tuple[str, Table]:
    """Every distinct set of parts that a space can take: what they are, and their numbers."""
    from search.runs.prepare import prepare
    from search.settings.trial import TrialConfig
    from search.space.grid import MOST_POINTS, size

    prepared = prepare(file)
    sampler = prepared.config.search.sampler
    # Of a larger grid, a search trains only as many as search.trials says.
    grid = sampler.is_exhaustive and size(prepared.space) <= MOST_POINTS
    how = "every combination" if grid else "each option, and each range's ends and middle, in turn"
    title = f"{file} on {prepared.config.base.model}: the reference, then {how}"
    table = _table("", "trainable", "pooling", "head", "adapter", "loss")
    seen: set[tuple[str, ...]] = set()
    for values in _values(prepared, grid):
        trial = TrialConfig.of(values)
        parts = (trial.case or "", *_parts(trial))
        if parts not in seen:
            mark = parts[0] if seen else "reference"
            seen.add(parts)
            try:
                exact = prepared.trainable_parameters(values)
            except ValueError as error:  # each part fits, and some two together do not
                raise InputError(f"{file}: {error}") from error
            table.add_row(Text(mark), f"{exact:,}", *map(Text, parts[1:]))
    return title, table


def _values(prepared: Prepared, grid: bool) -> Iterator[dict[str, Any]]:
    from search.space.domains import probes, reference
    from search.space.grid import grid as combinations

    yield reference(prepared.space)[0]
    if grid:
        yield from (values for values, _ in combinations(prepared.space, prepared.conflict))
    else:
        yield from (probe.values for probe in probes(prepared.space))


def _parts(trial: TrialConfig) -> tuple[str, ...]:
    """What of a trial has parameters, in a few words each."""
    named = []
    for config in (trial.pooling, trial.head, trial.adapter, trial.loss):
        settings = _settings(config, exclude_defaults=True)
        named.append(f"{config.kind} ({settings})" if settings else config.kind)
    return tuple(named)


if __name__ == "__main__":
    app()
