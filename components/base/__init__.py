"""The pretrained transformer: load it, and run it on packed tokens."""

from components.base.config import BaseConfig
from components.base.loading import load, load_skeleton
from components.base.model import Base

__all__ = ["Base", "BaseConfig", "load", "load_skeleton"]
