"""Hard negatives, found in the sentences to train on."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.errors import SettingError
from components.other_model import OtherModelConfig
from search.settings.interface import Count, Mining, NegativesConfig


class MinedNegatives(NegativesConfig, OtherModelConfig):
    """Hard negatives: sentences similar to the anchor, but not parallel to it.

    They are in the language of the translation, and come from the sentences to train on.

    Attributes:
        count: negatives a pair.
        encoder: a sentence-transformers or transformers model that finds them; None for the model
            in training.
        every: epochs after which the model in training finds them anew; None for every epoch.
        margin: a sentence is taken only if it is less similar to the anchor than this share of
            the translation's similarity, for it may be a translation too (de Souza Moreira et al.,
            2024, NV-Retriever, section 3.2: TopK-PercPos); None for no bound.
        pool: rows of the corpus, drawn anew each time, among which they are sought; None for all.
        revision, trust_remote_code, allow_pickle: of the encoder, as in `OtherModelConfig`.
    """

    kind: Literal["mined"] = "mined"
    count: int = Field(default=1, ge=1, le=64)
    encoder: str | None = Field(default=None, min_length=1)
    every: Count | None = None
    margin: float | None = Field(default=0.95, gt=0, le=1)
    pool: Annotated[int, Field(ge=2)] | None = 1024

    @model_validator(mode="after")
    def _effective(self) -> Self:
        if self.encoder is not None and self.every is not None:
            raise SettingError(
                "negatives.every",
                f"is {self.every}, but {self.encoder!r}, which finds the negatives, does not "
                f"change with the epochs",
                "be left out, or encoder",
            )
        consent = self.model_dump(include=set(OtherModelConfig.model_fields), exclude_defaults=True)
        if self.encoder is None and consent:
            raise SettingError(
                f"negatives.{next(iter(consent))}",
                "is given, but no encoder that it could be of",
                "be left out, or encoder be given",
            )
        return self

    def mining(self) -> Mining:
        return Mining(
            count=self.count,
            margin=self.margin,
            pool=self.pool,
            every=self.every or 1,
            encoder=None if self.encoder is None else self.other_model(self.encoder),
        )
