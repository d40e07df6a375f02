"""LoRA adapters of each language family."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.nn import functional

from components.base.routing import routes
from components.errors import SettingError
from components.interface import Adapter
from components.low_rank import LowRankAdapter, LowRankConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Names of sets of weights that are no family's own.
SHARED = "shared"
BOTH = "shared-and-own"


class FamilyLora(LowRankConfig):
    """Low-rank updates of linear layers inside the base, of each language family its own.

    Attributes:
        shared: a further update, of the same rank, that all sentences share.
    """

    routes = True
    kind: Literal["family_lora"] = "family_lora"
    shared: bool = False

    def build(self, model: PreTrainedModel, families: Sequence[str] = ()) -> Adapter:
        if self.shared and SHARED in families:
            raise SettingError(
                "adapter.shared",
                f"is true, and a family is named {SHARED!r}, as the folder of what all share is",
                "be false, or the family have another name (data.families)",
            )
        config = self.lora_config(model)
        return FamilyLoraAdapter(model, config, self.boundary(model), families, self.shared)


class FamilyLoraAdapter(LowRankAdapter):
    """Low-rank updates of linear layers inside the base, of each language family its own.

    For a token of family f, ``y = W x + s B_f A_f dropout(x)``, and, where there is a shared
    update, ``+ s B A dropout(x)``; a token of no known family has only what is shared. A batch may
    mix families: each layer picks the tokens of each family out of the packed ones.

    The layers are PEFT's own, and so are the folders that are saved; only the way through them
    is not, since PEFT refuses mixed batches while training.

    Source: Hu et al., 2021, LoRA, section 4.1; Pfeiffer et al., 2020, MAD-X, section 3 (adapters
    of single languages).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: LoraConfig,
        boundary: int,
        families: Sequence[str],
        shared: bool,
    ) -> None:
        self.families = tuple(families)
        self.shared = shared
        # The shared set comes first: it is the one that PEFT's own way through a layer would take.
        names = [*([SHARED] if shared else []), *map(_set, families)]
        super().__init__(model, dict.fromkeys(names, config), boundary)
        for layer in self.layers:
            layer.forward = types.MethodType(self._forward, layer)

    def _forward(self, layer: LoraLayer, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        """One linear layer: (..., D) -> (..., E), its tokens routed by family."""
        base: Tensor = layer.base_layer(x, *args, **kwargs)
        out_XE = base.reshape(-1, base.shape[-1])
        x_XD = x.reshape(-1, x.shape[-1])
        if self.shared:
            out_XE = out_XE + self._update(layer, SHARED, x_XD)
        # Every family's weights take part, with no token if need be: each gets a gradient.
        places = [routes().places(index) for index in range(len(self.families))]
        updates = [
            self._update(layer, _set(family), x_XD[place_Y])
            for family, place_Y in zip(self.families, places, strict=True)
        ]
        out_XE = out_XE.index_add(0, torch.cat(places), torch.cat(updates))
        out: Tensor = out_XE.view(base.shape)
        return out

    @staticmethod
    def _update(layer: LoraLayer, name: str, x_YD: Tensor) -> Tensor:
        # In the dtype of x, as in `lora`: the weights and their gradients stay in float32.
        down_RD, up_ER = (half[name].weight.to(x_YD.dtype) for half in (layer.lora_A, layer.lora_B))
        low_YR = functional.linear(layer.lora_dropout[name](x_YD), down_RD)
        return functional.linear(low_YR * layer.scaling[name], up_ER)

    def merge(self) -> None:
        # Nothing can be folded into weights that all families share.
        self._peft[0].get_base_model().to(torch.float32)
        self.remove()

    def folders(self, folder: Path) -> None:
        peft = self._peft[0]
        for settings in peft.peft_config.values():
            # A name on the hub says something elsewhere; a path of this machine does not.
            if Path(settings.base_model_name_or_path or "").exists():
                settings.base_model_name_or_path = ""
        for family in self.families:
            name = _set(family)
            if self.shared:
                peft.add_weighted_adapter([SHARED, name], [1.0, 1.0], BOTH, "cat")
                # The scale is in these weights; only without rslora does PEFT apply none on top.
                peft.peft_config[BOTH].use_rslora = False
                self._save(BOTH, folder / family)
                peft.delete_adapter(BOTH)
            else:
                self._save(name, folder / family)
        if self.shared:
            self._save(SHARED, folder / SHARED)
        # PEFT writes a model card with nothing but questions in it.
        (folder / "README.md").unlink(missing_ok=True)

    def _save(self, name: str, folder: Path) -> None:
        self._peft[0].save_pretrained(
            str(folder.parent), selected_adapters=[name], save_embedding_layers=False
        )
        (folder.parent / name).rename(folder)


def _set(family: str) -> str:
    """PEFT's name of a family's weights: as it is, "type" or "default" has a meaning there."""
    return f"family-{family}"
