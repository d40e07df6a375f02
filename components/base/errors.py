"""Turn what the loading of a model raises and prints into one sentence."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

from transformers.utils import logging as transformers_logging


@contextlib.contextmanager
def one_sentence(model: str) -> Iterator[None]:
    """Turn whatever the loading raises into one sentence, and keep its progress bars quiet."""
    try:
        with quiet_loading("transformers"):
            yield
    except Exception as error:  # the libraries beneath raise everything from OSError to KeyError
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        kind = type(error).__name__
        local = os.path.isdir(model) or model.startswith("builtin:")
        where = "" if local else " as a local folder or from the hub"
        raise ValueError(
            f"base.model {model!r} cannot be loaded{where} ({kind}: {reason.strip()})"
        ) from error


@contextlib.contextmanager
def quiet_loading(library: str) -> Iterator[None]:
    """Keep a library's warnings and transformers' progress bars quiet."""
    logger = logging.getLogger(library)
    level = logger.level
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
