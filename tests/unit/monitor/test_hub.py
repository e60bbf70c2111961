"""The watchers: bounded, dropped when they lag, woken once for many words, ended in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hivemind_worker.monitor.errors import TooManyWatchers
from hivemind_worker.monitor.hub import BACKLOG, MAX_WATCHERS, Batch, Hub, Watcher
from hivemind_worker.monitor.sse import EventStream


def test_a_watcher_that_does_not_read_is_dropped_and_the_others_are_not() -> None:
    async def run() -> None:
        hub = Hub(lambda: None)
        with hub.watch() as slow, hub.watch() as quick:
            for number in range(BACKLOG + 1):
                hub.deliver(Batch(frames=b"%d" % number))
                assert (await quick.next(1)) == Batch(frames=b"%d" % number)
            assert slow.dropped.is_set()
            assert not quick.dropped.is_set()

    asyncio.run(run())


def test_more_than_so_many_watchers_are_refused_and_a_place_is_free_again_once_one_leaves() -> None:
    async def run() -> None:
        hub = Hub(lambda: None)
        members = [hub.watch() for _ in range(MAX_WATCHERS - 1)]
        for member in members:
            member.__enter__()
        with hub.follow("t1"):
            with pytest.raises(TooManyWatchers), hub.watch():
                pass
            with pytest.raises(TooManyWatchers), hub.follow("t1"):
                pass
        with hub.watch():
            pass

    asyncio.run(run())


def test_silence_is_reported_after_its_time() -> None:
    async def run() -> None:
        hub = Hub(lambda: None)
        with hub.watch() as watcher, hub.follow("t1") as follower:
            assert await watcher.next(0.001) is None
            assert not await follower.wait(0.001)

    asyncio.run(run())


def test_words_that_come_while_a_follower_reads_are_not_lost_and_not_queued() -> None:
    async def run() -> None:
        hub = Hub(lambda: None)
        with hub.follow("t1") as follower:
            for _ in range(1000):
                hub.touch("t1")
            hub.touch("t2")
            assert await follower.wait(1)
            assert not await follower.wait(0.001)
            hub.touch(None)
            assert await follower.wait(1)

    asyncio.run(run())


def test_closing_ends_every_stream_after_what_lies_ready_and_takes_no_more() -> None:
    async def run() -> None:
        hub = Hub(lambda: None)
        with hub.watch() as watcher, hub.follow("t1") as follower:
            hub.deliver(Batch(frames=b"last words"))
            hub.close()
            assert await watcher.next(60) == Batch(frames=b"last words")
            assert await watcher.next(60) is None
            assert await follower.wait(60)
            assert watcher.closed
            assert follower.closed
            with pytest.raises(TooManyWatchers), hub.watch():
                pass

    asyncio.run(run())


def test_the_feed_is_called_for_when_somebody_comes_and_knows_when_nobody_is_left() -> None:
    async def run() -> None:
        calls: list[str] = []
        hub = Hub(lambda: calls.append("wanted"))
        assert not hub.watched
        with hub.follow("t1"), hub.follow("t1"):
            assert hub.watched
            assert hub.follows("t1")
            assert not hub.follows("t2")
        assert not hub.watched
        assert not hub.follows("t1")
        assert calls == ["wanted", "wanted"]

    asyncio.run(run())


SCOPE = {"type": "http", "asgi": {"spec_version": "2.3"}}


async def frames(watcher: Watcher) -> AsyncIterator[bytes]:
    """Every batch, until the watcher is closed."""
    yield b"hello"
    while not watcher.closed:
        batch = await watcher.next(60)
        if batch is not None:
            yield batch.frames


def test_a_stream_whose_write_is_stuck_is_given_up_once_its_client_lags_too_far() -> None:
    async def run() -> None:
        hub, stuck = Hub(lambda: None), asyncio.Event()

        async def never() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            if message.get("body"):
                stuck.set()
                await asyncio.Event().wait()

        response = asyncio.create_task(EventStream(hub.watch(), frames)(SCOPE, never, send))
        await stuck.wait()
        for _ in range(BACKLOG + 1):
            hub.deliver(Batch(frames=b"more"))
        await asyncio.wait_for(response, 5)
        assert not hub.watched

    asyncio.run(run())


def test_a_stream_whose_client_hangs_up_ends_and_one_that_is_closed_ends_in_order() -> None:
    async def run() -> None:
        hub, gone, heard = Hub(lambda: None), asyncio.Event(), asyncio.Event()
        sent: list[Any] = []

        async def receive() -> Any:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if message.get("body"):
                heard.set()

        one = asyncio.create_task(EventStream(hub.watch(), frames)(SCOPE, receive, send))
        await heard.wait()
        gone.set()
        await asyncio.wait_for(one, 5)
        assert sent[-1].get("more_body")
        gone.clear()
        heard.clear()
        two = asyncio.create_task(EventStream(hub.watch(), frames)(SCOPE, receive, send))
        await heard.wait()
        hub.close()
        await asyncio.wait_for(two, 5)
        assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}

    asyncio.run(run())
