"""The command ``isogloss params`` (``python -m search.params``): how many parameters train."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from components.languages import FAMILIES
from search.runs import options
from search.runs.base_shape import HEAD_WIDTH, LARGEST, WIDTH, build_decoder, load_shape
from search.runs.console import exit_on_input_error, make_app, make_console
from search.settings.problems import InputError
from search.settings.wording import setting_text

if TYPE_CHECKING:
    from rich.console import Console
    from transformers import PreTrainedModel

    from components.config import Config
    from search.runs.prepare import Prepared
    from search.settings.trial import TrialConfig

OUT = 768  # dimensions of an embedding

HOW_TO_ADD = (
    "Each number is that of one part. An MLP head replaces the linear projection; what begins "
    "with + is added to a head."
)

app = make_app()


# Label -> the family of the component that is counted, and its settings.
LORA = {"kind": "lora", "rank": 16, "last_layers": 4}
CONFIGURATIONS: dict[str, tuple[str, dict[str, object]]] = {
    "linear projection only": ("head", {"kind": "linear"}),
    "+ attention pooling": ("pooling", {"kind": "attention"}),
    "MLP head (2048)": ("head", {"kind": "mlp", "hidden": 2048}),
    "MLP head (4096)": ("head", {"kind": "mlp", "hidden": 4096}),
    "+ LoRA (r=16, last 4 layers), auto": ("adapter", LORA | {"targets": "auto"}),
    "+ LoRA (r=16, last 4 layers), all-linear": ("adapter", LORA | {"targets": "all-linear"}),
}


EXAMPLES = """
isogloss params --width 4096
isogloss params spaces/combined.yaml
isogloss params --base DIR --out 512
"""


@app.command(epilog=options.examples(EXAMPLES))
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
        if width is not None and (width % HEAD_WIDTH or not HEAD_WIDTH <= width <= LARGEST):
            raise InputError(
                f"--width is {width}; it must be a multiple of {HEAD_WIDTH}, the width of an "
                f"attention head, from {HEAD_WIDTH} to {LARGEST}"
            )
        if width is not None and base is not None:
            raise InputError(
                f"--width is {width} beside --base {base}; it must be left out, for the model has "
                f"its own"
            )
        if not 1 <= out <= LARGEST:
            raise InputError(f"--out is {out}; it must be from 1 to {LARGEST}")
        # First, so that a fault in the space is the only output.
        of_space = None if space is None else _count_space(space)
        if of_space is None or width is not None or base is not None:
            model, shape = build_decoder(width or WIDTH) if base is None else load_shape(base)
            families = tuple(sorted(set(FAMILIES) - {"other"}))
            _say(console, f"{shape}; embedding of {out}; families: {', '.join(families)}\n")
            _say(console, "Configurations", "bold")
            console.print(_count_configurations(model, families, out))
            _say(console, f"\n{HOW_TO_ADD}\n")
            _say(console, "Every variant with its default settings", "bold")
            console.print(_count_variants(model, families, out))
            if of_space is not None:
                console.print()
        if of_space is not None:
            title, table = of_space
            _say(console, title, "bold")
            console.print(table)


def _say(console: Console, line: str, style: str | None = None) -> None:
    console.print(line, style=style, markup=False, soft_wrap=True)


def _kinds(family: str) -> dict[str, type[Config]]:
    """Find the variants of a family of components."""
    from components.config import variants
    from components.interface import AdapterConfig, HeadConfig, PoolingConfig

    classes: dict[str, type[Config]] = {
        "pooling": PoolingConfig, "head": HeadConfig, "adapter": AdapterConfig
    }  # fmt: skip
    return variants(f"components.{family}", classes[family])


def _configure(family: str, settings: dict[str, object], out: int) -> Config:
    """Build a config whose embedding has ``out`` dimensions unless the settings say otherwise."""
    chosen = _kinds(family)[str(settings["kind"])]
    sized = {"width": out} if "width" in chosen.model_fields else {}
    return chosen.model_validate(sized | settings)


def _count(config: Config, model: PreTrainedModel, families: Sequence[str]) -> int | str:
    """Count the parameters that a component trains; or say why it does not fit the model."""
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


def _settings(config: Config, *, exclude_defaults: bool = False) -> str:
    """Format the settings other than the kind as they are written in a space file."""
    plain = config.model_dump(
        exclude={"kind"}, exclude_none=True, exclude_defaults=exclude_defaults
    )
    return setting_text({key: value for key, value in plain.items() if value != {}})[1:-1]


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in columns:
        right = column == "trainable"
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _count_configurations(model: PreTrainedModel, families: Sequence[str], out: int) -> Table:
    table = _table("", "trainable", "")
    for label, (family, settings) in CONFIGURATIONS.items():
        exact = _count(_configure(family, settings, out), model, families)
        table.add_row(label + _auto_targets(settings, model), *_cells(exact))
    return table


def _cells(exact: int | str, remark: str = "") -> tuple[str, Text]:
    """Format a count and its remark; where there is no count, a dash and the reason."""
    if isinstance(exact, str):
        return "-", Text(f"does not fit: {exact}", "yellow")
    return f"{exact:,}", Text(remark, "dim")


def _auto_targets(settings: dict[str, object], model: PreTrainedModel) -> str:
    """Name the layers that an adapter with the targets ``auto`` changes."""
    if settings.get("targets") != "auto":
        return ""
    from components.low_rank import select

    try:
        names = {name.rpartition(".")[2] for name in select(model, "auto")}
    except ValueError:  # none are listed for such a model; the count gives the reason
        return ""
    return f": {', '.join(sorted(names))}"


def _count_variants(model: PreTrainedModel, families: Sequence[str], out: int) -> Table:
    table = _table("part", "kind", "trainable", "settings")
    for family in ("pooling", "head", "adapter"):
        for index, kind in enumerate(_kinds(family)):
            config = _configure(family, {"kind": kind}, out)
            exact = _count(config, model, families)
            part = "" if index else family
            table.add_row(part, kind, *_cells(exact, _settings(config)))
    return table


def _count_space(file: Path) -> tuple[str, Table]:
    """Count every distinct set of components of a space; return a title and a table."""
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


def _values(prepared: Prepared, grid: bool) -> Iterator[dict[str, object]]:
    from search.space.domains import reference
    from search.space.grid import grid as combinations
    from search.space.probes import probes

    yield reference(prepared.space)[0]
    if grid:
        yield from (values for values, _ in combinations(prepared.space, prepared.conflict))
    else:
        yield from (probe.values for probe in probes(prepared.space))


def _parts(trial: TrialConfig) -> tuple[str, ...]:
    """Describe the components of a trial that have parameters."""
    named = []
    for config in (trial.pooling, trial.head, trial.adapter, trial.loss):
        settings = _settings(config, exclude_defaults=True)
        named.append(f"{config.kind} ({settings})" if settings else config.kind)
    return tuple(named)


if __name__ == "__main__":
    app()
