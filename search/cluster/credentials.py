"""Keep the user's keys out of what Ray writes down."""

from __future__ import annotations

from ray.tune.execution import class_cache


def keep_out_of_runtime_env() -> None:
    """Stop Ray Tune from copying ``AWS_*`` variables into the environment of its trial actors.

    Tune puts them, where this process has them, into each actor's ``runtime_env``, which Ray writes
    in clear into the log of its runtime_env agent and keeps in its control store. Nothing here
    needs that: what runs on a machine inherits the environment of the Ray processes there, and
    a lane itself reads no bucket.
    """
    names = class_cache.ENV_VARS_TO_PROPAGATE
    names -= {name for name in names if name.startswith("AWS_")}
