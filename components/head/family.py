"""Heads by language family."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from torch import Tensor, nn

from components.errors import SettingError
from components.interface import Head
from components.projection import WideHeadConfig, start_linear


def _once(families: list[str]) -> list[str]:
    twice = [name for name, times in Counter(families).items() if times > 1]
    if twice:
        raise ValueError(f"named twice: {', '.join(twice)}; each family must be named once")
    return families


class Family(WideHeadConfig):
    """A linear layer that all sentences share, and one more for each family."""

    routes: ClassVar[bool] = True
    kind: Literal["family"] = "family"
    families: Annotated[list[str], Field(min_length=1), AfterValidator(_once)] | None = Field(
        default=None, description="families with a layer of their own; None: each of the run's"
    )
    bias: bool = Field(default=True, description="add a learned vector to each projection")

    @property
    def ignores_scale(self) -> bool:
        return not self.bias

    def build(self, width: int, families: Sequence[str] = ()) -> Head:
        chosen = families if self.families is None else self.families
        unknown = [name for name in chosen if name not in families]
        if unknown:
            raise SettingError(
                "head.families",
                f"names {', '.join(unknown)}",
                f"name families of the run's languages: {', '.join(families) or 'there are none'}",
            )
        owners = [index for index, name in enumerate(families) if name in chosen]
        head = FamilyHead(width, self.out(width), self.bias, owners)
        start_linear(head.shared, self.init)
        return head


class FamilyHead(Head):
    """A linear layer that every sentence goes through, and one more for each family f.

    ``emb = (W + W_f) pooled + b + b_f``; a family without a layer of its own, and a sentence of no
    trained family, gets ``W pooled + b``. (1 + owners) x (D x E + E) parameters (18,878,976 for
    4096 -> 768 and five families). The own layers start at zero, where this is the linear head
    exactly: what a family gains, it has learned, and one with few sentences leans on the others.

    Sources: Evgeniou and Pontil, 2004, Regularized Multi-Task Learning (``w_0 + v_t``);
    Daumé, 2007, Frustratingly Easy Domain Adaptation, section 3 (a shared copy and one a domain).

    Departure: no penalty of its own on the size of ``W_f``; the optimizer's weight decay is one.

    Attributes:
        owners: index of the family that each of the own layers belongs to.
    """

    def __init__(self, width: int, out: int, bias: bool, owners: list[int]) -> None:
        super().__init__()
        self.width = width
        self.out = out
        self.bias = bias
        self.owners = owners
        self.shared = nn.Linear(width, out, bias=bias)
        self.own = nn.ModuleList(nn.Linear(width, out, bias=bias) for _ in owners)
        for parameter in self.own.parameters():
            nn.init.zeros_(parameter)

    def forward(self, pooled_BD: Tensor, family_B: Tensor) -> Tensor:
        emb_BE: Tensor = self.shared(pooled_BD)
        for family, own in zip(self.owners, self.own, strict=True):
            # A family that the batch lacks goes through its layer too, with no rows: its gradient
            # is then zero instead of missing, which workers that average gradients rely on.
            row_N = (family_B == family).nonzero().squeeze(1)
            emb_BE = emb_BE.index_add(0, row_N, own(pooled_BD[row_N]))
        return emb_BE
