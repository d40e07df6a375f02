"""The one module that `best/` may need beside the stock ones.

Its source, that of the packed states and that of the pooling are written into one file of the
exported folder, so that a user needs sentence-transformers only. It must import nothing else.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sentence_transformers.base.modules.module import Module
from torch import Tensor, nn

from components.ragged import States


class PackedPooling(Module):  # type: ignore[misc]
    """A pooling over packed states, fed from sentence-transformers' padded batches.

    Args:
        kind: class of the pooling, defined above.
        arguments: what its constructor takes.
    """

    config_keys: ClassVar[list[str]] = ["kind", "arguments"]

    def __init__(self, kind: str, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.kind = kind
        self.arguments = arguments
        self.pooling: nn.Module = globals()[kind](**arguments)

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add ``sentence_embedding`` (B, D) to ``token_embeddings`` (B, L, D) and their mask."""
        states_BLD: Tensor = features["token_embeddings"]
        real_BL = features["attention_mask"].bool()
        ends_B = real_BL.sum(1).cumsum(0)
        offsets = nn.functional.pad(ends_B, (1, 0))
        features["sentence_embedding"] = self.pooling(States(states_BLD[real_BL], offsets))
        return features

    def get_embedding_dimension(self) -> int:
        """Dimensions of a pooled vector."""
        return int(self.arguments["width"])

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write settings and weights."""
        self.save_config(output_path)
        self.save_torch_weights(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> PackedPooling:
        """Read what `save` wrote."""
        hub = ("token", "cache_folder", "revision", "local_files_only")
        where = {"subfolder": subfolder} | {k: v for k, v in kwargs.items() if k in hub}
        model = cls(**cls.load_config(model_name_or_path, **where))
        cls.load_torch_weights(model_name_or_path, model=model, **where)
        return model
