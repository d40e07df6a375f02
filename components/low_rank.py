"""What the low-rank adapters share: which layers they stand in, and PEFT's way in and out."""

from __future__ import annotations

import math
import re
import warnings
from abc import ABC
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from pydantic import Field
from torch import Tensor

from components.averaging import mean_of
from components.base.structure import first_of_last, layers_of, linear_names
from components.errors import SettingError
from components.interface import Adapter, AdapterConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Positive = Annotated[int, Field(ge=1)]


# Names of the layers that make queries and values, where PEFT lists none for an architecture: those
# that Hu et al., 2021, LoRA, section 4.2, adapt.
QUERY_AND_VALUE = (
    ("query", "value"),
    ("q_proj", "v_proj"),
    ("q", "v"),
    ("q_lin", "v_lin"),
    ("query_proj", "value_proj"),
    ("query_key_value",),
    ("qkv_proj",),
    ("Wqkv",),
)


class LowRankConfig(AdapterConfig, ABC):
    """Settings of low-rank updates of linear layers inside the base.

    Attributes:
        targets: names of linear layers (``[q_proj, v_proj]``); ``auto`` for those that PEFT lists
            for the architecture (mostly query and value) or, where it lists none, those of the
            usual names of query and value; ``all-linear`` for every one.
        rank: of each update; parameters grow with it.
        dropout: share of an update's inputs that is zeroed in training.
        last_layers: how many layers, counted from the top, are adapted; ``all`` for every one.
        rslora: scale by alpha / sqrt(rank), so that a high rank keeps its step (Kalajdzievski,
            2023, rank-stabilised LoRA).
    """

    targets: Literal["auto", "all-linear"] | Annotated[list[str], Field(min_length=1)] = "auto"
    rank: int = Field(default=16, ge=1, le=4096)
    alpha: float | None = Field(
        default=None, gt=0, description="the update is scaled by alpha / rank; None: twice the rank"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)
    last_layers: Positive | Literal["all"] = "all"
    rslora: bool = False

    def boundary(self, model: PreTrainedModel) -> int:
        """Index of the first layer that is adapted.

        Raises:
            ValueError: the model has fewer layers, or its layers share their weights, so that an
                update of one is an update of all.
        """
        return first_of_last(model, self.last_layers)

    def lora_config(self, model: PreTrainedModel, dora: bool = False) -> LoraConfig:
        """PEFT's settings.

        Raises:
            ValueError: a target matches no linear layer, or none of the last layers.
        """
        boundary = self.boundary(model)
        path, layers = layers_of(model)
        # Full names, not a pattern: PEFT refuses layers_to_transform beside all-linear, and a name
        # that matches nothing would pass in silence beside one that does.
        inside = re.compile(rf"^{re.escape(path)}\.(\d+)\.")
        names = [
            name
            for name in select(model, self.targets)
            if (found := inside.match(name)) and int(found.group(1)) >= boundary
        ]
        if not names:
            raise SettingError(
                "adapter.targets",
                f"{self.targets!r} lie in none of the last {len(layers) - boundary} layers",
                "name linear layers that are in these, or adapter.last_layers be more",
            )
        return LoraConfig(
            r=self.rank,
            lora_alpha=self._alpha,
            lora_dropout=self.dropout,
            target_modules=names,
            use_rslora=self.rslora,
            use_dora=dora,
        )

    @property
    def _alpha(self) -> float:
        return 2 * self.rank if self.alpha is None else self.alpha

    def average(
        self, runs: Sequence[Mapping[str, Tensor]]
    ) -> tuple[AdapterConfig, dict[str, Tensor]]:
        """Average the updates that runs with these settings have trained, not their factors.

        Of N runs of rank R, the mean of the products ``B A`` is one product of rank N R: that of
        ``[B_1 .. B_N] / N`` and of the ``A`` one above the other. What DoRA keeps beside them is
        averaged as it is.
        """
        count = len(runs)
        # The scale of the updates stays: alpha / rank, or alpha / sqrt(rank).
        alpha = self._alpha * (math.sqrt(count) if self.rslora else count)
        averaged = {}
        for name in runs[0]:
            parts = [run[name] for run in runs]
            if "/lora_A/" in name:
                averaged[name] = torch.cat(parts)
            elif "/lora_B/" in name:
                averaged[name] = torch.cat(parts, dim=1) / count
            else:
                averaged[name] = mean_of(parts)
        wide = {"rank": count * self.rank, "alpha": alpha}
        return self.model_copy(update=wide), averaged


def select(model: PreTrainedModel, targets: str | list[str]) -> list[str]:
    """Resolve targets to the full names of linear layers.

    Raises:
        ValueError: a name matches no linear layer; the message lists what there is.
    """
    there = linear_names(model)
    kinds = sorted({name.rpartition(".")[2] for name in there})
    if targets == "all-linear":
        return there
    if targets == "auto":
        architecture = model.config.model_type
        listed = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(architecture) or next(
            (names for names in QUERY_AND_VALUE if set(names) <= set(kinds)), None
        )
        if listed is None:
            raise SettingError(
                "adapter.targets",
                f"is 'auto', but PEFT lists none for {architecture!r}, and none has a usual name",
                f"name linear layers of the base: {', '.join(kinds)}, or 'all-linear'",
            )
        targets = list(listed)
    assert isinstance(targets, list)
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in there):
            raise SettingError(
                "adapter.targets",
                f"names {target!r}, which matches no linear layer of the base",
                f"be among {', '.join(kinds)}, or 'all-linear'",
            )
    return [
        name
        for name in there
        if any(name == target or name.endswith(f".{target}") for target in targets)
    ]


class LowRankAdapter(Adapter, ABC):
    """PEFT's LoRA layers inside a base, all of them training.

    Args:
        configs: name of each set of low-rank weights -> PEFT's settings.
    """

    def __init__(
        self, model: PreTrainedModel, configs: Mapping[str, LoraConfig], boundary: int
    ) -> None:
        super().__init__()
        self.boundary = boundary
        (first, config), *others = configs.items()
        with warnings.catch_warnings():  # PEFT still asks transformers by a name it has renamed
            warnings.simplefilter("ignore", FutureWarning)
            # Of GPT-2's linear layers, which lie the other way round; PEFT sets it right itself.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
            peft = get_peft_model(model, config, adapter_name=first)
            for name, other in others:
                peft.add_adapter(name, other)
        assert isinstance(peft, PeftModel)
        # Not a submodule: it wraps the whole base, whose weights are not this adapter's.
        self._peft = [peft]
        for name, parameter in peft.named_parameters():
            if any(part.startswith("lora_") for part in name.split(".")):
                parameter.requires_grad_(True)  # PEFT trains only the set that is active
                self.register_parameter(name.replace(".", "/"), parameter)

    @property
    def layers(self) -> list[LoraLayer]:
        """PEFT's layers."""
        return [module for module in self._peft[0].modules() if isinstance(module, LoraLayer)]

    def train(self, mode: bool = True) -> Self:
        # The layers stand in the base, which is always in eval mode; their dropout is ours.
        for layer in self.layers:
            layer.lora_dropout.train(mode)
        return super().train(mode)

    def remove(self) -> None:
        self._detach(self._peft[0].unload())

    def merge(self) -> None:
        # In float32, and left so: rounded to bfloat16, W + B A would lose most of a small update.
        self._peft[0].get_base_model().to(torch.float32)
        self._detach(self._peft[0].merge_and_unload())

    def _detach(self, model: torch.nn.Module) -> None:
        # PEFT leaves its settings on the model and warns on the next adapter because of them.
        if hasattr(model, "peft_config"):
            del model.peft_config
