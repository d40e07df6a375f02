"""No negatives but those of the batch."""

from typing import Literal

from search.settings.interface import NegativesConfig


class NoNegatives(NegativesConfig):
    """No sentences but those of the batch."""

    kind: Literal["none"] = "none"

    def mining(self) -> None:
        return None
