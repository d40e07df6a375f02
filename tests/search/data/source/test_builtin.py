"""The built-in corpus as a source."""

from __future__ import annotations

from search.data import cldr
from search.data.settings import DataSettings
from search.data.source import read_source


def test_the_splits_have_the_rows_asked_for_and_share_no_sentence() -> None:
    settings = DataSettings(train="builtin:cldr", train_rows=40, validation_rows=20)
    tables = [read_source(settings, split, ["de", "en"]).table for split in ("train", "validation")]
    assert [table.num_rows for table in tables] == [40, 20]
    assert [table.column_names for table in tables] == [["de", "en"]] * 2
    train, validation = (set(table["en"].to_pylist()) for table in tables)
    assert not train & validation
    assert tables[0].to_pydict() == {
        name: list(column) for name, column in cldr.phrases("train", 40, 0, ["de", "en"]).items()
    }


def test_the_full_form_is_the_same() -> None:
    short, full = (
        DataSettings(train=form) for form in ("builtin:cldr", {"kind": "builtin", "name": "cldr"})
    )
    assert short == full
