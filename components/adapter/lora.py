"""LoRA adapters, by PEFT."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional

from components.autograd import PassContext
from components.interface import Adapter
from components.low_rank import LowRankAdapter, LowRankConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "default"  # of PEFT's, for its one set of weights


class Lora(LowRankConfig):
    """Low-rank updates of linear layers inside the base, the same for all sentences.

    Attributes:
        dora: learn the length of each output's weights apart from their direction.
    """

    kind: Literal["lora"] = "lora"
    dora: bool = False

    def build(self, model: PreTrainedModel, families: Sequence[str] = ()) -> Adapter:
        config = self.lora_config(model, self.dora)
        return LoraAdapter(model, config, self.boundary(model))


class LoraAdapter(LowRankAdapter):
    """Low-rank updates of linear layers inside the base.

    ``y = W x + (alpha / rank) B A dropout(x)``, with W frozen, A random and B zero at the start,
    so that training begins at the base itself. With DoRA, ``y = m V x / |V|``, where V is the
    updated W and m, one number an output, starts at the lengths of W's rows.

    Sources: Hu et al., 2021, LoRA, section 4.1; Liu et al., 2024, DoRA, equation 5. The layers are
    PEFT's own; where there is neither dropout nor DoRA, their sums are done in fewer passes.
    """

    def __init__(self, model: PreTrainedModel, config: LoraConfig, boundary: int) -> None:
        super().__init__(model, {NAME: config}, boundary)
        for layer in self.layers:
            plain = type(layer.base_layer) is nn.Linear and not layer.lora_variant
            if plain and not config.lora_dropout:
                layer.forward = types.MethodType(_forward, layer)

    def save_peft(self, folder: Path) -> bool:
        self._peft[0].save_pretrained(str(folder), save_embedding_layers=False)
        return True


def _forward(layer: LoraLayer, x: Tensor) -> Tensor:
    """One linear layer: (..., D) -> (..., E)."""
    linear, down, up = layer.base_layer, layer.lora_A[NAME], layer.lora_B[NAME]
    y_XE: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
        x.reshape(-1, x.shape[-1]),
        linear.weight,
        linear.bias,
        down.weight,
        up.weight,
        layer.scaling[NAME],
    )
    return y_XE.view(*x.shape[:-1], -1)


class _LoraContext(PassContext, Protocol):
    dtypes: tuple[torch.dtype, torch.dtype]
    scale: float


class _LoraLinear(torch.autograd.Function):
    """``y = W x + b + s B A x``, with W and b frozen.

    Each of PEFT's operations reads and writes all outputs once more; here the update is added where
    the outputs are made. The products are done in the dtype of x, whatever that of A and B: on a
    base in bfloat16, float32 would cost a copy of all inputs and outputs and products off the
    tensor cores. A, B and their gradients stay in float32, as under torch's autocast.
    """

    @staticmethod
    def forward(
        ctx: _LoraContext,
        x_XD: Tensor,
        weight_ED: Tensor,
        bias_E: Tensor | None,
        down_RD: Tensor,
        up_ER: Tensor,
        scale: float,
    ) -> Tensor:
        ctx.dtypes = down_RD.dtype, up_ER.dtype
        down_RD, up_ER = down_RD.to(x_XD.dtype), up_ER.to(x_XD.dtype)
        low_XR = x_XD @ down_RD.T
        ctx.save_for_backward(x_XD, weight_ED, down_RD, up_ER, low_XR)
        ctx.scale = scale
        y_XE = functional.linear(x_XD, weight_ED, bias_E)
        return y_XE.addmm_(low_XR, up_ER.T, alpha=scale)

    @staticmethod
    def backward(ctx: _LoraContext, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_XD, weight_ED, down_RD, up_ER, low_XR = ctx.saved_tensors
        down_dtype, up_dtype = ctx.dtypes
        grad_XE = grads[0].to(x_XD.dtype)
        # The other way round, (E, X) by (X, R), this product takes ten times as long on a CPU.
        up_RE = (low_XR.T @ grad_XE).to(up_dtype).mul_(ctx.scale)
        grad_XR = (grad_XE @ up_ER).mul_(ctx.scale)
        grad_RD = (grad_XR.T @ x_XD).to(down_dtype)
        back_XD = None
        if ctx.needs_input_grad[0]:
            back_XD = (grad_XE @ weight_ED).addmm_(grad_XR, down_RD)
        return back_XD, None, None, grad_RD, up_RE.T, None
