"""Say in one sentence what ran out of memory, and what needs less."""

from __future__ import annotations

import re

import torch

from search.settings.trial import TrainingConfig

GIB = 2**30


def explain_memory_error(error: BaseException, training: TrainingConfig) -> str | None:
    """Explain an error that says that memory ran out; None for any other.

    Args:
        error: torch's for a GPU or for the CPU, or Python's own.
        training: of the trial that ran out.
    """
    if isinstance(error, torch.OutOfMemoryError):
        where = f"the GPU's memory of {torch.cuda.mem_get_info()[1] / GIB:.1f} GiB"
    elif isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        where = "the memory of the CPU"
    else:
        return None
    asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
    last = f", where {asked[1]} more were asked for" if asked else ""
    chunks = training.chunk_tokens
    cure = (
        "training.chunk_tokens, which bounds what is held for the backward pass,"
        if chunks is None
        else f"a training.chunk_tokens below {chunks}"
    )
    return (
        f"{where} does not hold a batch of {training.batch_size} pairs{last}; {cure}, a smaller "
        f"training.batch_size or a smaller base.max_length needs less"
    )
