"""What losses that learn from another model have in common."""

from __future__ import annotations

from collections.abc import Mapping

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

    def check_teacher(self, teachers: Mapping[str, int] | None) -> None:
        """Check that the teacher's embeddings will be there; how wide they are does not matter.

        Raises:
            KeyError: they will not.
        """
        if self.teacher not in (teachers or {}):
            raise KeyError(self.teacher)

    @property
    def teachers(self) -> tuple[OtherModel, ...]:
        return (self.other_model(self.teacher),)
