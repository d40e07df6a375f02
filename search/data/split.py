"""The sentences of a search: to train on, to validate and to test with, as text and as tokens."""

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
from search.runtime.progress import tell
from search.runtime.store import open_store
from search.settings.problems import InputError, shown
from search.settings.sections import CacheSettings


@dataclass(frozen=True)
class Split:
    """The sentences of a search, as text and tokenised, what they are worth, and their prompts.

    Only the tokens have the prompts in them.

    Attributes:
        test: read once, at the end; None where no sentences are put aside.
    """

    train: TokenisedCorpus
    validation: TokenisedCorpus
    test: TokenisedCorpus | None
    train_text: Corpus
    validation_text: Corpus
    test_text: Corpus | None
    health: Health
    prompts: Prompts


def load_split(settings: DataSettings, skeleton: Base, cache: CacheSettings | None = None) -> Split:
    """Load and tokenise the sentences to train on, to validate and to test with.

    Args:
        cache: where the tokens are stored for later searches; nowhere by default.

    Raises:
        InputError: the data are at fault.
    """
    store = open_store(cache.folder, cache.max_gb) if cache else None
    prompts = choose_prompts(settings.prompt, skeleton.shipped)
    prompt_notes = _check_prompts(prompts, skeleton)
    tell("reading sentences")
    loaded = load_data(settings, store)
    table = FamilyTable(settings.families)
    stored = (store, skeleton.tokenization) if store else None
    train, validation, test = (
        tokenise(text, settings.pivot, skeleton.tokenize, table, stored, prompts) if text else None
        for text in (loaded.train, loaded.validation, loaded.test)
    )
    assert train is not None and validation is not None
    tokens = (train, validation, test)
    health = measure(loaded, tokens, skeleton, store, prompts, prompt_notes)
    texts = (loaded.train, loaded.validation, loaded.test)
    return Split(*tokens, *texts, health, prompts)


def _check_prompts(prompts: Prompts, skeleton: Base) -> list[str]:
    """Hold prompts against the tokens that a sentence may have; what there is to say of them.

    Raises:
        InputError: a prompt leaves no token to the sentence.
    """
    notes = []
    most = skeleton.max_length
    for text in sorted({prompts.pivot, prompts.others} - {""}):
        # With the special tokens, which a sentence keeps when it is cut.
        (count,) = skeleton.count_tokens([text])
        if count >= most:
            raise InputError.of(
                "data.prompt",
                f"is {shown(repr(text))}, of {count} tokens; it must have fewer than the {most} "
                f"after which sentences are cut (base.max_length): it leaves none to a sentence",
            )
        if 2 * count > most:
            notes.append(
                f"the prompt {shown(repr(text))} takes {count} of the {most} tokens that a "
                f"sentence may have (base.max_length)"
            )
    return notes
