"""The Ray cluster a search runs on: join or start it, and see what it has."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private import services

from search.cluster.size import Node
from search.settings.problems import InputError

# A worker that does not answer for so long has come to a standstill and is replaced.
STANDSTILL_S = 60
# Read by Ray where it is imported or started, in this process and in those it starts.
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # A lane starts where there is room for all of its workers; of a lost machine, see `group`.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(STANDSTILL_S),
    # It would be one more process a lane. A machine that is taken away costs a trial what it has
    # done of an epoch, whether or not that was announced.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",  # it would take over the lane's log
    # The searcher limits how many trials there are: those it gives may all start at once.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    "TOKENIZERS_PARALLELISM": "false",
}
# Of no use on a single machine: workers started ahead of time, which lack the environment that ours
# need and are never taken.
ALONE = {"RAY_prestart_worker_first_driver": "0"}

PATIENCE_S = 10.0  # with an address at which a cluster is to be joined


@contextmanager
def cluster(address: str | None, cpus: int, gpus: int) -> Iterator[str | None]:
    """Join the cluster at an address, or start one on this machine; leave it or end it afterwards.

    Args:
        cpus, gpus: what one started here may use.

    Yields:
        Where its dashboard is, and how to get in.

    Raises:
        InputError: there is no cluster at the address, or it does not let us in.
    """
    settings = QUIET if address else QUIET | ALONE
    os.environ.update(settings)
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, object] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            # Every process must be told which instance it belongs to: where a second one runs on
            # this host, the actor that frees a dead lane's resources would find neither.
            port = _free_port()
            os.environ["RAY_GCS_SERVER_PORT"] = str(port)
            own = f"{ray.util.get_node_ip_address()}:{port}"
            options |= {"num_cpus": cpus, "num_gpus": gpus, "include_dashboard": True}
        else:
            ray.init(address, **options)
            own = ray.get_runtime_context().gcs_address
            leave()
        environment = {"env_vars": settings | {"RAY_ADDRESS": own}}
        handler = signal.getsignal(signal.SIGTERM)
        with _daemons_in_own_session():
            context = ray.init(address or "local", runtime_env=environment, **options)
        signal.signal(signal.SIGTERM, handler)  # Ray's own would leave nothing ranked
    except Exception as error:  # ConnectionError, but also gRPC's and the token's own
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        where = "a Ray instance cannot be started here" if address is None else \
            f"no Ray cluster can be joined at {address!r}"  # fmt: skip
        hint = ""
        if "token" in str(error).lower():
            hint = "; RAY_AUTH_MODE=token must be set in the environment of this command"
        raise InputError(f"{where}: {reason.strip()}{hint}") from error
    try:
        url = context.dashboard_url
        mode = os.environ.get("RAY_AUTH_MODE", "token" if address is None else "disabled")
        hint = " (`ray get-auth-token` prints its token)" if mode == "token" else ""
        yield f"http://{url}{hint}" if url else None
    finally:
        leave()


def leave() -> None:
    """Leave the cluster, and end it where this process has started it.

    An object of Ray that another thread frees meanwhile ends this process at once, without a word
    (its core worker "has already been shutdown"). The view's thread allocates, so it may be the one
    in which Python collects garbage: all of it is collected before, and none during it.
    """
    gc.disable()
    gc.collect()
    try:
        ray.shutdown()
    finally:
        gc.enable()


def refuse_unreachable(address: str) -> None:
    """Refuse an address at which nobody answers, in seconds; Ray tries for more than a minute.

    Args:
        address: HOST:PORT, or 'auto' for the cluster that Ray finds by itself.

    Raises:
        InputError: the address has another form, or nobody answers there.
    """
    try:
        found = services.canonicalize_bootstrap_address(address)
        if found is None:
            raise ConnectionError("none was started on this machine")
        host, _, port = found.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S).close()
        except (OSError, OverflowError) as error:
            raise ConnectionError(f"nobody answers at {found} ({error})") from error
    except (ConnectionError, ValueError) as error:
        raise InputError(f"no Ray cluster can be joined at {address!r}: {error}") from error


@contextmanager
def _daemons_in_own_session() -> Iterator[None]:
    """Keep signals that are meant for this process and its group from the daemons that Ray starts.

    A closed terminal, `timeout` and batch systems signal the whole group. Without its control store
    Ray would wait a minute for it, and nothing would end in order.
    """
    ordinary = services.ConsolePopen

    class InOwnSession(services.ConsolePopen):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs, start_new_session=True)

    services.ConsolePopen = InOwnSession
    try:
        yield
    finally:
        services.ConsolePopen = ordinary


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def machines_there() -> list[Node]:
    """The machines of the cluster that this process is connected to."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(have.get("CPU", 0), have.get("GPU", 0)) for have in alive]
