"""Other models' embeddings: those that the models give by themselves, each computed once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from components.base.locate import locate
from components.other_model import OtherModel
from search.data.corpus import Corpus
from search.data.teachers import Teachers, load_teacher
from search.data.tokens import Sentences

TINY = "builtin:tiny"
COLUMNS: dict[str, list[str | None]] = {
    "de": ["Guten Tag", "das Wasser", None, "Montag"],
    "en": ["good day", None, "the fire", "Monday"],
    "ko": ["안녕하세요", "물", "불", None],
}


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model folder with a layer that transformers knows nothing of."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    modules = [Transformer(locate(TINY)), Pooling(128, "mean"), Dense(128, 24)]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return str(folder)


@pytest.fixture
def teachers() -> Teachers:
    return Teachers(Corpus.of(COLUMNS), "en")


@pytest.fixture
def calls() -> Iterator[list[int]]:
    """How many sentences each call of a transformer has had."""
    sizes: list[int] = []

    def note(module: nn.Module, arguments: Any, output: Any) -> None:
        if isinstance(module, Transformer):
            sizes.append(len(arguments[0]["input_ids"]))

    handle = register_module_forward_hook(note)
    yield sizes
    handle.remove()


def alone(folder: str, texts: list[str]) -> Tensor:
    """Each text by itself through the library."""
    model = SentenceTransformer(folder, device="cpu")
    vectors = [model.encode([text], convert_to_tensor=True)[0] for text in texts]
    return torch.stack([vector / vector.norm() for vector in vectors])


@pytest.mark.parametrize("model", ["dense", "tiny"])
def test_a_row_is_its_pivot_or_else_its_first_language(
    teachers: Teachers, dense: str, model: str
) -> None:
    name, folder = (dense, dense) if model == "dense" else (TINY, locate(TINY))
    rows_RW = teachers.rows(OtherModel(name))
    expected = alone(folder, ["good day", "das Wasser", "the fire", "Monday"])
    assert rows_RW.dtype == torch.float32
    torch.testing.assert_close(rows_RW, expected, rtol=1e-5, atol=1e-5)


def test_sentences_are_those_asked_for_in_their_order(teachers: Teachers, dense: str) -> None:
    chosen = Sentences(np.array([2, 0, 1, 2, 0]), np.array([1, 3, 0, 1, 0]))
    texts = ["물", "Montag", "good day", "물", "Guten Tag"]
    torch.testing.assert_close(
        teachers.sentences(OtherModel(dense), chosen), alone(dense, texts), rtol=1e-5, atol=1e-5
    )


def test_each_sentence_is_encoded_once_by_each_model(
    teachers: Teachers, dense: str, calls: list[int]
) -> None:
    first = Sentences(np.array([2, 0, 1]), np.array([1, 3, 0]))
    before = teachers.sentences(OtherModel(dense), first)
    assert sum(calls) == 3
    more = teachers.sentences(
        OtherModel(dense), Sentences(np.array([0, 1, 1, 2]), np.array([3, 3, 0, 1]))
    )
    assert sum(calls) == 4
    assert torch.equal(more[[3, 0, 2]], before)
    teachers.sentences(OtherModel(TINY), first)
    assert sum(calls) == 7


def test_the_rows_are_encoded_once_by_each_model(
    teachers: Teachers, dense: str, calls: list[int]
) -> None:
    first = teachers.rows(OtherModel(dense))
    assert sum(calls) == 4
    assert torch.equal(teachers.rows(OtherModel(dense)), first)
    assert sum(calls) == 4
    assert teachers.rows(OtherModel(TINY)).shape == (4, 128)
    assert sum(calls) == 8


def test_loading_leaves_the_random_state_as_it_was(teachers: Teachers, dense: str) -> None:
    torch.manual_seed(7)
    SentenceTransformer(dense, device="cpu")
    moved = torch.get_rng_state()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert not torch.equal(moved, state)  # the layer is drawn before it is read
    teachers.rows(OtherModel(dense))
    teachers.sentences(OtherModel(dense), Sentences(np.array([2]), np.array([1])))
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^is 'builtin:huge'; built in is only builtin:tiny$"):
        load_teacher(OtherModel("builtin:huge"))
    with pytest.raises(ValueError, match=r"^is '/nowhere/at/all', which does not exist$"):
        load_teacher(OtherModel("/nowhere/at/all"))
    (tmp_path / "config.json").write_text('{"model_type": "nothing_known"}')
    with pytest.raises(ValueError, match=r"^'.*' cannot be loaded: [^\n]+$"):
        load_teacher(OtherModel(str(tmp_path)))
