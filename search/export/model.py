"""A trained encoder as a sentence-transformers model, written to a folder."""

from __future__ import annotations

import copy
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as stock
from torch import nn
from transformers import PreTrainedTokenizerBase

from components.base import Base
from components.encoder import Encoder
from components.interface import Head, Pooling
from components.languages import FamilyTable
from components.stock import StockModule
from search.data.prompts import Prompts
from search.data.tokens import TokenisedCorpus
from search.export.custom import custom_file, describe

# Texts that some tokenizers drop whole.
DROPPED = (" ", "\t", "\n", "\x00", "\u00ad", "\u200b", "\ufeff", "\u0301", "\ue000", "\ufffd")
# What sentence-transformers renders each text with (and a prompt, as a first message), for
# tokenizers that make no tokens of an empty text: the text as it is, or one padding token.
EMPTY_AS_PAD = "{{ messages | map(attribute='content') | join or pad_token }}"
_FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}


@dataclass(frozen=True)
class Routing:
    """How the exported model finds the family of a sentence.

    Attributes:
        families: those of the run's languages, in the order that components know them by.
        languages: code -> family.
        words: first word of a letter's Unicode name -> family.
    """

    families: tuple[str, ...]
    languages: dict[str, str]
    words: dict[str, str]

    @classmethod
    def of(cls, corpus: TokenisedCorpus, table: FamilyTable) -> Routing:
        """The routing of a run."""
        languages = dict(zip(corpus.languages, corpus.family_of_language, strict=True))
        return cls(corpus.families, languages, table.words())


def write_model(
    encoder: Encoder,
    folder: Path,
    routing: Routing | None = None,
    *,
    prompts: Prompts | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write an encoder, merging its adapter, where it can be, into the base for good.

    Args:
        routing: where a component treats families differently.
        prompts: what ``encode`` is to put before sentences; nothing by default.
        dtype: of the base's weights as they are saved, that of the base or a wider one.
    """
    base = encoder.base
    dtype = dtype or base.model.dtype
    if dtype != base.model.dtype:
        base.model.to("cpu", dtype)  # before the merge, which would round
    scratch = folder / "scratch"
    encoder.adapter.folders(scratch / "adapters")
    encoder.adapter.merge()
    own = [c for c in (encoder.pooling, encoder.head) if c.stock() is None]
    # In the scratch folder, where Python may leave its bytecode.
    drops = drops_texts(base.tokenizer)
    custom = custom_file(own, scratch, routing is not None) if own or routing or drops else None
    modules = [
        _transformer(base, scratch, custom, routing),
        *_modules(encoder.pooling, "PackedPooling", base.width, custom),
        *_modules(encoder.head, "RoutedHead", encoder.out, custom),
        stock.Normalize(),
    ]
    model = SentenceTransformer(
        modules=modules,
        device="cpu",
        similarity_fn_name="cosine",
        prompts=dict(prompts.named) if prompts else None,
        default_prompt_name=prompts.default if prompts else None,
    )
    # Not earlier, nor the whole module: making a model gives all its modules one dtype, and heads
    # and adapters of families are saved as they were trained, in float32.
    model[0].model.to(dtype)
    model.save(str(folder), create_model_card=False)
    if custom is not None:
        shutil.copy(custom.__file__, folder)
    shutil.rmtree(scratch)


def _transformer(base: Base, scratch: Path, custom: Any, routing: Routing | None) -> Any:
    base.model.save_pretrained(scratch)
    # A base that chats has a template of its own, which no sentence was trained with.
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.chat_template = None
    modalities: dict[str, dict[str, str]] = {"text": _FORWARD}
    if custom is None and not tokenizer("")["input_ids"]:
        tokenizer.chat_template = EMPTY_AS_PAD
        modalities["message"] = _FORWARD | {"format": "flat"}
    tokenizer.save_pretrained(scratch)
    kind = stock.Transformer
    if custom is not None:
        kind = custom.PaddedTransformer if routing is None else custom.RoutedTransformer
    # Heads are float32 and their input must be: a base saved in less is widened as it is loaded.
    module = kind(
        str(scratch),
        max_seq_length=base.max_length,
        model_kwargs={"dtype": torch.float32},
        modality_config=modalities,
        module_output_name="token_embeddings",
        # Our modules need to know which token is whose, also where flash attention needs no pads.
        unpad_inputs=None if custom is None else False,
    )
    if routing is not None:
        module.route(asdict(routing), scratch / "adapters")
    return module.to("cpu")


def drops_texts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether some texts that are not empty have no token, not even a special one."""
    return not all(tokenizer(list(DROPPED))["input_ids"])


def _modules(component: Pooling | Head, wrapper: str, width: int, custom: object) -> list[object]:
    """A component as sentence-transformers' own modules or, where it has none, as ours."""
    described = component.stock()
    if described is not None:
        return [_stock(part) for part in described]
    module = getattr(custom, wrapper)(describe(component), width)
    module.component.load_state_dict(
        {name: tensor.detach().cpu() for name, tensor in component.state_dict().items()}
    )
    return [module]


def _stock(described: StockModule) -> object:
    arguments = dict(described.arguments)
    if "activation_function" in arguments:
        arguments["activation_function"] = getattr(nn, arguments["activation_function"])()
    module = getattr(stock, described.type)(**arguments)
    module.load_state_dict({name: t.detach().cpu() for name, t in described.weights.items()})
    return module
