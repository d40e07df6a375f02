"""TF32 is for GPUs and for training, not for comparing embeddings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from search.runtime.precision import exact_products, use_tensor_cores

matmul = torch.backends.cuda.matmul
ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    yield
    matmul.allow_tf32 = before


def test_only_a_gpu_changes_anything() -> None:
    x = torch.randn(64, 64)
    exact = x @ x
    use_tensor_cores("cpu")
    assert not matmul.allow_tf32
    use_tensor_cores(torch.device("cuda", 0))
    assert matmul.allow_tf32
    assert torch.equal(x @ x, exact)  # on the CPU, never


def test_comparisons_are_exact_and_what_follows_is_as_before() -> None:
    use_tensor_cores("cuda")
    with exact_products():
        assert not matmul.allow_tf32
    assert matmul.allow_tf32
    fault = exact_products()(lambda: dict[str, int]()["x"])
    with pytest.raises(KeyError):
        fault()
    assert matmul.allow_tf32


@ON_A_GPU
def test_products_on_a_gpu() -> None:
    x = torch.randn(512, 512, device="cuda")
    exact = (x.double() @ x.double()).float()
    use_tensor_cores("cuda")
    rounded = (x @ x - exact).abs().max()
    with exact_products():
        assert (x @ x - exact).abs().max() < rounded / 10
