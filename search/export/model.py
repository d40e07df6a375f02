"""A trained encoder as a sentence-transformers model, written to a folder."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

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
from search.export.reference import refuse_difference, write_adapter

# Texts that some tokenizers drop whole.
DROPPED = (" ", "\t", "\n", "\x00", "\u00ad", "\u200b", "\ufeff", "\u0301", "\ue000", "\ufffd")
# What sentence-transformers renders each text with (and a prompt, as a first message), for
# tokenizers that make no tokens of an empty text: the text as it is, or one padding token.
EMPTY_AS_PAD = "{{ messages | map(attribute='content') | join or pad_token }}"
SETTINGS = "sentence_bert_config.json"  # of sentence-transformers' module that runs the base
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
        languages = corpus.family_by_language
        return cls(corpus.families, languages, table.words())


@dataclass(frozen=True)
class Form:
    """How a model is written.

    Attributes:
        adapters: ``merged`` into the base, which the folder holds; or as ``peft`` has them, beside
            the name of a base that the folder does not hold.
        dtype: of the base's weights; None for that of ``base.save_dtype``.
        truncate_dim: dimensions of an embedding that are kept, the first ones; None for all.
    """

    adapters: Literal["merged", "peft"] = "merged"
    dtype: torch.dtype | None = None
    truncate_dim: int | None = None


def write_model(
    encoder: Encoder,
    folder: Path,
    routing: Routing | None = None,
    *,
    prompts: Prompts | None = None,
    dtype: torch.dtype | None = None,
    truncate_dim: int | None = None,
    reference: str | None = None,
) -> None:
    """Write an encoder, and take its adapter, where it can be merged, into the base for good.

    Args:
        routing: where a component treats families differently.
        prompts: what ``encode`` is to put before sentences; nothing by default.
        dtype: of the base's weights; that of the base by default.
        truncate_dim: as in `Form`.
        reference: what the base is found by, where the folder is not to hold it (`Form`).

    Raises:
        ValueError: sentence-transformers does not find the same model by that reference.
    """
    base = encoder.base
    dtype = dtype or base.model.dtype
    scratch = folder / "scratch"
    encoder.adapter.folders(scratch / "adapters")
    if reference is not None:
        write_adapter(encoder, scratch, reference)
    else:
        if dtype == torch.float32:
            base.model.to("cpu", dtype)  # before the merge, which would round
        encoder.adapter.merge()
        base.model.save_pretrained(scratch)
    own = [c for c in (encoder.pooling, encoder.head) if c.stock() is None]
    # In the scratch folder, where Python may leave its bytecode.
    drops = drops_texts(base.tokenizer)
    custom = custom_file(own, scratch, routing is not None) if own or routing or drops else None
    modules = [
        _transformer(base, scratch, custom, routing),
        *_modules(encoder.pooling, "PackedPooling", base.width, custom),
        *_modules(encoder.head, "RoutedHead", encoder.out, custom),
        *([] if truncate_dim is None else [_first_dimensions(encoder.out, truncate_dim)]),
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
    if reference is None:
        model[0].model.to(dtype)
    else:
        refuse_difference(base.model, model[0].model, scratch)
    model.save(str(folder), create_model_card=False)
    if reference is not None:
        _set_dtype(folder, dtype)
    if custom is not None:
        shutil.copy(str(custom.__file__), folder)
    shutil.rmtree(scratch)


def _transformer(
    base: Base, scratch: Path, custom: ModuleType | None, routing: Routing | None
) -> stock.Transformer:
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


def _set_dtype(folder: Path, dtype: torch.dtype) -> None:
    """Let sentence-transformers load a base that is elsewhere in a dtype of its own."""
    (file,) = folder.rglob(SETTINGS)
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["model_kwargs"] = {"dtype": str(dtype).removeprefix("torch.")}
    file.write_text(json.dumps(settings, indent=4), encoding="utf-8")


def _first_dimensions(width: int, kept: int) -> object:
    """A stock module that keeps the first dimensions: its products are with 1 and 0, so exact."""
    module = stock.Dense(width, kept, bias=False, activation_function=nn.Identity())
    module.load_state_dict({"linear.weight": torch.eye(kept, width)})
    return module


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
        arguments["activation_function"] = getattr(nn, str(arguments["activation_function"]))()
    module = getattr(stock, described.type)(**arguments)
    module.load_state_dict({name: t.detach().cpu() for name, t in described.weights.items()})
    return module
