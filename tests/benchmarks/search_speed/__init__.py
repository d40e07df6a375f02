"""What a search costs here and elsewhere, side by side: see `__main__.py`."""
