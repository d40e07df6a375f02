"""Machines that are reached by ssh, made of namespaces: what ``ray up`` is tried on.

Each has a network, processes, a home and Ray's folder of its own, and an ssh server. Only root may
make such ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.machines import wait_for
from tests.cluster.network import Network, can_make_namespaces

START_S = 60.0
# Run in the namespaces of a machine: what it has of its own hides that of this one.
_BOOT = """
mkdir -p /tmp/ray /run/sshd && mount --bind "$1/passwd" /etc/passwd &&
mount --bind "$1/ray" /tmp/ray && mount -t tmpfs shm /dev/shm &&
exec "$2" -D -e -o PidFile=none -o StrictModes=no -o HostKey="$1/host_key" -o UsePAM=no \\
  -o AuthorizedKeysFile="$1/authorized_keys" -o PasswordAuthentication=no -o PermitRootLogin=yes
"""


def why_not() -> str:
    """What is missing here to make such machines; empty where nothing is."""
    needed = ("sshd", "ssh", "ssh-keygen", "rsync", "unshare", "nsenter")
    missing = [name for name in needed if not _which(name)]
    if missing:
        return f"there is no {' and no '.join(missing)}"
    return "" if can_make_namespaces() else "this process may make no namespaces"


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


@dataclass
class SshMachine:
    """One machine.

    Attributes:
        folder: of its home and its files.
        address: by which the others reach it.
        server: the parent of all its processes.
    """

    folder: Path
    address: str
    server: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """Its home."""
        return self.folder / "home"

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a line of the shell there, in its home; its output goes to a pipe."""
        (child,) = _children(self.server.pid)
        return subprocess.Popen(
            ["nsenter", "--target", str(child), "--mount", "--pid", "--net",
             "bash", "-c", f"cd; {command}"],
            env={"HOME": str(self.home), "PATH": _path(), "LANG": "C.UTF-8"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, command: str, seconds: float) -> str:
        """Run a line of the shell there and give its output.

        Raises:
            AssertionError: it fails, or takes longer.
        """
        process = self.start(command)
        try:
            said = process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{command}: {process.communicate()[0]}") from None
        assert process.returncode == 0, f"{command}: {said}"
        return said


def _path() -> str:
    return f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/bin"


def _children(process: int) -> Sequence[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


@contextmanager
def ssh_machines(count: int) -> Iterator[list[SshMachine]]:
    """Some machines, each of which may log in to the others without a password."""
    folder = Path(tempfile.mkdtemp(prefix="iso-"))
    made: list[SshMachine] = []
    network = Network()
    try:
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        for number in range(count):
            address, prefix = network.add(str(number))
            made.append(_boot(folder / str(number), key, address, prefix))
        yield made
    finally:
        for machine in made:
            machine.server.kill()  # the first process of a machine: all others go with it
            machine.server.wait()
        network.close()
        shutil.rmtree(folder, ignore_errors=True)


def _boot(folder: Path, key: Path, address: str, prefix: Sequence[str]) -> SshMachine:
    ssh = folder / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (folder / "ray").mkdir()
    names = Path("/etc/passwd").read_text().splitlines()
    users = [line.split(":") for line in names]
    mine = [[*u[:5], str(folder / "home"), "/bin/bash"] if u[2] == "0" else u for u in users]
    (folder / "passwd").write_text("".join(":".join(user) + "\n" for user in mine))
    for name, target in (("key", ssh / "id_ed25519"), ("key", folder / "host_key")):
        shutil.copy(key.with_name(name), target)
    shutil.copy(key.with_suffix(".pub"), folder / "authorized_keys")
    (ssh / "config").write_text("StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n")
    log = folder / "sshd.log"
    server = _which("sshd")
    assert server is not None, "asked before"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*prefix, "unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
             "bash", "-c", _BOOT, "boot", str(folder), server],
            stdout=out, stderr=out,
        )  # fmt: skip
    wait_for(lambda: b"Server listening" in log.read_bytes(), START_S, str(log))
    return SshMachine(folder, address, process)
