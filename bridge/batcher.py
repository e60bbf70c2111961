"""Group commit: calls that arrive while a batch is under way form the next one, which costs one round trip.

Nothing waits for a batch to fill, so a lone call is as quick as without it. Loop and thread hand over whole batches:
a hand-over per call would cost more than the work itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

from hivemind_worker.domain.errors import QueueFull, StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """One thread that does `work` on all items asked for since its last batch. Ask from one event loop only."""

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        largest: int = 256,
        most_waiting: int = 10_000,
    ) -> None:
        """`work` answers in order, an item's own error in its place, within a bounded time: no call waits for ever."""
        self._work = work
        self._largest = largest
        self._most_waiting = most_waiting
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._busy = False
        self._batches: SimpleQueue[list[tuple[Item, asyncio.Future[Result]]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def ask(self, item: Item) -> Result:
        """The item's result. Raises what `work` raised or answered for it, QueueFull."""
        if len(self._waiting) >= self._most_waiting:
            raise QueueFull("too many calls wait for the store; try again in a moment")
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((item, future))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._hand_over)  # not at once: more may have come in this turn of the loop
        return await future

    def stop(self, timeout: float) -> None:
        """Finish what the thread has, then end; wait for that so many seconds."""
        self._batches.put(None)
        self._thread.join(timeout)

    def _hand_over(self) -> None:
        # A caller that hung up before its turn asked for nothing.
        waiting = [call for call in self._waiting if not call[1].done()]
        batch, self._waiting = waiting[: self._largest], waiting[self._largest :]
        self._busy = bool(batch)
        if batch:
            self._batches.put(batch)

    def _settle(self, futures: list[asyncio.Future[Result]], results: Sequence[Result | Exception]) -> None:
        for future, result in zip(futures, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._hand_over()

    # --- the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            results = self._results([item for item, _ in batch])
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._settle, [future for _, future in batch], results)

    def _results(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        try:
            return self._work(items)
        except StoreUnavailable as error:
            return [error] * len(items)
        except Exception as error:  # noqa: BLE001 - handed to the caller it belongs to
            if len(items) == 1:
                return [error]
            # One bad record must not fail the calls that happened to share its batch.
            return [result for item in items for result in self._results([item])]


def shared(
    work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
) -> Callable[[Sequence[Item]], Sequence[Result | Exception]]:
    """For reads: equal items of one batch are worked once. Items must be hashable."""

    def once(items: Sequence[Item]) -> Sequence[Result | Exception]:
        distinct = list(dict.fromkeys(items))
        answers = dict(zip(distinct, work(distinct), strict=True))
        return [answers[item] for item in items]

    return once
