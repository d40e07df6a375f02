"""LoRA adapters, by PEFT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from components.interface import Adapter
from components.low_rank import LowRankAdapter, LowRankConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Lora(LowRankConfig):
    """Low-rank updates of linear layers inside the base, the same for all sentences.

    Attributes:
        dora: learn the length of each output's weights apart from their direction.
    """

    kind: Literal["lora"] = "lora"
    dora: bool = False

    def build(self, model: PreTrainedModel, families: Sequence[str] = ()) -> Adapter:
        config = self.lora_config(model, self.dora)
        return LoraAdapter(model, {"default": config}, self.boundary(model))


class LoraAdapter(LowRankAdapter):
    """Low-rank updates of linear layers inside the base.

    ``y = W x + (alpha / rank) B A dropout(x)``, with W frozen, A random and B zero at the start,
    so that training begins at the base itself. With DoRA, ``y = m V x / |V|``, where V is the
    updated W and m, one number an output, starts at the lengths of W's rows.

    Sources: Hu et al., 2021, LoRA, section 4.1; Liu et al., 2024, DoRA, equation 5. The layers are
    PEFT's own.
    """
