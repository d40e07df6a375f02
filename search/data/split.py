"""The sentences of a search: to train on and to validate with, as text and as tokens."""

from __future__ import annotations

from dataclasses import dataclass

from components.base import Base
from components.languages import FamilyTable
from search.data.corpus import Corpus
from search.data.health import Health, measure
from search.data.loading import load_data
from search.data.prompts import Prompts, choose_prompts
from search.data.settings import DataSettings
from search.data.tokens import TokenisedCorpus, tokenise
from search.runtime.store import open_store
from search.settings.sections import CacheSettings


@dataclass(frozen=True)
class Split:
    """The sentences of a search, as text and tokenised, what they are worth, and their prompts.

    Only the tokens have the prompts in them.
    """

    train: TokenisedCorpus
    validation: TokenisedCorpus
    train_text: Corpus
    validation_text: Corpus
    health: Health
    prompts: Prompts


def load_split(settings: DataSettings, skeleton: Base, cache: CacheSettings | None = None) -> Split:
    """Load and tokenise the sentences to train on and to validate with.

    Args:
        cache: where the tokens are stored for later searches; nowhere by default.

    Raises:
        InputError: the data are at fault.
    """
    store = open_store(cache.folder, cache.max_gb) if cache else None
    prompts = choose_prompts(settings.prompt, skeleton.shipped)
    loaded = load_data(settings)
    table = FamilyTable(settings.families)
    stored = (store, skeleton.tokenization) if store else None
    train, validation = (
        tokenise(text, settings.pivot, skeleton.tokenize, table, stored, prompts)
        for text in (loaded.train, loaded.validation)
    )
    health = measure(loaded, train, validation, skeleton, store, prompts)
    return Split(train, validation, loaded.train, loaded.validation, health, prompts)
