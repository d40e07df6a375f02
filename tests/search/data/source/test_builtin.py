"""The built-in corpus as a source."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from search.data import cldr
from search.data.source import read_source
from search.runtime.store import Store
from search.settings.problems import InputError
from tests.search.conftest import data_settings


def test_the_splits_have_the_rows_asked_for_and_share_no_sentence() -> None:
    settings = data_settings(train="builtin:cldr", train_rows=40, validation_rows=20)
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
        data_settings(train=form) for form in ("builtin:cldr", {"kind": "builtin", "name": "cldr"})
    )
    assert short == full


def test_what_was_rendered_once_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, 1e9)
    languages = ["en", "gu"]
    settings = data_settings(train="builtin:cldr", train_rows=30, validation_rows=10)

    def read(**changed: object) -> pa.Table:
        asked = settings.model_copy(update=changed)
        return read_source(asked, "train", languages, store).table

    want = read_source(settings, "train", languages).table
    assert read().equals(want)
    (entry,) = store.entries()
    assert entry.what == "builtin:cldr, 30 rows of train"
    # Another table in its place shows what is read.
    data = entry.file.read_bytes()
    other = read(train_rows=29)
    (last,) = (one.file for one in store.entries() if one.file != entry.file)
    entry.file.unlink()
    last.replace(entry.file)
    assert read().equals(other)
    entry.file.unlink()
    entry.file.write_bytes(data[:-40])  # damaged
    assert read().equals(want)
    assert not read(seed=1).equals(want)
    assert len(store.entries()) == 2


def test_a_fault_is_told_with_a_store_too(tmp_path: Path) -> None:
    settings = data_settings(train="builtin:cldr")
    with pytest.raises(InputError, match="xx"):
        read_source(settings, "train", ["en", "xx"], Store(tmp_path, 1e9))
    assert Store(tmp_path, 1e9).entries() == []
