"""``python -m search.run`` is ``isogloss search``."""

from search.search import app

if __name__ == "__main__":
    app()
