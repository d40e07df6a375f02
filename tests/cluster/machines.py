"""A Ray cluster of several machines on this one, for tests.

Where this process may make network namespaces (as root), each machine has one, with an address of
its own; elsewhere each is a raylet of its own on the loopback address. Either way each machine has
its own home, its own cache and the token of the cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.cluster.network import Network, can_make_namespaces

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
TOKEN = "0123456789abcdef" * 4
STORE_BYTES = 100_000_000  # of each machine's object store
START_S = 240.0  # on a busy machine; it takes some seconds
# A search of a few seconds a trial, small enough for several lanes on two cores.
SPACE = """
data: {train: builtin:cldr, languages: [en, de], train_rows: 80, validation_rows: 24}
base: {model: builtin:tiny}
training: {batch_size: 8, pairs_per_epoch: 16}
head: {kind: linear, width: {int: [8, 64]}}
"""


@dataclass
class Machine:
    """One machine.

    Attributes:
        name: also of its folder.
        address: by which the others reach it.
        home: its home folder.
        prefix: in front of a command, so that it runs there.
        process: of ``ray start``; all of the machine's Ray processes come from it.
    """

    name: str
    address: str
    home: Path
    prefix: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Environment of what runs there."""
        return os.environ | {
            "HOME": str(self.home),
            "ISOGLOSS_CACHE": str(self.home / "cache"),
            "RAY_AUTH_MODE": "token",
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "RAY_worker_niceness": "0",  # by default 15: workers starve on a busy machine
        }

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Its Ray processes; those with ``name`` in their command line."""
        if self.process is None:
            return []
        found = []
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if name in " ".join(process.cmdline()):
                        found.append(process)
        return found

    def kill(self) -> None:
        """Take the machine away at once, as a spot machine goes."""
        processes = self.processes()
        assert self.process is not None, "it runs"
        self.process.kill()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        self.process = None


@dataclass
class Machines:
    """A head and what machines join it.

    Args:
        folder: of homes and of Ray's files.
        network: of the machines; None where all have the loopback address.
    """

    folder: Path
    network: Network | None
    all: list[Machine] = field(default_factory=list)
    _port: int = 6379
    _dashboard_port: int = 8265

    @property
    def head(self) -> Machine:
        """The machine on which commands run."""
        return self.all[0]

    @property
    def address(self) -> str:
        """Where Ray is joined."""
        return f"{self.head.address}:{self._port}"

    @property
    def dashboard(self) -> str:
        """The dashboard, as the head reaches it."""
        return f"http://127.0.0.1:{self._dashboard_port}"

    def start_head(self, *words: str, environment: Mapping[str, str] | None = None) -> Machine:
        """Start the head, which has no CPUs for workers."""
        if self.network is None:
            self._port, self._dashboard_port = free_port(), free_port()
        machine = self._new("head")
        self._start(
            machine,
            ["--head", f"--port={self._port}", "--num-cpus=0", f"--temp-dir={self.folder}/ray",
             "--dashboard-host=127.0.0.1", f"--dashboard-port={self._dashboard_port}", *words],
            environment,
        )  # fmt: skip
        return machine

    def join(self, cpus: int = 1) -> Machine:
        """Start another machine, with CPUs for workers."""
        machine = self._new(f"worker{len(self.all)}")
        port = [] if self.network else [f"--dashboard-agent-listen-port={free_port()}"]
        # A folder of its own: the agents of machines that share one unpack a job's files into one
        # place, and each removes what another has unpacked.
        self._start(
            machine,
            [f"--address={self.address}", f"--num-cpus={cpus}",
             f"--temp-dir={machine.home}/ray", *port],
        )  # fmt: skip
        return machine

    def _new(self, name: str) -> Machine:
        home = self.folder / name
        token = home / ".ray" / "auth_token"
        token.parent.mkdir(parents=True)
        token.write_text(TOKEN)
        token.chmod(0o600)
        address, prefix = ("127.0.0.1", []) if self.network is None else self.network.add(name)
        machine = Machine(name, address, home, prefix)
        self.all.append(machine)
        return machine

    def _start(
        self, machine: Machine, words: list[str], environment: Mapping[str, str] | None = None
    ) -> None:
        log = machine.home / "ray-start.log"
        with log.open("wb") as out:
            machine.process = subprocess.Popen(
                [*machine.prefix, RAY, "start", "--block", f"--node-ip-address={machine.address}",
                 "--num-gpus=0", f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats",
                 *words],
                env=machine.environment | dict(environment or {}), stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        wait_for(lambda: b"Ray runtime started" in log.read_bytes(), START_S, str(log))

    def command(self, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start a command on the head; its output, both streams, goes to a pipe."""
        return subprocess.Popen(
            [*self.head.prefix, *words], env=self.head.environment, cwd=cwd or self.head.home,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def get(self, url: str) -> str:
        """Read a page, as the head reaches it."""
        read = (
            "import sys, urllib.request as u;"
            "r = u.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]});"
            "print(u.urlopen(r, timeout=60).read().decode())"
        )
        return finish(self.command(sys.executable, "-c", read, url, TOKEN), 120)

    def metrics(self) -> str:
        """What Prometheus would read of all machines."""
        file = self.folder / "ray" / "prom_metrics_service_discovery.json"
        targets = [t for group in json.loads(file.read_text()) for t in group["targets"]]
        return "".join(self.get(f"http://{target}/metrics") for target in targets)

    def search(self, space: str, name: str, *words: str) -> subprocess.Popen[str]:
        """Start a search on the head, which joins the cluster."""
        file = self.head.home / f"{name}.yaml"
        file.write_text(space)
        return self.command(
            sys.executable, "-m", "search.run", str(file), "--address", self.address,
            "--output", str(self.head.home / "runs"), "--name", name, *words,
        )  # fmt: skip

    def close(self) -> None:
        """End every process and remove the network and the files."""
        for machine in reversed(self.all):
            if machine.process is not None:
                machine.kill()
        if self.network is not None:
            self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def machines(
    workers: int,
    cpus: int = 1,
    namespaces: bool | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Machines]:
    """A cluster of a head without CPUs and some workers.

    Args:
        environment: more of it, for the head's Ray.
    """
    folder = Path(tempfile.mkdtemp(prefix="iso-"))  # short: a socket's path has 107 characters
    if namespaces is None:
        namespaces = can_make_namespaces()
    made = Machines(folder, Network() if namespaces else None)
    try:
        made.start_head(environment=environment)
        for _ in range(workers):
            made.join(cpus)
        yield made
    finally:
        made.close()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float, what: str | Callable[[], str]) -> None:
    """Wait until a condition holds; it is a failure, told as ``what``, if it does not in time."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds:.0f} s: {told}")
        time.sleep(0.1)


def finish(process: subprocess.Popen[str], seconds: float) -> str:
    """Wait for a command and give its output."""
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(process.communicate()[0]) from None
