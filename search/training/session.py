"""What the trials that one process trains share: the base, its stored outputs, the sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from components.base import BaseConfig, load
from components.encoder import Encoder, assemble
from search.data.corpus import Corpus
from search.data.teachers import Teachers
from search.data.tokens import TokenisedCorpus
from search.evaluation.retrieval import encode, score_pairs
from search.evaluation.untouched import score_untouched, untouched_encoder
from search.events.types import SplitScores, UntouchedScored
from search.features import FeaturePlan, open_features, performance_notes
from search.runtime.precision import use_tensor_cores
from search.runtime.progress import tell
from search.runtime.ranks import Ranks
from search.scoring.settings import Scoring
from search.settings.sections import CacheSettings
from search.settings.trial import TrainingConfig, TrialConfig
from search.training.checkpoint import Checkpoint, restore_weights
from search.training.loop import EpochReport, train

# Of the validation and of the test; None where no sentences are put aside for that.
FinalScores = tuple[SplitScores, SplitScores | None]
SCORING_UNTOUCHED = "scoring the base without training"


@dataclass(frozen=True)
class SessionSettings:
    """What holds for all trials of a run.

    Attributes:
        features: what is stored of the base's frozen layers.
        training: of a trial; the pairs that it draws are the same in all.
        max_epochs: epochs of a finished trial.
        rung_epochs: epochs of the first rung, of which the warm-up is a share.
        pivot: language that the others are scored against.
        scoring: what is maximised.
        began: when the search began, in seconds since 1970: what is stored that was used since
            stays.
    """

    base: BaseConfig
    cache: CacheSettings
    features: FeaturePlan
    training: TrainingConfig
    max_epochs: int
    rung_epochs: int
    pivot: str
    scoring: Scoring
    began: float

    def plain(self) -> dict[str, object]:
        """All of it as plain data, for processes that do not import torch."""
        sections = {
            name: getattr(self, name).model_dump()
            for name in ("base", "cache", "training", "scoring")
        }
        return asdict(self) | sections

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> SessionSettings:
        """Read what `plain` wrote."""
        return cls(
            base=BaseConfig(**plain["base"]),
            cache=CacheSettings(**plain["cache"]),
            features=FeaturePlan(**plain["features"]),
            training=TrainingConfig(**plain["training"]),
            max_epochs=plain["max_epochs"],
            rung_epochs=plain["rung_epochs"],
            pivot=plain["pivot"],
            scoring=Scoring(**plain["scoring"]),
            began=plain["began"],
        )


class Session:
    """Trains one trial after another on a base that is loaded once.

    Args:
        corpus, validation: sentences to train on and to validate with.
        text: the sentences of ``corpus`` as text; needed where a trial may ask for other models.
        test: sentences that are read once, for the final comparison.
        device: where the base is loaded.
        ranks: the workers that share each batch; this process alone by default.

    Raises:
        ValueError: the base cannot be loaded.
    """

    def __init__(
        self,
        settings: SessionSettings,
        corpus: TokenisedCorpus,
        validation: TokenisedCorpus,
        text: Corpus | None,
        device: torch.device | str,
        ranks: Ranks | None = None,
        test: TokenisedCorpus | None = None,
    ) -> None:
        self.settings = settings
        self.ranks = ranks or Ranks()
        self._corpus = corpus
        self._validation = validation
        self._test = test
        use_tensor_cores(device)
        self._base = load(settings.base, device)
        self._features = open_features(
            self._base,
            settings.base,
            settings.cache,
            settings.features,
            settings.training,
            settings.max_epochs,
            settings.began,
        )
        self._notes = performance_notes(
            self._base, self._features, settings.cache, settings.features
        )
        self._teachers = None
        if text is not None:
            self._teachers = Teachers(text, settings.pivot, self._base.device)

    @property
    def notes(self) -> list[str]:
        """What the user should know of how the base runs, by now."""
        later = self._features.note(self.settings.cache) if self._features else ""
        # Where the plan said so before, it is known.
        told = self.settings.features.note(self.settings.cache)
        return [*self._notes, *([later] if later and not told else [])]

    def score_untouched(self) -> UntouchedScored:
        """Score the base without training."""
        tell(SCORING_UNTOUCHED)
        scores = score_untouched(
            self._base, self._validation, self._features, self.ranks, scoring=self.settings.scoring
        )
        if not math.isfinite(scores.accuracy):
            raise ValueError(
                "the base gives embeddings that are not finite; its weights must be finite "
                "numbers, and base.dtype one that holds them"
            )
        return UntouchedScored(**asdict(scores))

    def score(self, trial: TrialConfig | None, checkpoint: Checkpoint | None) -> FinalScores:
        """Score a trained model for the final comparison, on the validation and on the test.

        Args:
            trial, checkpoint: of the model; None for the base without training.

        Raises:
            ValueError: the checkpoint is of another model, or a setting does not fit the base.
        """
        if trial is None or checkpoint is None:
            tell(SCORING_UNTOUCHED)
            with untouched_encoder(self._base) as encoder:
                return self._score(encoder)
        tell("scoring for the final comparison")
        encoder = assemble(
            self._base, trial.adapter, trial.pooling, trial.head, self._corpus.families
        )
        try:
            restore_weights(checkpoint.part("encoder."), encoder)
            return self._score(encoder)
        finally:
            encoder.close()

    @torch.no_grad()
    def _score(self, encoder: Encoder) -> FinalScores:
        encoder.eval()
        parts = (self._validation, *([] if self._test is None else [self._test]))
        found = []
        for corpus in parts:
            feed = self._features.feed(encoder, corpus)[0] if self._features else None
            emb_BE = encode(encoder, corpus, corpus.present(), self.ranks, feed)
            scores, pairs = score_pairs(emb_BE.to(self._base.device), corpus, self.settings.scoring)
            found.append(SplitScores(**asdict(scores), found=pairs))
        return found[0], found[1] if len(found) > 1 else None

    def train(
        self,
        trial: TrialConfig,
        *,
        max_epochs: int | None = None,
        resume: Checkpoint | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Generator[EpochReport, None, None]:
        """Train a trial and report after every epoch; arguments and errors as of `loop.train`.

        Args:
            max_epochs: None for as many as all trials.
        """
        return train(
            trial,
            self._base,
            self._corpus,
            self._validation,
            max_epochs=self.settings.max_epochs if max_epochs is None else max_epochs,
            rung_epochs=self.settings.rung_epochs,
            teachers=self._teachers,
            features=self._features,
            ranks=self.ranks,
            scoring=self.settings.scoring,
            resume=resume,
            interrupted=interrupted,
        )
