"""Every cure in docs/components.md is in spaces/notes.yaml too, trains, and trains nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from components.base import Base, BaseConfig, load
from components.encoder import assemble
from search.data.loading import load_corpora
from search.data.negatives import mine
from search.data.pairs import Pairs
from search.data.settings import DataSettings
from search.data.teachers import Teachers
from search.data.tokens import tokenise
from search.evaluation.retrieval import encode
from search.runtime.ranks import Ranks
from search.settings.trial import TrialConfig
from search.training.loop import train
from search.training.step import Objective, build_loss

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (\d+|loss) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
MODEL: dict[str, Any] = {"model": "builtin:tiny", "max_length": 48, "dtype": "float32"}
EPOCHS = 5


def rows() -> dict[str, dict[str, Any]]:
    """The table: name of an option -> the sections that ask for it."""
    found = {}
    page = (ROOT / "docs" / "components.md").read_text(encoding="utf-8")
    for number, name, cell in ROW.findall(page):
        sections: dict[str, Any] = {}
        for snippet in re.findall(r"`([^`]+)`", cell):
            sections |= YAML(typ="safe").load(snippet)
        found[f"{number} {name.strip()}"] = sections
    return found


OPTIONS = rows()


def config_of(sections: dict[str, Any]) -> TrialConfig:
    return TrialConfig.of(
        {
            "base": MODEL,
            "optimizer": {"lr": 3e-3, "schedule": "constant", "warmup": 0.0},
            "training": {"batch_size": 16, "pairs_per_epoch": 48},
        }
        | sections
    )


@pytest.fixture(scope="module")
def base() -> Base:
    torch.set_num_threads(1)
    return load(BaseConfig(**MODEL))


@pytest.fixture(scope="module")
def data(base: Base) -> tuple[Any, Any, Teachers]:
    settings = DataSettings.model_validate(
        {
            "train": "builtin:cldr",
            "languages": ["en", "de", "gu"],
            "train_rows": 24,
            "validation_rows": 8,
        }
    )
    texts = load_corpora(settings)
    train, validation = (tokenise(text, "en", base.tokenize) for text in texts)
    return train, validation, Teachers(texts[0], "en")


def test_the_table_has_the_fifteen_and_the_five() -> None:
    numbers = [name.split()[0] for name in OPTIONS]
    assert numbers == [*map(str, range(1, 16)), *["loss"] * 5]


def test_the_space_of_the_notes_has_the_same_options() -> None:
    space = YAML(typ="safe").load((ROOT / "spaces" / "notes.yaml").read_text(encoding="utf-8"))
    cases = [{k: v for k, v in case.items() if k != "case"} for case in space["cases"]]
    assert len(cases) == len(OPTIONS)
    for case, sections in zip(cases, OPTIONS.values(), strict=True):
        kinds = {section: settings["kind"] for section, settings in case.items()}
        assert kinds == {section: settings["kind"] for section, settings in sections.items()}


@pytest.mark.parametrize("name", OPTIONS)
def test_its_loss_falls(name: str, base: Base, data: tuple[Any, Any, Teachers]) -> None:
    train_corpus, validation, teachers = data
    reports = train(
        config_of(OPTIONS[name]),
        base,
        train_corpus,
        validation,
        max_epochs=EPOCHS,
        teachers=teachers,
    )
    losses = [report.loss for report in reports]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_reach_exactly_what_should_train(
    name: str, base: Base, data: tuple[Any, Any, Teachers]
) -> None:
    corpus, _, teachers = data
    config = config_of(OPTIONS[name])
    frozen = {key: value.clone() for key, value in base.model.state_dict().items()}
    torch.manual_seed(0)
    encoder = assemble(base, config.adapter, config.pooling, config.head, corpus.families)
    taught = {teacher.name: teachers.rows(teacher) for teacher in config.teachers}
    widths = {teacher: rows.shape[1] for teacher, rows in taught.items()}
    loss = build_loss(config, base.width, widths)
    objective = Objective(encoder, loss, corpus, Ranks(), teachers=taught)
    pairs = Pairs(corpus, 48, 5.0, 0)
    negatives = None
    mining = config.negatives.mining()
    if mining is not None:
        negatives = mine(
            mining,
            pairs,
            corpus,
            range(1),
            lambda sentences: encode(encoder, corpus, sentences, Ranks()),
            0,
        )
    # Low-rank updates begin at zero: their one half waits for the other to have left it.
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    try:
        reached = set()
        for batch in pairs.epoch(0, 16, negatives):
            optimizer.zero_grad()
            objective.backward(batch)
            for key, parameter in objective.named_parameters():
                assert parameter.grad is not None, key
                assert parameter.grad.isfinite().all(), key
                if parameter.grad.any():
                    reached.add(key)
            optimizer.step()
        assert reached == {key for key, _ in objective.named_parameters()}
        mine_ = {id(parameter) for parameter in objective.parameters()}
        for key, parameter in base.model.named_parameters():
            if id(parameter) not in mine_:
                assert not parameter.requires_grad, key
                assert parameter.grad is None, key
    finally:
        encoder.close()
    for key, value in base.model.state_dict().items():
        assert torch.equal(value, frozen[key]), key
