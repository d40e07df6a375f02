"""How the languages' values become one number: ``search.objective``. A file a kind."""

from typing import TYPE_CHECKING

from components.config import union_of
from search.scoring.interface import Objective

if TYPE_CHECKING:
    AnyObjective = Objective
else:
    AnyObjective = union_of(__name__, Objective)
