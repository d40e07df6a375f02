"""The modules that `best/` may need beside the stock ones.

What a model needs of these, and of the components it is made of, is written into one file of the
exported folder, so that a user needs sentence-transformers only. The sources here must import
nothing else.
"""

from __future__ import annotations

import json
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules.module import Module
from sentence_transformers.base.modules.transformer import Transformer
from torch import Tensor, nn

from components.languages import family_of_text
from components.ragged import States


def rebuild(described: dict[str, Any]) -> nn.Module:
    """A component from the name of its class and its constructor's arguments."""
    arguments = {
        name: [rebuild(part) for part in value]
        if isinstance(value, list) and value and isinstance(value[0], dict)
        else value
        for name, value in described["arguments"].items()
    }
    module: nn.Module = globals()[described["class"]](**arguments)
    return module


class Rebuilt(Module):  # type: ignore[misc]
    """A component of the model, with its weights.

    Args:
        described: its class, defined in this file, and what its constructor takes.
        width: dimensions of its output.
    """

    config_keys: ClassVar[list[str]] = ["described", "width"]

    def __init__(self, described: dict[str, Any], width: int) -> None:
        super().__init__()
        self.described = described
        self.width = width
        self.component = rebuild(described)

    def get_embedding_dimension(self) -> int:
        """Dimensions of its output."""
        return self.width

    def save(self, output_path: str, *args: object, **kwargs: object) -> None:
        """Write settings and weights, and this file into the folder of the model."""
        self.save_config(output_path)
        self.save_torch_weights(output_path)
        file = Path(output_path).parent / "isogloss_modules.py"
        file.write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")

    def compute(self, given: Tensor, *args: object) -> Tensor:
        """Call the component in float32, whatever dtype the model has; return the dtype given.

        A component sums in float32, so that a model in half precision keeps its digits. The
        gradients reach the parameters in the dtype that these have.

        Args:
            given: the tensor that decides the dtype of the result.
            args: what the component takes.
        """
        tensors = chain(self.component.named_parameters(), self.component.named_buffers())
        wide = {k: t.float() if t.is_floating_point() else t for k, t in tensors}
        with torch.autocast(given.device.type, enabled=False):
            out: Tensor = torch.func.functional_call(self.component, wide, args)
        return out.to(given.dtype)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Rebuilt:
        """Read what `save` wrote."""
        hub = ("token", "cache_folder", "revision", "local_files_only")
        where = {"subfolder": subfolder} | {k: v for k, v in kwargs.items() if k in hub}
        model = cls(**cls.load_config(model_name_or_path, **where))
        cls.load_torch_weights(model_name_or_path, model=model, **where)
        return model


class PackedPooling(Rebuilt):
    """A pooling over packed states, fed from sentence-transformers' padded batches."""

    def forward(self, features: dict[str, Tensor], **kwargs: object) -> dict[str, Tensor]:
        """Add ``sentence_embedding`` (B, D) to ``token_embeddings`` (B, L, D) and their mask."""
        states_BLD: Tensor = features["token_embeddings"]
        real_BL = features["attention_mask"] != 0
        # An empty sentence keeps a pad: a mean of nothing would be NaN.
        real_BL[:, 0] |= ~real_BL.any(1)
        ends_B = real_BL.sum(1).cumsum(0)
        offsets = nn.functional.pad(ends_B, (1, 0))
        states = States(states_BLD[real_BL], offsets)
        features["sentence_embedding"] = self.compute(states_BLD, states)
        return features


class RoutedHead(Rebuilt):
    """A head that may treat families of languages differently."""

    def forward(self, features: dict[str, Tensor], **kwargs: object) -> dict[str, Tensor]:
        """Replace ``sentence_embedding`` (B, D) by (B, E)."""
        pooled_BD: Tensor = features["sentence_embedding"]
        family_B = features.get("family")
        if family_B is None:  # nothing in this model routes
            family_B = torch.zeros(len(pooled_BD), dtype=torch.int64, device=pooled_BD.device)
        features["sentence_embedding"] = self.compute(pooled_BD, pooled_BD.float(), family_B)
        return features


class PaddedTransformer(Transformer):  # type: ignore[misc]
    """A transformer that reads a sentence without tokens as one padding token.

    Tokenizers without special tokens make nothing of an empty string, which no model can run on.
    """

    def preprocess(self, inputs: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Tokenise; every sentence has a token."""
        features: dict[str, Any] = super().preprocess(inputs, *args, **kwargs)
        if features["input_ids"].shape[1] == 0:
            pad = self.tokenizer.pad_token_id
            for name, value in (("input_ids", pad), ("token_type_ids", 0), ("attention_mask", 1)):
                if name in features:
                    shape = len(features[name]), 1
                    features[name] = torch.full(shape, value, dtype=torch.int64)
        mask_BL = features["attention_mask"]
        place = -1 if self.tokenizer.padding_side == "left" else 0
        mask_BL[:, place] |= ~mask_BL.bool().any(1)
        return features


class RoutedTransformer(PaddedTransformer):
    """A transformer that knows the family of each sentence, and may have adapters of families.

    The family is that of ``task``, a language or a family (``encode(texts, task="gu")``), or that
    of the script most letters of the sentence are in.

    Attributes:
        routing: ``families``, those trained, in order; ``words``, first word of a letter's Unicode
            name -> family; ``languages``, code -> family.
        adapters: family, or ``shared`` for all others -> PEFT's settings of its low-rank weights,
            which are parameters here and train with the rest of the model.
    """

    routing: dict[str, Any]
    adapters: dict[str, dict[str, Any]]

    def route(self, routing: dict[str, Any], folder: Path | None) -> None:
        """Take up the routing and the PEFT folders of the families."""
        self.routing = routing
        self.adapters = {}
        self._family_B: Tensor | None = None
        for part in sorted(folder.iterdir()) if folder and folder.is_dir() else []:
            self.adapters[part.name] = json.loads((part / "adapter_config.json").read_text())
            for name, weight in load_file(part / "adapter_model.safetensors").items():
                parameter = nn.Parameter(weight.to(self.model.dtype))
                self.register_parameter(f"{part.name}:{name.replace('.', '/')}", parameter)
        owners: dict[str, list[str]] = {}
        for key, _ in self.named_parameters(recurse=False):
            family, _, name = key.partition(":")
            if name.endswith("/lora_A/weight"):
                owners.setdefault(name.removesuffix("/lora_A/weight"), []).append(family)
        for name, families in owners.items():
            path = name.removeprefix("base_model/model/").replace("/", ".")
            # A method, unlike a function made here, is copied and pickled with the model.
            self.model.get_submodule(path).register_forward_hook(partial(self._add, name, families))

    def _add(
        self,
        name: str,
        families: list[str],
        layer: nn.Module,
        inputs: tuple[Tensor, ...],
        out: Tensor,
    ) -> Tensor:
        """Add to a linear layer's output what the family of each sentence has for it."""
        assert self._family_B is not None
        x_XD, out_XE = inputs[0].flatten(0, -2), out.flatten(0, -2).clone()
        # By tokens: some layers are given those of all sentences in one row.
        family_X = self._family_B.repeat_interleave(len(x_XD) // len(self._family_B))
        known: list[str] = self.routing["families"]
        for family in families:
            settings = self.adapters[family]
            rank: int = settings["r"]
            scale = settings["lora_alpha"] / (rank**0.5 if settings["use_rslora"] else rank)
            down, up = (
                getattr(self, f"{family}:{name}/lora_{side}/weight").to(out.dtype) for side in "AB"
            )
            index = known.index(family) if family in known else len(known)
            place_Y = (family_X == index).nonzero().squeeze(1)
            out_XE[place_Y] += x_XD[place_Y] @ down.T @ up.T * scale
        return out_XE.view_as(out)

    def preprocess(self, inputs: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Tokenise; add ``family`` (B,), the index of each sentence's family."""
        task = kwargs.pop("task", None)
        features: dict[str, Any] = super().preprocess(inputs, *args, **kwargs)
        known: list[str] = self.routing["families"]
        told = self.routing["languages"].get(task, task if task in known else None)
        families = [told or family_of_text(str(text), self.routing["words"]) for text in inputs]
        indices = [known.index(name) if name in known else len(known) for name in families]
        features["family"] = torch.tensor(indices)
        return features

    def forward(self, features: dict[str, Tensor], **kwargs: object) -> dict[str, Tensor]:
        """Run the transformer, each sentence with the adapter of its family."""
        self._family_B = features["family"]
        # A copy: losses that encode a batch twice (GradCache) find what they gave as it was.
        rest = {name: value for name, value in features.items() if name != "family"}
        features = super().forward(rest, **kwargs)
        features["family"] = self._family_B
        return features

    def save(self, output_path: str, *args: object, **kwargs: object) -> None:
        """Write the base, the routing, and the adapters as PEFT folders."""
        super().save(output_path, *args, **kwargs)
        (Path(output_path) / "routing.json").write_text(json.dumps(self.routing, indent=2))
        for family, settings in self.adapters.items():
            part = Path(output_path) / "adapters" / family
            part.mkdir(parents=True, exist_ok=True)
            (part / "adapter_config.json").write_text(json.dumps(settings, indent=2))
            weights = {
                name.partition(":")[2].replace("/", "."): weight.detach().cpu().contiguous()
                for name, weight in self.named_parameters(recurse=False)
                if name.startswith(f"{family}:")
            }
            save_file(weights, part / "adapter_model.safetensors", {"format": "pt"})

    @classmethod
    def load(cls, model_name_or_path: str, *args: Any, **kwargs: Any) -> RoutedTransformer:
        """Read what `save` wrote."""
        model: RoutedTransformer = super().load(model_name_or_path, *args, **kwargs)
        hub = ("token", "cache_folder", "revision", "local_files_only")
        where = {k: v for k, v in kwargs.items() if k in hub}
        file = cls.load_file_path(model_name_or_path, "routing.json", **where)
        folder = cls.load_dir_path(model_name_or_path, subfolder="adapters", **where)
        model.route(json.loads(Path(file).read_text()), Path(folder) if folder else None)
        return model
