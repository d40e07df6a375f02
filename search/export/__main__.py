"""``python -m search.export`` is ``isogloss export``."""

from search.export_command import app

if __name__ == "__main__":
    app()
