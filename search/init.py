"""The command ``isogloss init`` (``python -m search.init``): a space file to begin with."""

from __future__ import annotations

import io
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ruamel.yaml import YAML

from search.runs import options
from search.runs.console import exit_on_input_error, make_app, make_console
from search.settings.problems import InputError

if TYPE_CHECKING:
    from components.base import Base
    from search.data.health import Health

EXAMPLES = """
isogloss init my.yaml
isogloss init my.yaml --base DIR --train sentences.tsv --languages en,de,gu
"""
OPTIONS = {
    "data.train": "--train",
    "data.validation": "--validation",
    "data.languages": "--languages",
    "data.pivot": "--pivot",
}
# An epoch of more pairs than these is a sample of them, so that ASHA can stop a trial soon.
MOST_PAIRS_PER_EPOCH = 50_000
BATCH_SIZES = (128, 64, 32, 16)
MOST_UNFROZEN = 500_000_000  # parameters of a base all of which may be trained
LEAST_STEPS = 20  # of an epoch, where the batch can be made smaller

app = make_app()


@app.command(epilog=options.examples(EXAMPLES))
def main(
    file: Annotated[Path, typer.Argument(help="Space file to write; it must not exist.")],
    base: options.Model = "builtin:tiny",
    train: options.Train = "builtin:cldr",
    validation: options.Validation = None,
    languages: options.Languages = None,
    pivot: options.Pivot = "en",
) -> None:
    """Write a commented space file for a model and sentences.

    It reads both, so that the languages, the poolings and the sizes in the file fit them.

    Exit status: 0 written; 2 the model, the sentences or the file are at fault; 130 interrupted.
    """
    with exit_on_input_error():
        if file.exists():
            raise InputError(f"FILE is {str(file)!r}, which exists; it must be a new file")
        if not file.resolve().parent.is_dir():
            raise InputError(f"FILE is {str(file)!r}; it must be in a folder that exists")
        if not base or not train:
            raise InputError(f"--{'train' if base else 'base'} is ''; it must name something")
        from components.base import BaseConfig, load_skeleton
        from search.data.settings import DataSettings
        from search.data.split import load_split
        from search.report.health import print_health
        from search.runs.options import as_options
        from search.settings.sections import CacheSettings
        from search.space.source import option_value

        data: dict[str, object] = {"train": option_value(train, "--train"), "pivot": pivot}
        if validation is not None:
            data["validation"] = option_value(validation, "--validation")
        if languages is not None:
            data["languages"] = option_value(languages, "--languages")
        console = make_console()
        with as_options(OPTIONS):
            skeleton = load_skeleton(BaseConfig(model=base))
            settings = DataSettings.model_validate(data)
            health = load_split(settings, skeleton, CacheSettings()).health
        print_health(console, health)
        text = space_text(file, base, data, skeleton, health)
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"FILE is {str(file)!r}: {error.strerror}") from error
        console.print(f"\nspace file: {file}", markup=False, soft_wrap=True)
        console.print(
            f"to search it: isogloss search {shlex.quote(str(file))}", markup=False, soft_wrap=True
        )


def _in_a_line(values: dict[str, object]) -> str:
    """A mapping in YAML's flow style, quoted where it must be."""
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_unicode, yaml.width = True, 1_000_000
    yaml.default_flow_style = True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
    text = io.StringIO()
    yaml.dump(values, text)
    return text.getvalue().strip()


def space_text(file: Path, model: str, data: dict[str, object], base: Base, health: Health) -> str:
    """The space file, commented.

    Args:
        data: what the user says of the sentences.
        base: needs no weights.
        health: of the sentences, tokenised for the base.
    """
    pairs = health.train_pairs
    least = min(BATCH_SIZES[-1], pairs)
    batch = next((n for n in BATCH_SIZES if n * LEAST_STEPS <= pairs), least)
    sampled = pairs > MOST_PAIRS_PER_EPOCH
    last = sorted({max(1, base.depth // 4), max(1, base.depth // 2)})
    first = "last" if base.causal else "cls"
    kind = "decoder" if base.causal else "encoder"
    languages = [one.language for one in health.languages]
    tokens = ", ".join(f"{one.language} {one.tokens:.0f}" for one in health.languages)
    plain = data | {"languages": languages}
    compared = "test sentences" if health.test_rows else "the validation sentences"
    unfrozen = base_rate = ""
    if sum(parameter.numel() for parameter in base.model.parameters()) <= MOST_UNFROZEN:
        unfrozen = "    - {kind: unfrozen, last_layers: all}  # all of the base's own weights\n"
        base_rate = "  base_lr: {float: [3.0e-5, 1.0e-3], log: true}  # of these\n"
    return f"""# A search for {model}: {kind}, {base.depth} layers, width {base.width}.
# Tokens a sentence: {tokens}.
# {pairs:,} pairs to train on, {health.validation_rows:,} rows to validate with.
#
#   isogloss search {shlex.quote(file.name)} --dry-run        see the trials
#   isogloss search {shlex.quote(file.name)} --timeout 1h     search
#
# A value, or a whole component, may be a domain: {{choice: [...]}}, {{int: [low, high]}},
# {{float: [low, high]}}. docs/settings.md lists every setting.

search:
  trials: 24          # how many variants; --trials replaces it
  sampler: {{kind: tpe, seed: 0, startup_trials: 8}}
  # ASHA: of the trials that reach epoch 1 and 3, one in three goes on.
  scheduler: {{kind: asha, max_epochs: 9, reduction: 3, grace_epochs: 1}}
  # The best two are trained anew with three other seeds, and compared on {compared};
  # the average of these runs' weights is a model too.
  finalists: {{count: 2, seeds: 3}}
  # objective: worst_language      # in place of the mean over languages

data: {_in_a_line(plain)}

base: {_in_a_line({"model": model, "max_length": health.max_length})}

pooling:
  choice:
    - {{kind: mean}}
    - {{kind: {first}}}
    - {{kind: attention, heads: {{choice: [1, 4]}}}}

head:
  choice:
    - {{kind: identity}}                  # the pooled vector itself
    - {{kind: linear, width: null}}       # as wide as the base

adapter:
  choice:
    - {{kind: none}}                      # frozen base: by far the cheapest trials
    - kind: lora
      targets: all-linear
      rank: {{int: [4, 64], log: true}}
      last_layers: {{choice: [{", ".join(map(str, last))}, all]}}   # the fewer, the cheaper
{unfrozen}
loss:
  kind: info_nce
  temperature: {{float: [0.03, 0.2], log: true}}

optimizer:
  lr: {{float: [3.0e-4, 1.0e-2], log: true}}
{base_rate}
training:
  batch_size: {batch}
  pairs_per_epoch: {MOST_PAIRS_PER_EPOCH if sampled else "null"}  # null: every pair
"""


if __name__ == "__main__":
    app()
