"""What the trials that one process trains share: the base, its stored outputs, the sentences."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from components.base import BaseConfig, load
from search.data.corpus import Corpus
from search.data.teachers import Teachers
from search.data.tokens import TokenisedCorpus
from search.evaluation.untouched import score_untouched
from search.events.types import UntouchedScored
from search.features import FeaturePlan, open_features, performance_notes
from search.runtime.precision import use_tensor_cores
from search.runtime.ranks import Ranks
from search.scoring.settings import Scoring
from search.settings.sections import CacheSettings
from search.settings.trial import TrainingConfig, TrialConfig
from search.training.checkpoint import Checkpoint
from search.training.loop import EpochReport, train


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
    ) -> None:
        self.settings = settings
        self.ranks = ranks or Ranks()
        self._corpus = corpus
        self._validation = validation
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
        scores = score_untouched(
            self._base, self._validation, self._features, self.ranks, scoring=self.settings.scoring
        )
        return UntouchedScored(**asdict(scores))

    def train(
        self,
        trial: TrialConfig,
        resume: Checkpoint | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Generator[EpochReport, None, None]:
        """Train a trial and report after every epoch; arguments and errors as of `loop.train`."""
        return train(
            trial,
            self._base,
            self._corpus,
            self._validation,
            max_epochs=self.settings.max_epochs,
            rung_epochs=self.settings.rung_epochs,
            teachers=self._teachers,
            features=self._features,
            ranks=self.ranks,
            scoring=self.settings.scoring,
            resume=resume,
            interrupted=interrupted,
        )
