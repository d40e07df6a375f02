"""Settings of a base."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from components.interface import Config


class BaseConfig(Config):
    """Which pretrained model, and how it is run.

    Attributes:
        model: ``builtin:tiny``, a local folder (transformers or sentence-transformers), or a name
            on the hub.
        dtype: ``auto`` is bfloat16 on a GPU and float32 on a CPU.
    """

    model: str = Field(min_length=1)
    revision: str | None = Field(default=None, description="branch, tag or commit on the hub")
    max_length: int = Field(default=128, ge=4, description="tokens after which a sentence is cut")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    trust_remote_code: bool = Field(default=False, description="run code that the model brings")


def options(config: BaseConfig) -> dict[str, Any]:
    """Arguments of every ``from_pretrained`` call for this base."""
    return {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
