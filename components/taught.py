"""What losses that learn from another model have in common."""

from __future__ import annotations

from pydantic import Field

from components.interface import LossConfig
from components.other_model import OtherModel, OtherModelConfig


class TaughtLossConfig(LossConfig, OtherModelConfig):
    """Settings of a loss that needs another model's embeddings of the pivot's sentences.

    Attributes:
        teacher: folder or hub name of the other model.
        revision, trust_remote_code, allow_pickle: of the teacher, as in `OtherModelConfig`.
    """

    teacher: str = Field(min_length=1, examples=["sentence-transformers/LaBSE"])

    @property
    def teachers(self) -> tuple[OtherModel, ...]:
        return (self.other_model(self.teacher),)
