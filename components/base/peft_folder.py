"""A PEFT adapter folder as base: find the model it was trained on, check both, and merge them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import (
    PeftConfig,
    PeftModel,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from components.base.architecture import model_class, read_settings, text_part
from components.base.config import BaseConfig
from components.base.errors import one_sentence
from components.base.locate import ADAPTER_FILE, is_adapter, locate
from components.base.peft_settings import find_trained_base, read_adapter_settings, subject
from components.base.remote_code import code_elsewhere
from components.base.tokenizer import load_tokenizer
from components.base.weights import (
    check_weights,
    fault_of_safetensors,
    load_pretrained,
    make_skeleton,
    refuse_missing,
)

SAFETENSORS, PICKLE = "adapter_model.safetensors", "adapter_model.bin"
# PEFT puts this before the name of each module of the model that it wraps.
WRAPPER = "base_model.model."
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.*", "*.model")


@dataclass(frozen=True)
class AdapterFolder:
    """A PEFT adapter and the model that it was trained on.

    Attributes:
        model: the adapter folder, as the user names it.
        folder: where its files are.
        settings: its ``adapter_config.json``.
        base: settings of the model that it was trained on, with the revision that the adapter
            names and the consents that the user gave.
        source: of that model, as `locate` gives it.
        looked: where that model was looked for.
    """

    model: str
    folder: Path
    settings: PeftConfig = field(repr=False)
    base: BaseConfig
    source: str
    looked: str

    def load(self, dtype: torch.dtype) -> PreTrainedModel:
        """Load the model and merge the adapter into it.

        Raises:
            ValueError: one of them cannot be loaded, or they do not fit; one sentence says why.
        """
        settings = self._read_settings()
        weights = self._weights(read=True)
        kind = self._class(settings, weights)
        try:
            whole, report = load_pretrained(
                self.base, settings, self.source, kind=kind, dtype=dtype
            )
            # A head over the hidden states is not used, and a base saved without one gets a new.
            inner = f"{whole.base_model_prefix}." if kind is not model_class(settings) else ""
            missing = [name for name in report["missing_keys"] if name.startswith(inner)]
            refuse_missing(self.base, whole, missing)
        except ValueError as error:
            raise self._of_base(error) from error
        return self._merge(whole, weights)

    @property
    def note(self) -> str:
        """What the base is made of, in a sentence."""
        kind = str(self.settings.peft_type).rpartition(".")[2]
        return (
            f"the base is {self.base.model} with the {kind} adapter of {self.model} merged into it"
        )

    def load_skeleton(self) -> PreTrainedModel:
        """Build the merged model on the meta device; the files are checked, but weights not read.

        Raises:
            ValueError: as `load`.
        """
        settings = self._read_settings()
        try:
            check_weights(self.base, settings, self.source)
        except ValueError as error:
            raise self._of_base(error) from error
        weights = self._weights(read=False)
        kind = self._class(settings, weights)
        with one_sentence(self.model):
            whole = make_skeleton(self.base, settings, kind)
        return self._merge(whole, weights)

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the adapter's own tokenizer, or, where it has none, that of its base."""
        own = any(next(self.folder.glob(name), None) for name in TOKENIZER_FILES)
        if own and self.base.trust_remote_code:
            file = "tokenizer_config.json"
            fault = code_elsewhere(str(self.folder), {file: get_tokenizer_config(self.folder)})
            if fault:
                raise ValueError(f"base.model {self.model!r} {fault}")
        if own:
            with one_sentence(self.model):
                return load_tokenizer(self.base, str(self.folder))
        try:
            with one_sentence(self.base.model):
                return load_tokenizer(self.base, self.source)
        except ValueError as error:
            raise self._of_base(error) from error

    def _read_settings(self) -> PreTrainedConfig:
        try:
            settings = read_settings(self.base, self.source)
        except ValueError as error:
            raise self._of_base(error) from error
        if getattr(settings, "quantization_config", None) is not None:
            raise self._refusal("its base is quantised, and a merge would round its weights anew")
        return settings

    def _weights(self, read: bool) -> dict[str, Tensor]:
        """The adapter's weights; on the meta device, from the header, where they are not read."""
        safe, pickle = self.folder / SAFETENSORS, self.folder / PICKLE
        if safe.is_file():
            if fault := fault_of_safetensors(safe):
                raise self._refusal(fault)
            with one_sentence(self.model):
                if read:
                    return dict(load_file(safe))
                with safe_open(safe, "pt") as file:
                    shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
                return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        if not pickle.is_file():
            raise self._refusal(f"it has no weights ({SAFETENSORS})")
        if not self.base.allow_pickle:
            raise self._refusal(
                f"its weights are in a pickle ({PICKLE}), which can hold code; save them as "
                f"safetensors, or set base.allow_pickle: true"
            )
        with one_sentence(self.model):
            found = torch.load(pickle, map_location="cpu" if read else "meta", weights_only=True)
        if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
            raise self._refusal(f"{PICKLE} holds no mapping of names to tensors")
        return found

    def _class(
        self, settings: PreTrainedConfig, weights: Mapping[str, Tensor]
    ) -> type[PreTrainedModel]:
        """The class that the adapter was trained on: without a head or, by its keys, with one.

        PEFT finds what to adapt by the names of modules, which are longer in a model with a head.
        """
        bare = model_class(settings)
        with one_sentence(self.model):
            model = make_skeleton(self.base, settings, bare)
        prefix = model.base_model_prefix
        inside = any(name.startswith(f"{WRAPPER}{prefix}.") for name in weights)
        if not prefix or hasattr(model, prefix) or not inside:
            return bare
        heads = [MODEL_FOR_MASKED_LM_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING]
        if self.settings.task_type == "CAUSAL_LM":
            heads.reverse()
        for mapping in heads:
            if type(settings) in mapping:
                headed: type[PreTrainedModel] = mapping[type(settings)]
                return headed
        return bare

    def _merge(self, whole: PreTrainedModel, weights: dict[str, Tensor]) -> PreTrainedModel:
        """Merge the adapter's weights, all of them and no others, and drop the head."""
        meta = whole.device.type == "meta"
        kind = str(self.settings.peft_type.value)
        fault = f"its {kind} adapter does not fit a {type(whole).__name__}"
        settings = copy.deepcopy(self.settings)
        if meta and hasattr(settings, "init_lora_weights"):
            settings.init_lora_weights = False  # some initial weights are computed from the base's
        with one_sentence(self.model):
            wrapped = PeftModel(whole, settings, low_cpu_mem_usage=meta)
            expected = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        self._refuse_difference(fault, expected, weights)
        if whole.base_model is not whole:
            inner = f"{WRAPPER}{whole.base_model_prefix}."
            for name in (name for name in weights if not name.startswith(inner)):
                raise self._refusal(
                    f"it changes {name.removeprefix(WRAPPER)!r}, a part of the head of a "
                    f"{type(whole).__name__}, and only hidden states are used"
                )
        with one_sentence(self.model):
            set_peft_model_state_dict(wrapped, weights, low_cpu_mem_usage=meta)
            merged = wrapped.merge_and_unload(safe_merge=not meta)
        for trace in ("peft_config", "active_adapter"):
            if trace in vars(merged):
                delattr(merged, trace)
        return text_part(merged.base_model)

    def _refuse_difference(
        self, fault: str, expected: Mapping[str, Tensor], given: Mapping[str, Tensor]
    ) -> None:
        """Refuse weights that PEFT would leave out, or draw at random, with no more than a warning.

        Raises:
            ValueError: with the first name.
        """
        for name in sorted(given.keys() - expected.keys()):
            raise self._refusal(f"{fault}, which has no place for its {name!r}")
        for name in sorted(expected.keys() - given.keys()):
            raise self._refusal(f"{fault}: its file lacks {name!r}")
        for name, tensor in sorted(given.items()):
            if tensor.shape != expected[name].shape:
                got, must = (" x ".join(map(str, side.shape)) for side in (tensor, expected[name]))
                raise self._refusal(f"{fault}: {name!r} is {got}, but must be {must}")

    def _refusal(self, why: str) -> ValueError:
        return ValueError(
            f"base.model {self.model!r} is a PEFT adapter that cannot be merged: {why}"
        )

    def _of_base(self, error: ValueError) -> ValueError:
        reason = str(error).removeprefix("base.model ")
        return ValueError(
            f"base.model {self.model!r} is a PEFT adapter of {self.base.model!r} ({self.looked}): "
            f"{reason}"
        )


def find_adapter(config: BaseConfig, source: str) -> AdapterFolder | None:
    """Find the adapter that a base names, and the model that it was trained on.

    Args:
        source: as `locate` gives it.

    Returns:
        None where the base is a whole model.

    Raises:
        ValueError: its settings cannot be read, it is of a kind that cannot be merged, or its base
            is not there; one sentence says why.
    """
    if not is_adapter(Path(source)):
        return None
    folder = Path(source)
    settings = read_adapter_settings(config.model, folder)
    base, looked = find_trained_base(config.model, folder, settings)
    own = config.model_copy(update={"model": base, "revision": settings.revision})
    try:
        found = locate(base)
    except ValueError as error:
        raise ValueError(f"{subject(config.model)} whose base cannot be used: {error}") from error
    if is_adapter(Path(found)):
        itself = "itself" if Path(found) == folder else f"{base!r}, another adapter,"
        raise ValueError(
            f"{subject(config.model)} that names {itself} as its base; the base must be a whole "
            f"model: name one as base_model_name_or_path in {folder / ADAPTER_FILE}"
        )
    return AdapterFolder(config.model, folder, settings, own, found, looked)


def weight_sources(config: BaseConfig) -> list[tuple[str, str | None]]:
    """Where the weights of a base are: folders, or names on the hub, each with its revision."""
    source = locate(config.model)
    adapter = find_adapter(config, source)
    if adapter is None:
        return [(source, config.revision)]
    return [(source, None), (adapter.source, adapter.base.revision)]
