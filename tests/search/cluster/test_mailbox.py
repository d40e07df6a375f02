"""The mailbox between a lane and its workers: who waits, and what is lost when one dies."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from search.cluster.mailbox import MAX_ATTEMPTS, Mailbox
from search.cluster.mailboxes import Mailboxes
from search.events.replies import (
    EpochReply,
    LaneImpossible,
    LaneLost,
    StorageLost,
    TrialFailed,
    TrialSpec,
)
from search.events.types import EpochDone
from search.runtime.checkpoints import Checkpoints
from search.runtime.progress import Progress, read_progress
from search.runtime.sealing import Part, seal

LONG = 300.0  # seconds after which what should have come is taken for lost; never waited in full
TURNS = 50  # of the event loop; whatever could go on by itself has done so after them


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "trials"


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, LONG))


async def settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def order(number: int) -> TrialSpec:
    return TrialSpec(trial=number, values={})


def epoch(number: int, last: bool = False) -> EpochReply:
    done = EpochDone(
        trial=0,
        epoch=number,
        loss=1.0,
        accuracy=0.5,
        by_language={"de": 0.5},
        seconds=1.0,
        trainable_parameters=10,
        start="tokens",
        began=0.0,
        ended=1.0,
    )
    return EpochReply(done=done, last=last)


def test_a_worker_waits_for_a_trial_and_gets_it_without_a_checkpoint(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        waiting = asyncio.create_task(mailbox.take())
        await settle()
        assert not waiting.done()
        await mailbox.assign(order(0))
        assert await waiting == (1, order(0))

    run(scene())


def test_how_far_a_trial_has_come_is_left_where_the_view_looks(folder: Path) -> None:
    progress = Progress(phase="epoch 1/9", done=3, total=12, unit="step")

    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder), str(folder.parent))
        await mailbox.assign(order(4))
        await mailbox.show(1, progress)
        await mailbox.show(0, Progress(phase="of a trial before"))

    run(scene())
    assert read_progress(folder.parent, 4) == progress
    assert str(progress) == "epoch 1/9 step 3/12"
    assert read_progress(folder.parent, 5) is None


def test_results_reach_the_lane_in_order_and_the_worker_goes_on_when_asked(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        taken = await mailbox.take()
        assert isinstance(taken, tuple)

        async def work() -> list[bool]:
            return [
                await mailbox.report(taken[0], epoch(1)),
                await mailbox.report(taken[0], epoch(2)),
                await mailbox.report(taken[0], epoch(3, last=True)),
            ]

        working = asyncio.create_task(work())
        results = [await mailbox.next_result() for _ in range(3)]
        assert results == [epoch(1), epoch(2), epoch(3, last=True)]
        assert await working == [True, True, False]

    run(scene())


def test_a_trial_that_is_stopped_does_no_further_epoch(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        taken = await mailbox.take()
        assert isinstance(taken, tuple)
        epochs = []

        async def work() -> None:
            for number in range(1, 10):
                epochs.append(number)
                if not await mailbox.report(taken[0], epoch(number)):
                    return

        working = asyncio.create_task(work())
        await mailbox.next_result()
        await mailbox.next_result()
        await settle()
        assert epochs == [1, 2]  # reported, and waiting until the lane wants more
        await mailbox.assign(order(1))
        await working
        assert epochs == [1, 2]
        assert (await mailbox.take()) == (2, order(1))

    run(scene())


def test_a_closed_mailbox_releases_everyone(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        taken = await mailbox.take()
        assert isinstance(taken, tuple)
        report = asyncio.create_task(mailbox.report(taken[0], epoch(1)))
        replaced = asyncio.create_task(mailbox.replaced(taken[0]))
        await settle()
        assert not report.done()
        assert not replaced.done()
        await mailbox.close()
        assert await report is False
        await replaced
        assert await mailbox.take() == "leave"
        assert await mailbox.report(taken[0], epoch(2)) is False

    run(scene())


def test_a_worker_that_waits_for_a_trial_is_sent_home(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        waiting = asyncio.create_task(mailbox.take())
        await settle()
        await mailbox.close()
        assert await waiting == "leave"

    run(scene())


def test_a_lane_that_waits_for_a_result_hears_that_it_was_closed(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        waiting = asyncio.create_task(mailbox.next_result())
        await settle()
        await mailbox.close()
        result = await waiting
        assert result == TrialFailed(message="the lane was closed")

    run(scene())


def test_what_the_last_trial_still_says_never_reaches_the_next(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        old = await mailbox.take()
        assert isinstance(old, tuple)
        late = asyncio.create_task(mailbox.report(old[0], epoch(1)))
        await settle()
        await mailbox.assign(order(1))  # the lane never asked for it
        assert await late is False
        assert await mailbox.report(old[0], epoch(2, last=True)) is False
        new = await mailbox.take()
        assert isinstance(new, tuple)
        reporting = asyncio.create_task(mailbox.report(new[0], epoch(7, last=True)))
        assert await mailbox.next_result() == epoch(7, last=True)
        await reporting

    run(scene())


def test_replaced_waits_until_the_trial_is_not_the_one_to_train(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        taken = await mailbox.take()
        assert isinstance(taken, tuple)
        waiting = asyncio.create_task(mailbox.replaced(taken[0]))
        await settle()
        assert not waiting.done()
        await mailbox.assign(order(1))
        await waiting
        await mailbox.replaced(taken[0])  # and at once, from then on

    run(scene())


def test_a_checkpoint_that_comes_in_pieces_is_read_in_pieces(folder: Path) -> None:
    data = b"".join(seal([Part("a", "U8", [9], 9, lambda: b"123456789")], {"report": "one"}))

    async def read(folder: Path) -> bytes:
        return b"".join([piece async for piece in Mailboxes(str(folder)).read(4)])

    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(4))
        assert isinstance(await mailbox.take(), tuple)
        assert await read(folder) == b""
        await mailbox.write(4, 1, data[:20])  # and the worker dies
        assert isinstance(await mailbox.take(), tuple)
        assert not list(folder.glob("4/*"))
        for piece in (data[:20], data[20:], b""):
            await mailbox.write(4, 1, piece)
        assert [file.read_bytes() for file in folder.glob("4/*")] == [data]
        assert await read(folder) == data
        await mailbox.write(4, 2, data[:20])
        await mailbox.close()
        assert [file.read_bytes() for file in folder.glob("4/*")] == [data]

    run(scene())


def test_an_epoch_that_is_reported_again_reaches_the_lane_once(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        taken = await mailbox.take()
        assert isinstance(taken, tuple)
        lost = asyncio.create_task(mailbox.report(taken[0], epoch(1)))
        assert await mailbox.next_result() == epoch(1)
        await settle()
        lost.cancel()

        assert await mailbox.take() == (1, order(0))
        again = asyncio.create_task(mailbox.report(taken[0], epoch(1)))
        await settle()
        assert not again.done()  # not a step before the lane asks
        asked = asyncio.create_task(mailbox.next_result())
        assert await again
        assert not asked.done()
        assert not await mailbox.report(taken[0], epoch(2, last=True))
        assert await asked == epoch(2, last=True)

    run(scene())


@pytest.mark.parametrize("complaint", ["", "RuntimeError: out of memory"])
def test_a_trial_that_costs_three_workers_fails_with_their_complaint(
    folder: Path, complaint: str
) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        for _ in range(MAX_ATTEMPTS):
            assert await mailbox.take() is not None
            if complaint:
                await mailbox.record_worker_error(complaint)
        waiting = asyncio.create_task(mailbox.take())
        result = await mailbox.next_result()
        assert isinstance(result, TrialFailed)
        assert "3 workers died at it" in result.message
        assert (complaint or "without an error message") in result.message
        await settle()
        assert not waiting.done()  # the lane is warm: the worker stands ready for the next trial
        await mailbox.assign(order(1))
        assert await waiting == (2, order(1))

    run(scene())


def test_the_next_trial_does_not_pay_for_the_last_one(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        for number in range(3):
            await mailbox.assign(order(number))
            for _ in range(MAX_ATTEMPTS):
                assert await mailbox.take() is not None

    run(scene())


@pytest.mark.parametrize(("fatal", "kind"), [(True, LaneImpossible), (False, LaneLost)])
def test_giving_up_reaches_the_lane(folder: Path, fatal: bool, kind: Any) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        waiting = asyncio.create_task(mailbox.next_result())
        await settle()
        await mailbox.abort("no such model", fatal)
        assert await waiting == kind(message="no such model")

    run(scene())


def test_workers_that_never_take_a_trial_lose_the_lane(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        for _ in range(MAX_ATTEMPTS):
            assert await mailbox.start(0) and await mailbox.start(1)
        await mailbox.record_worker_error("OSError: no device")
        assert not await mailbox.start(1)
        lost = await mailbox.next_result()
        assert isinstance(lost, LaneLost)
        assert lost.message == "3 workers died before they took a trial, OSError: no device"

    run(scene())


def test_only_starts_in_a_row_are_counted(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        for number in range(MAX_ATTEMPTS + 2):
            await mailbox.assign(order(number))
            assert await mailbox.start(0)
            assert await mailbox.take()

    run(scene())


def test_a_checkpoint_that_cannot_be_written_is_an_error_of_the_worker(folder: Path) -> None:
    async def scene() -> None:
        folder.write_text("a file stands where the folder is to be")
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        taken = await mailbox.take()
        assert isinstance(taken, tuple)
        with pytest.raises(OSError, match="Not a directory") as caught:
            await mailbox.write(0, 2, b"state")
        assert caught.value.filename == str(folder / "0" / "epoch-2.safetensors")
        lost = StorageLost(message="the disk is full")
        assert not await mailbox.report(taken[0], lost)
        assert await mailbox.next_result() == lost

    run(scene())


def test_a_worker_that_waits_in_vain_is_told_so_and_asks_again(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        assert await mailbox.take(0.01) == "wait"
        await mailbox.assign(order(0))
        assert await mailbox.take(0.01) == (1, order(0))

    run(scene())


def test_a_trial_that_gets_on_may_lose_any_number_of_workers(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        await mailbox.assign(order(0))
        for number in range(1, 3 * MAX_ATTEMPTS):
            taken = await mailbox.take()
            assert isinstance(taken, tuple)
            reporting = asyncio.create_task(mailbox.report(taken[0], epoch(number)))
            assert isinstance(await mailbox.next_result(), EpochReply)
            reporting.cancel()  # its worker dies

    run(scene())


def test_a_lost_machine_is_no_fault_of_the_trial(folder: Path) -> None:
    async def scene() -> None:
        mailbox = Mailbox(Checkpoints(folder))
        assert await mailbox.record_loss("it went with its machine", True) is None
        await mailbox.assign(order(7))
        for _ in range(3 * MAX_ATTEMPTS):
            assert isinstance(await mailbox.take(), tuple)
            assert await mailbox.record_loss("it went with its machine", True) == 7

    run(scene())


def test_each_lane_has_a_mailbox_of_its_own(folder: Path) -> None:
    async def scene() -> None:
        boxes = Mailboxes(str(folder))
        assert [await boxes.open(), await boxes.open()] == [1, 2]
        await boxes.call(1, "assign", order(4))
        assert await boxes.call(2, "take", 0.01) == "wait"
        assert await boxes.call(1, "take", 0.01) == (1, order(4))
        await boxes.lose(1, "rank 0 was killed", False)
        assert await boxes.losses() == ["lane 1: a worker of trial 4 was lost: rank 0 was killed"]
        assert await boxes.losses() == []

    run(scene())
