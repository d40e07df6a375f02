"""Find the text encoder or decoder in what a checkpoint holds."""

from __future__ import annotations

import transformers
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from components.base.config import BaseConfig, options
from components.base.errors import one_sentence
from components.base.remote_code import code_elsewhere, unpinned_revision


def read_settings(config: BaseConfig, source: str) -> PreTrainedConfig:
    """Read the settings of a checkpoint.

    Args:
        source: as `locate` gives it.

    Raises:
        ValueError: they cannot be read, or are of no text decoder or encoder; one sentence says
            why.
    """
    if config.trust_remote_code:
        _refuse_unpinned_code(config, source)
    with one_sentence(config.model):
        settings = AutoConfig.from_pretrained(source, **options(config))
    if settings.is_encoder_decoder and _encoder_class(settings) is None:
        raise ValueError(
            f"base.model {config.model!r} is a {settings.model_type} encoder-decoder, of which "
            f"transformers has no encoder alone; it must be a decoder, an encoder, or a T5"
        )
    if not isinstance(getattr(_text_settings(settings), "hidden_size", None), int):
        raise ValueError(
            f"base.model {config.model!r} is a {settings.model_type}, which has no hidden_size; it "
            f"must be a text decoder or encoder"
        )
    return settings


def model_class(settings: PreTrainedConfig) -> type[PreTrainedModel]:
    """The class to load a checkpoint with: of an encoder-decoder (T5), its encoder alone."""
    return _encoder_class(settings) or AutoModel


def text_part(model: PreTrainedModel) -> PreTrainedModel:
    """The model of text inside a model of text and images; any other model is its own.

    Raises:
        ValueError: it has none that can be told from the rest.
    """
    settings = _text_settings(model.config)
    if settings is model.config:
        return model
    found = [
        module
        for module in model.modules()
        if isinstance(module, PreTrainedModel) and type(module.config) is type(settings)
    ]
    if not found:
        raise ValueError(
            f"base.model is a {type(model).__name__}, whose model of text cannot be told from the "
            f"rest; it must be a text decoder or encoder"
        )
    return found[0]  # the outermost comes first


def _encoder_class(settings: PreTrainedConfig) -> type[PreTrainedModel] | None:
    # An encoder that was saved alone (T5EncoderModel) says that it is no encoder-decoder, but its
    # model type still names the whole.
    name = MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.get(settings.model_type, "")
    found: type[PreTrainedModel] | None = None
    if name.endswith("EncoderModel"):
        found = getattr(transformers, name)
    return found


def _text_settings(settings: PreTrainedConfig) -> PreTrainedConfig:
    text = getattr(settings, "text_config", None)
    return text if isinstance(text, PreTrainedConfig) else settings


def _refuse_unpinned_code(config: BaseConfig, source: str) -> None:
    """Refuse code that may be another one at the next load.

    Raises:
        ValueError: the revision on the hub is no full commit hash, or a file of the checkpoint
            names code of another repository, which has no revision.
    """
    fault = unpinned_revision(source, config.revision)
    if fault:
        raise ValueError(f"base.revision {fault}")
    with one_sentence(config.model):
        where: dict[str, object] = {"revision": config.revision}
        files = {
            "config.json": PreTrainedConfig.get_config_dict(source, **where)[0],
            "tokenizer_config.json": get_tokenizer_config(source, **where),
        }
    fault = code_elsewhere(source, files)
    if fault:
        raise ValueError(f"base.model {config.model!r} {fault}")
