"""Runs of a model on padded batches, for models that cannot run packed."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from components.base.packing import Packing
from components.base.routing import routed

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def run_padded(model: PreTrainedModel, ids_P: Tensor, family_P: Tensor, packing: Packing) -> Tensor:
    """Run a model on sentences in padded batches of similar lengths.

    Args:
        ids_P: token ids, packed in order of length.
        family_P: index of each token's family; -1 for none.

    Returns:
        The last hidden states of the P tokens, P x D in the model's dtype.
    """
    # Four groups an octave: the shortest of a group is at least four fifths of its longest.
    group_B = (packing.lengths.log2() * 4).floor()
    _, counts = torch.unique_consecutive(group_B, return_counts=True)
    ends = counts.cumsum(0).tolist()
    lengths = packing.lengths.tolist()
    # Nothing is generated: keys and values for further tokens would only take memory, and a
    # layer that is run again would add its own to them a second time.
    known = inspect.signature(model.forward).parameters
    options = {"use_cache": False} if "use_cache" in known else {}
    ids, families = (torch.split(side, lengths) for side in (ids_P, family_P))
    states = []
    for start, end in zip([0, *ends], ends, strict=False):
        # Right-padded with token 0: whatever stands there is masked out and never read back.
        ids_BL = pad_sequence(list(ids[start:end]), batch_first=True)
        family_BL = pad_sequence(list(families[start:end]), True, padding_value=-1)
        lengths_B1 = packing.lengths[start:end].unsqueeze(1).to(model.device)
        real_BL = torch.arange(ids_BL.shape[1], device=model.device) < lengths_B1
        with routed(family_BL.flatten()):
            out = model(input_ids=ids_BL, attention_mask=real_BL.long(), **options)
        states.append(out.last_hidden_state[real_BL])
    return torch.cat(states)
