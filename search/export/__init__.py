"""A trained trial -> a folder that sentence-transformers loads."""

from search.export.custom import CUSTOM_FILE, trusted
from search.export.export import ExportError, HeldOut, export, load_folder, score_folder
from search.export.model import Form, Routing, write_model

__all__ = [
    "CUSTOM_FILE",
    "ExportError",
    "Form",
    "HeldOut",
    "Routing",
    "export",
    "load_folder",
    "score_folder",
    "trusted",
    "write_model",
]
