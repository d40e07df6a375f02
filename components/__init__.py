"""The parts of an encoder: a folder a family, a file a variant.

Nothing here knows of searches, workers, Ray or Optuna.
"""
