"""Settings of a base."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.config import Config


class BaseConfig(Config):
    """Which pretrained model, and how it is run.

    Attributes:
        model: ``builtin:tiny``, a local folder (transformers, sentence-transformers, or a PEFT
            adapter, which is merged into the base that it names), or a name on the hub.
        revision: branch, tag or commit on the hub.
        max_length: tokens after which a sentence is cut; at most what the model has positions for.
        dtype: ``auto`` is bfloat16 on a GPU and float32 on a CPU.
        save_dtype: dtype of the transformer's weights in ``best/``: ``auto`` is the dtype that the
            base was run in; float32 takes twice the space of a half precision, and merges an
            adapter without rounding.
        trust_remote_code: run code that the model brings. For a model on the hub, ``revision`` must
            then be a full commit hash, so that the code is the one that was looked at; a local
            folder is run as it lies there.
        allow_pickle: read weights from a pickle (``pytorch_model.bin``) where there are no
            safetensors. Only tensors are read from it (``weights_only=True``).
    """

    model: str = Field(min_length=1)
    revision: str | None = None
    max_length: int = Field(default=128, ge=4, le=131_072)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    save_dtype: Literal["auto", "float32"] = "auto"
    trust_remote_code: bool = False
    allow_pickle: bool = False


def options(config: BaseConfig) -> dict[str, object]:
    """Arguments of every ``from_pretrained`` call for this base."""
    return {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
