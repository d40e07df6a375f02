"""Network namespaces that reach one another: machines with an address of their own, on this one."""

from __future__ import annotations

import os
import shutil
import subprocess


def can_make_namespaces() -> bool:
    """Whether this process may give each machine a network of its own."""
    if os.geteuid() or not shutil.which("ip"):
        return False
    name = f"isogloss{os.getpid()}-try"
    made = _ip("netns", "add", name, check=False)
    _ip("netns", "del", name, check=False)
    return made


def _ip(*words: str, check: bool = True) -> bool:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr}")
    return done.returncode == 0


class Network:
    """A bridge, and namespaces that are joined by it."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._bridge = f"ib{os.getpid()}"
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("link", "set", self._bridge, "up")

    def add(self, name: str) -> tuple[str, list[str]]:
        """Make a namespace: its address, and what to put in front of a command to run it there."""
        number = len(self._names) + 1
        address, space = f"10.213.{os.getpid() % 250}.{number}", f"isogloss{os.getpid()}-{name}"
        link = f"i{os.getpid()}-{number}"
        _ip("netns", "add", space)
        self._names.append(space)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", link, "master", self._bridge, "up")
        _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", space, "link", "set", device, "up")
        # Ray takes the address from which it would reach the internet.
        _ip("-n", space, "route", "add", "default", "dev", "eth0")
        return address, ["ip", "netns", "exec", space]

    def close(self) -> None:
        """Remove all of it; the processes in it must have ended."""
        for space in self._names:
            _ip("netns", "del", space, check=False)
        _ip("link", "del", self._bridge, check=False)
