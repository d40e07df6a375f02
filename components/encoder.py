"""The encoder: base, adapter, pooling and head, assembled from their settings."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from components.base import Base
from components.interface import Adapter, AdapterConfig, Head, HeadConfig, Pooling, PoolingConfig
from components.ragged import States, Statistics, Tokens


class Encoder(nn.Module):
    """Sentences in, unit vectors out.

    The base is not a submodule: its weights belong to no one trial, so parameters, state dict and
    device moves of an encoder are those of what trains. From `assemble` to `close` the adapter is
    in the base; one base serves one encoder at a time.

    Attributes:
        out: dimensions E of the embedding.
    """

    def __init__(
        self, base: Base, adapter: Adapter, pooling: Pooling, head: Head, out: int
    ) -> None:
        super().__init__()
        self.out = out
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
            family_B: int64 in [0, F], index of each sentence's family; F for none of them.

        Returns:
            emb_BE: float32 unit vectors.
        """
        return self.embed(self.base(tokens, family_B), family_B)[0]

    def embed(self, states: States | Statistics, family_B: Tensor) -> tuple[Tensor, Tensor]:
        """Pool and project the hidden states of B sentences, or their cached statistics.

        Returns:
            emb_BE: float32 unit vectors.
            routing_BK: what `Head.penalty` needs.
        """
        pooled_BD = self.pooling(states)
        emb_BE: Tensor = F.normalize(self.head(pooled_BD, family_B), dim=-1)
        return emb_BE, self.head.routing(pooled_BD)

    def close(self) -> None:
        """Give the base back as it was."""
        self.adapter.remove()


def assemble(
    base: Base,
    adapter: AdapterConfig,
    pooling: PoolingConfig,
    head: HeadConfig,
    families: Sequence[str] = (),
) -> Encoder:
    """Build an encoder with fresh weights from torch's global random state.

    Args:
        families: names of the F families of the run's languages.

    Raises:
        ValueError: a setting does not fit this base; the base is left as it was.
    """
    built = adapter.build(base.model, families)
    try:
        encoder = Encoder(
            base,
            built,
            pooling.build(base.width),
            head.build(base.width, families),
            head.out(base.width),
        )
    except BaseException:
        built.remove()
        raise
    return encoder.to(base.device)


def trainable_parameters(module: nn.Module) -> int:
    """Exact number of parameters that train."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def added_parameters(encoder: Encoder, adapter: AdapterConfig) -> int:
    """Count the parameters of an encoder beside its base's, where its adapter merges into these.

    An adapter that routes families cannot be merged.
    """
    parts = (encoder.pooling, encoder.head, *([encoder.adapter] if adapter.routes else []))
    return sum(trainable_parameters(part) for part in parts)
