"""Code that a base brings runs with consent only, and only code that is pinned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.base import BaseConfig, load, load_skeleton
from tests.components.base.tiny_models import CONFIGS, write_folder

PLANTED = """
from pathlib import Path
from transformers import BertConfig, BertModel

Path({marker!r}).mkdir(exist_ok=True)


class PlantedConfig(BertConfig):
    model_type = "planted"


class PlantedModel(BertModel):
    config_class = PlantedConfig
"""


def brings(folder: Path, marker: Path, where: str = "") -> None:
    """Make a BERT in a folder one whose classes are in a file beside it."""
    write_folder(folder, CONFIGS["bert"])
    (folder / "planted.py").write_text(PLANTED.format(marker=str(marker)))
    settings = json.loads((folder / "config.json").read_text())
    settings["model_type"] = "planted"
    settings["auto_map"] = {
        "AutoConfig": f"{where}planted.PlantedConfig",
        "AutoModel": f"{where}planted.PlantedModel",
    }
    (folder / "config.json").write_text(json.dumps(settings))


def test_a_local_folder_runs_its_code_with_consent_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    folder, marker = tmp_path / "model", tmp_path / "marker"
    brings(folder, marker)
    for function in (load_skeleton, load):
        with pytest.raises(ValueError, match=r"^base\.model .* cannot be loaded") as caught:
            function(BaseConfig(model=str(folder)))
        assert "\n" not in str(caught.value)
    assert not marker.exists()
    consenting = BaseConfig(model=str(folder), trust_remote_code=True)
    assert load_skeleton(consenting).width == load(consenting).width == 32
    assert marker.exists()


@pytest.mark.parametrize("revision", [None, "main", "a" * 39, "A" * 40])
def test_code_from_the_hub_needs_a_full_commit(revision: str | None) -> None:
    config = BaseConfig(model="some/model", revision=revision, trust_remote_code=True)
    for function in (load_skeleton, load):
        with pytest.raises(ValueError, match=r"^base\.revision is .* a full commit hash"):
            function(config)


def test_code_of_another_repository_is_refused(tmp_path: Path) -> None:
    brings(tmp_path / "model", tmp_path / "marker", "other/place--")
    config = BaseConfig(model=str(tmp_path / "model"), trust_remote_code=True)
    with pytest.raises(ValueError, match=r"code of another repository \('other/place', in config"):
        load_skeleton(config)
