"""The encoder: base, adapter, pooling and head, assembled from their settings."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from components.base import Base
from components.interface import Adapter, AdapterConfig, Head, HeadConfig, Pooling, PoolingConfig
from components.ragged import Tokens


class Encoder(nn.Module):
    """Sentences in, unit vectors out.

    The base is not a submodule: its weights belong to no one trial, so parameters, state dict and
    device moves of an encoder are those of what trains. From `assemble` to `close` the adapter is
    in the base; one base serves one encoder at a time.
    """

    def __init__(self, base: Base, adapter: Adapter, pooling: Pooling, head: Head) -> None:
        super().__init__()
        self._base = [base]
        self.adapter = adapter
        self.pooling = pooling
        self.head = head

    @property
    def base(self) -> Base:
        """The frozen base."""
        return self._base[0]

    def forward(self, tokens: Tokens, family_B: Tensor) -> Tensor:
        """Encode.

        Args:
            tokens: T ids of B sentences.
            family_B: int64 index into ``components.languages.FAMILIES`` of each sentence.

        Returns:
            emb_BE: float32 unit vectors.
        """
        pooled_BD = self.pooling(self.base(tokens))
        emb_BE: Tensor = F.normalize(self.head(pooled_BD, family_B), dim=-1)
        return emb_BE

    def close(self) -> None:
        """Give the base back as it was."""
        self.adapter.remove()


def assemble(
    base: Base, adapter: AdapterConfig, pooling: PoolingConfig, head: HeadConfig
) -> Encoder:
    """Build an encoder with fresh weights from torch's global random state.

    Raises:
        ValueError: a setting does not fit this base; the base is left as it was.
    """
    built = adapter.build(base.model)
    try:
        encoder = Encoder(base, built, pooling.build(base.width), head.build(base.width))
    except BaseException:
        built.remove()
        raise
    return encoder.to(base.device)


def trainable_parameters(module: nn.Module) -> int:
    """Exact number of parameters that train."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
