"""Other models run no code and read no pickle without consent beside their name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import ray
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from typer.testing import CliRunner

from components.base.locate import locate
from components.other_model import OtherModel
from search.data.teachers import load_teacher
from search.search import app

PLANTED = """
from pathlib import Path
from sentence_transformers.sentence_transformer.modules import Pooling

Path({marker!r}).mkdir(exist_ok=True)


class Planted(Pooling):
    pass
"""
SPACE = """
data: {{train: builtin:cldr, languages: [en, de], train_rows: 80, validation_rows: 5}}
base: {{model: builtin:tiny}}
{section}
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What the planted code makes."""
    return tmp_path / "marker"


@pytest.fixture
def folder(tmp_path: Path, marker: Path) -> Path:
    """A model folder in which one module is of a file of the folder."""
    folder = tmp_path / "model"
    modules = [Transformer(locate("builtin:tiny")), Pooling(128, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    (folder / "isogloss_modules.py").write_text(PLANTED.format(marker=str(marker)))
    listed = json.loads((folder / "modules.json").read_text())
    listed[1]["type"] = "isogloss_modules.Planted"
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def said(tmp_path: Path, section: str) -> tuple[int, str]:
    """Exit status of a dry run and its faults."""
    (tmp_path / "space.yaml").write_text(SPACE.format(section=section))
    result = CliRunner().invoke(app, [str(tmp_path / "space.yaml"), "--dry-run"])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stderr


SECTIONS = {
    "teacher": "loss: {{kind: distillation, teacher: {folder}{consent}}}",
    "miner": "negatives: {{kind: mined, encoder: {folder}{consent}}}",
}


@pytest.mark.parametrize("role", SECTIONS)
def test_code_of_a_folder_runs_with_consent_only(
    role: str, folder: Path, marker: Path, tmp_path: Path
) -> None:
    status, text = said(tmp_path, SECTIONS[role].format(folder=folder, consent=""))
    assert (status, marker.exists()) == (2, False)
    assert len(text.strip().splitlines()) == 1
    assert "which runs code of its own (isogloss_modules.Planted)" in text
    assert "set trust_remote_code: true beside it" in text
    consent = ", trust_remote_code: true"
    status, text = said(tmp_path, SECTIONS[role].format(folder=folder, consent=consent))
    assert (status, marker.exists()) == (0, True), text


def test_a_file_that_no_module_is_of_is_not_run(folder: Path, marker: Path) -> None:
    listed = json.loads((folder / "modules.json").read_text())
    listed[1]["type"] = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
    (folder / "modules.json").write_text(json.dumps(listed))
    load_teacher(OtherModel(str(folder)))
    assert not marker.exists()


def test_code_that_config_json_names_is_not_run(folder: Path, marker: Path) -> None:
    (folder / "modules.json").unlink()
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "planted", "auto_map": {"AutoConfig": "isogloss_modules.Planted"}}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"^'.*' cannot be loaded: [^\n]+$"):
        load_teacher(OtherModel(str(folder)))
    assert not marker.exists()


@pytest.mark.parametrize("revision", [None, "main", "abc123"])
def test_code_from_the_hub_needs_a_full_commit(revision: str | None) -> None:
    with pytest.raises(ValueError, match="must be a full commit hash"):
        load_teacher(OtherModel("some/model", revision=revision, trust_remote_code=True))


def test_code_of_another_repository_is_refused(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings["auto_map"] = {"AutoModel": "other/place--code.Model"}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"code of another repository \('other/place', in config"):
        load_teacher(OtherModel(str(folder), trust_remote_code=True))


@pytest.mark.parametrize("role", SECTIONS)
def test_a_pickle_is_read_with_consent_only(
    role: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    folder = tmp_path / "model"
    modules = [Transformer(locate("builtin:tiny")), Pooling(128, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    recwarn.clear()
    status, text = said(tmp_path, SECTIONS[role].format(folder=folder, consent=""))
    assert status == 2
    assert len(text.strip().splitlines()) == 1
    assert "whose weights are in a pickle (pytorch_model.bin)" in text
    assert "set allow_pickle: true beside it" in text
    consent = ", allow_pickle: true"
    status, text = said(tmp_path, SECTIONS[role].format(folder=folder, consent=consent))
    assert status == 0, text


def test_a_file_that_is_no_pickle_is_one_sentence_after_no_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    folder = tmp_path / "model"
    modules = [Transformer(locate("builtin:tiny")), Pooling(128, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04not a pickle")
    recwarn.clear()
    with pytest.raises(ValueError, match=r"^'.*' cannot be loaded: [^\n]+$"):
        load_teacher(OtherModel(str(folder), allow_pickle=True))
    assert not [w for w in recwarn if "pickle" in str(w.message)]


def test_consent_without_a_model_that_it_is_of_is_refused(tmp_path: Path) -> None:
    status, text = said(tmp_path, "negatives: {kind: mined, trust_remote_code: true}")
    assert status == 2
    assert "negatives.trust_remote_code: is given, but no encoder that it could be of" in text
