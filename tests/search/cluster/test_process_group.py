"""How the workers of a lane reach each other."""

from __future__ import annotations

import psutil

from search.cluster.process_group import interface_of


def test_the_interface_is_the_one_with_the_address() -> None:
    every = {
        (address.address, name)
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if "." in address.address
    }
    assert ("127.0.0.1", "lo") in every or ("127.0.0.1", "lo0") in every
    assert {(address, interface_of(address)) for address, _ in every} == every


def test_an_address_of_another_machine_has_no_interface() -> None:
    assert interface_of("192.0.2.1") is None
