"""A further model that a trial asks for: a teacher, or one that finds negatives."""

from __future__ import annotations

from dataclasses import dataclass

from components.config import Config


@dataclass(frozen=True)
class OtherModel:
    """Which model, and what its files may do.

    Attributes:
        name: ``builtin:tiny``, a folder (sentence-transformers or transformers), or a hub name.
        revision, trust_remote_code, allow_pickle: as in `OtherModelConfig`.
    """

    name: str
    revision: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False


class OtherModelConfig(Config):
    """Consent to what the files of a further model do; as `BaseConfig` has it for the base.

    Attributes:
        revision: branch, tag or commit on the hub.
        trust_remote_code: run code that the model brings; for a model on the hub, ``revision`` must
            then be a full commit hash.
        allow_pickle: read weights from a pickle where there are no safetensors; only tensors are
            read from it.
    """

    revision: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False

    def other_model(self, name: str) -> OtherModel:
        """The model of that name, with this consent."""
        return OtherModel(name, self.revision, self.trust_remote_code, self.allow_pickle)
