"""What losses cost a search: ``python -m tests.cluster`` prints a table."""

from __future__ import annotations

import signal

from tests.cluster.machines import SPACE, machines
from tests.cluster.scenario import SEARCH, Scenario
from tests.cluster.test_cluster import worker_of


def main() -> None:
    """Let a search lose workers and machines, and print what it took to go on."""
    steps = []
    lost = 0
    with machines(3) as cluster:
        kind = "network namespaces" if cluster.network else "raylets on one address"
        search = Scenario(cluster, "table")
        search.start()
        search.wait_for_lanes(3)
        worker_of(cluster, 1).kill()
        search.after("a worker killed (SIGKILL)", r"\(process .* killed", trial_goes_on=True)
        worker_of(cluster, 2).send_signal(signal.SIGSTOP)
        search.after("a worker stopped (SIGSTOP)", "has not answered", trial_goes_on=True)
        cluster.all[3].kill()
        search.after("a machine gone", "went with its machine", trial_goes_on=True)
        cluster.join()
        search.after("a machine joins", "has grown")
        search.wait_for_lanes(3)
        search.end()
        steps += search.steps
        lost += len(search.lost_trials())
        repeated = sum(len(c) - len(set(c)) for c in search.curves().values())
        pair = Scenario(cluster, "pair", SPACE + SEARCH + "lane: {workers: 2, cpus: 1}\n")
        pair.start()
        pair.wait_for_lanes(1)
        worker_of(cluster, 1).kill()
        pair.after("a worker of two killed", r"\(process .* killed", trial_goes_on=True)
        pair.end()
        steps += pair.steps
        lost += len(pair.lost_trials())
    print(f"on {kind}; trials lost: {lost}; epochs in the journal twice: {repeated}")
    for step in steps:
        print(f"| {step.what} | {step.seconds:.0f} s | {step.said} |")


if __name__ == "__main__":
    main()
