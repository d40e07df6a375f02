"""Max pooling against a loop."""

from __future__ import annotations

import torch

from components.pooling.max import Max
from components.ragged import States


def test_equals_a_loop(states: States) -> None:
    ends = states.offsets.tolist()
    parts = [states.values_TD[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    got = Max().build(16)(states)
    torch.testing.assert_close(got, torch.stack([p.amax(0) for p in parts]), rtol=0, atol=1e-6)
