"""Group commit: what is asked for together is done together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from bridge.batcher import Batcher, shared
from hivemind_worker.domain.errors import NotFound, QueueFull, StoreUnavailable

Work = Callable[[Sequence[int]], Sequence[int | Exception]]


def run(work: Work, body: Callable[[Batcher[int, int]], Coroutine[Any, Any, Any]], **given: int) -> Any:
    async def main() -> Any:
        batcher: Batcher[int, int] = Batcher("test", work, **given)
        batcher.start()
        try:
            return await asyncio.wait_for(body(batcher), 20)
        finally:
            batcher.stop(5)

    return asyncio.run(main())


async def ask_all(batcher: Batcher[int, int], items: Sequence[int]) -> list[int | BaseException]:
    return await asyncio.gather(*(batcher.ask(item) for item in items), return_exceptions=True)


def doubled(items: Sequence[int]) -> list[int | Exception]:
    return [2 * item for item in items]


def test_what_is_asked_at_once_is_one_batch() -> None:
    batches: list[list[int]] = []

    def work(items: Sequence[int]) -> list[int | Exception]:
        batches.append(list(items))
        return doubled(items)

    assert run(work, lambda b: ask_all(b, range(100))) == [2 * n for n in range(100)]
    assert batches == [list(range(100))]


def test_what_comes_while_a_batch_is_under_way_is_the_next_batch() -> None:
    batches: list[list[int]] = []
    begun, go = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int | Exception]:
        batches.append(list(items))
        begun.set()
        assert go.wait(10)
        return doubled(items)

    async def body(batcher: Batcher[int, int]) -> list[int | BaseException]:
        first = asyncio.create_task(batcher.ask(1))
        await asyncio.to_thread(begun.wait, 10)
        rest = asyncio.create_task(ask_all(batcher, [2, 3, 4]))
        await asyncio.sleep(0)
        go.set()
        return [await first, *await rest]

    assert run(work, body) == [2, 4, 6, 8]
    assert batches == [[1], [2, 3, 4]]


def test_a_batch_is_never_larger_than_its_bound() -> None:
    sizes: list[int] = []

    def work(items: Sequence[int]) -> list[int | Exception]:
        sizes.append(len(items))
        return doubled(items)

    assert run(work, lambda b: ask_all(b, range(25)), largest=10) == [2 * n for n in range(25)]
    assert sizes == [10, 10, 5]


def test_an_error_goes_to_the_one_it_belongs_to() -> None:
    def work(items: Sequence[int]) -> list[int | Exception]:
        return [NotFound(str(item)) if item == 3 else item for item in items]

    one, three, five = run(work, lambda b: ask_all(b, [1, 3, 5]))
    assert (one, five) == (1, 5)
    assert isinstance(three, NotFound)


def test_work_that_breaks_on_one_item_is_done_again_for_the_others() -> None:
    def work(items: Sequence[int]) -> list[int | Exception]:
        if 3 in items:
            raise ValueError("three is broken")
        return doubled(items)

    one, three, five = run(work, lambda b: ask_all(b, [1, 3, 5]))
    assert (one, five) == (2, 10)
    assert isinstance(three, ValueError)


def test_a_store_that_is_away_is_asked_once_and_not_for_each() -> None:
    calls = 0

    def work(items: Sequence[int]) -> list[int | Exception]:
        nonlocal calls
        calls += 1
        raise StoreUnavailable("away")

    answers = run(work, lambda b: ask_all(b, range(10)))
    assert calls == 1
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)


def test_who_hangs_up_before_its_turn_has_asked_for_nothing() -> None:
    batches: list[list[int]] = []
    begun, go = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int | Exception]:
        batches.append(list(items))
        begun.set()
        assert go.wait(10)
        return doubled(items)

    async def body(batcher: Batcher[int, int]) -> int:
        first = asyncio.create_task(batcher.ask(1))
        await asyncio.to_thread(begun.wait, 10)
        gone, stays = asyncio.create_task(batcher.ask(2)), asyncio.create_task(batcher.ask(3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        go.set()
        await first
        return await stays

    assert run(work, body) == 6
    assert batches == [[1], [3]]


def test_beyond_the_bound_a_call_is_refused_at_once() -> None:
    answers = run(doubled, lambda b: ask_all(b, range(5)), most_waiting=3)
    assert answers[:3] == [0, 2, 4]
    assert all(isinstance(answer, QueueFull) for answer in answers[3:])


def test_a_stop_finishes_what_the_thread_has() -> None:
    async def main() -> int:
        batcher: Batcher[int, int] = Batcher("test", doubled)
        batcher.start()
        asked = asyncio.create_task(batcher.ask(4))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        batcher.stop(5)
        return await asyncio.wait_for(asked, 10)

    assert asyncio.run(main()) == 8


@pytest.mark.parametrize("items", [[1, 1, 1], [1, 2, 1], [3]])
def test_a_shared_read_is_done_once_for_all_who_want_the_same(items: list[int]) -> None:
    seen: list[int] = []

    def work(wanted: Sequence[int]) -> list[int | Exception]:
        seen.extend(wanted)
        return doubled(wanted)

    assert shared(work)(items) == [2 * item for item in items]
    assert sorted(seen) == sorted(set(items))
