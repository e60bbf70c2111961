"""The live tail: chunks on their way from the bodies to Redis, in a thread of their own so that no job waits for it."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from hivemind_worker.domain.errors import StaleAttempt, StoreUnavailable
from hivemind_worker.store.logs import Chunk, LogStore, Stream

log = structlog.get_logger()

#: bytes per job that wait for Redis; beyond, the live tail has a gap
BOUND = 1024 * 1024
#: seconds a body waits for room while Redis answers: that is back-pressure, not an outage
ROOM_PATIENCE = 2.0
#: chunks and bytes of one job in one round trip
BATCH_CHUNKS, BATCH_BYTES = 64, 512 * 1024
#: tries to write what Redis refuses for no reason that we know, until its place is taken by the word of a gap
REFUSALS = 20
#: chunks a log keeps at most while its job runs, and how often that is looked at
MAX_CHUNKS, CHECK_EVERY = 16_384, 4096
#: seconds after a job's end at which its log is cut to its tail: who followed it has read it by then
TRIM_AFTER = 60.0
#: what a chunk costs beside its bytes
OVERHEAD = 128


class LiveLog:
    """One attempt's way to Redis. `put`, `notice` and `flush` belong to the body's thread."""

    def __init__(
        self,
        shipper: Shipper,
        task_id: str,
        attempt: int,
        last: Chunk | None,
        *,
        worker: str,
        fenced: Callable[[], None],
    ) -> None:
        self.task_id = task_id
        self.worker = worker
        #: called when the store refused a write: the attempt is in other hands
        self.fenced = fenced
        self._shipper = shipper
        self._attempt = attempt
        self._number = last.number if last else 0
        same = last is not None and last.attempt == attempt
        self._ends = [last.stdout_end, last.stderr_end] if last and same else [0, 0]
        self._lost = 0
        self.total = sum(self._ends)
        #: guarded by the shipper's lock
        self.chunks: deque[Chunk] = deque()
        self.waiting_bytes = 0
        self.closed = False
        self.refused = False
        #: tries in a row that Redis refused for a reason that is neither an outage nor a fence
        self.refusals = 0
        self.keep: int | None = None

    def put(self, stream: Stream, data: bytes, end: int) -> None:
        """One chunk, whose bytes end at `end` of their stream. Never fails; waits ROOM_PATIENCE seconds at most."""
        if not self._shipper.make_room(self, len(data)):
            self._lost += len(data)
            self._pass(stream, end)
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self._send(Stream.NOTICE, notice(f"{lost} bytes of output are missing here: Redis was away"))
        self._pass(stream, end)
        self.total += len(data)
        self._send(stream, data)

    def notice(self, text: str) -> None:
        """The node's own word."""
        self._send(Stream.NOTICE, notice(text))

    def flush(self, timeout: float) -> bool:
        """Wait until Redis has everything; whether it has. Gives up at once while Redis is away."""
        if self._lost:
            lost, self._lost = self._lost, 0
            self._send(Stream.NOTICE, notice(f"{lost} bytes of output are missing here: Redis was away"))
        return self._shipper.settle(self, timeout)

    def close(self, keep: int | None) -> None:
        """Nothing more comes. The log of a job that has ended is cut to its last `keep` bytes in a while."""
        self._shipper.retire(self, keep)

    def _pass(self, stream: Stream, end: int) -> None:
        self._ends[0 if stream is Stream.STDOUT else 1] = end

    def _send(self, stream: Stream, data: bytes) -> None:
        self._number += 1
        self._shipper.send(
            self,
            Chunk(
                number=self._number,
                stream=stream,
                data=data,
                at=int(time.time() * 1000),
                attempt=self._attempt,
                stdout_end=self._ends[0],
                stderr_end=self._ends[1],
            ),
        )


def notice(text: str) -> bytes:
    """How the node's own words look in a log."""
    return f"[hivemind] {text}\n".encode()


class Shipper:
    """The thread that writes all live logs of one worker. Started by the first log; `close` ends it."""

    def __init__(self, logs: LogStore, *, trim_after: float = TRIM_AFTER) -> None:
        self._logs = logs
        self._trim_after = trim_after
        self._changed = threading.Condition()
        self._open: list[LiveLog] = []
        self._trims: list[tuple[float, str, int]] = []
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._healthy = True
        #: tries that Redis did not answer, and whether the next one is not to wait
        self._failures, self._hurry = 0, False

    def open(
        self,
        task_id: str,
        attempt: int,
        last: Chunk | None,
        *,
        worker: str,
        fenced: Callable[[], None] = lambda: None,
    ) -> LiveLog:
        """A new live log that goes on after `last`, the newest chunk there is. `fenced`: told when it is refused."""
        live = LiveLog(self, task_id, attempt, last, worker=worker, fenced=fenced)
        with self._changed:
            self._stopping = False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="live-logs", daemon=True)
                thread.start()  # may fail for want of room; the next log tries again
                self._thread = thread
            self._open.append(live)
        return live

    def make_room(self, live: LiveLog, size: int) -> bool:
        """Wait while the log's queue is full and Redis answers; whether `size` more bytes may be queued."""

        def free() -> bool:
            return live.waiting_bytes + size <= BOUND or live.waiting_bytes == 0

        with self._changed:
            if not free():
                self._changed.wait_for(lambda: free() or not self._healthy, ROOM_PATIENCE)
            if not free():
                self._healthy = False  # until something gets through
            return free()

    def send(self, live: LiveLog, chunk: Chunk) -> None:
        """Queue a chunk."""
        with self._changed:
            if live.refused:
                return
            live.chunks.append(chunk)
            live.waiting_bytes += len(chunk.data) + OVERHEAD
            self._changed.notify_all()

    def settle(self, live: LiveLog, timeout: float) -> bool:
        """Wait until the log's queue is empty; whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: not live.chunks or not self._healthy, timeout)
            return not live.chunks

    def settle_job(self, task_id: str, timeout: float) -> None:
        """Have what is queued of this job's logs sent now, and wait for it.

        Raises StoreUnavailable when Redis was asked meanwhile and did not answer, and when it takes longer.
        """

        def sent() -> bool:
            return not any(live.chunks for live in self._open if live.task_id == task_id)

        with self._changed:
            failures, self._hurry = self._failures, not sent()
            self._changed.notify_all()
            self._changed.wait_for(lambda: sent() or self._failures != failures, timeout)
            if not sent():
                why = "Redis does not answer" if self._failures != failures else "it takes its time"
                raise StoreUnavailable(f"the job's live log is not all sent: {why}")

    def retire(self, live: LiveLog, keep: int | None) -> None:
        """Nothing more comes; what is queued still goes out."""
        with self._changed:
            live.closed = True
            live.keep = None if live.refused else keep
            self._leave(live)

    def close(self, timeout: float) -> None:
        """End the thread, giving it `timeout` seconds to send what is queued."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._stopping = True
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout)

    # --- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = 0.0
        while True:
            batch, trim = self._next(pause)
            if batch is None and trim is None:
                return
            try:
                if batch is not None:
                    self._write(*batch)
                if trim is not None:
                    self._cut(*trim)
                pause = 0.0
            except StoreUnavailable as error:
                if pause == 0.0:
                    log.warning("live logs wait", why=str(error))
                pause = min(max(0.1, pause * 2), 2.0)
                with self._changed:
                    self._healthy = False
                    self._failures += 1
                    if self._stopping:
                        return
                    if trim is not None:
                        heapq.heappush(self._trims, (time.monotonic() + pause, *trim))
                    self._changed.notify_all()
            except Exception:
                # No job ends before its log is sent: one that cannot be cut must not end the thread that sends.
                log.exception("live log not cut")

    def _next(self, pause: float) -> tuple[tuple[LiveLog, list[Chunk]] | None, tuple[str, int] | None]:
        """Rest for `pause` seconds, then wait for work. Nothing and nothing: the end."""
        with self._changed:
            if pause:
                self._changed.wait_for(lambda: self._stopping or self._hurry, pause)
            self._hurry = False
            while True:
                now = time.monotonic()
                if self._trims and self._trims[0][0] <= now:
                    return None, heapq.heappop(self._trims)[1:]
                for live in self._open:
                    if live.chunks:
                        self._open.remove(live)
                        self._open.append(live)  # everybody's turn
                        return (live, _head(live.chunks)), None
                if self._stopping:
                    return None, None
                self._changed.wait(self._trims[0][0] - now if self._trims else None)

    def _write(self, live: LiveLog, chunks: list[Chunk]) -> None:
        try:
            self._logs.append(live.task_id, chunks, worker=live.worker)
        except StoreUnavailable:
            raise
        except StaleAttempt as stale:
            self._refuse(live, str(stale))
            return
        except Exception as error:
            live.refusals += 1
            if live.refusals < REFUSALS:
                raise StoreUnavailable(f"the live log of {live.task_id} is refused: {error}") from error
            log.exception("live log broken", job_id=live.task_id)
            gap = _gap(chunks)
        else:
            live.refusals, gap = 0, []
        with self._changed:
            for chunk in chunks:
                live.chunks.popleft()
                live.waiting_bytes -= len(chunk.data) + OVERHEAD
            live.chunks.extendleft(gap)
            live.waiting_bytes += sum(len(chunk.data) + OVERHEAD for chunk in gap)
            self._healthy = True
            self._leave(live)
            self._changed.notify_all()
        last = chunks[-1].number
        if last // CHECK_EVERY != (chunks[0].number - 1) // CHECK_EVERY and last > MAX_CHUNKS:
            self._logs.trim(live.task_id, last - MAX_CHUNKS)

    def _refuse(self, live: LiveLog, why: str) -> None:
        """The attempt was fenced off: nothing more of it is written, and its body is told."""
        log.warning("live log fenced off", job_id=live.task_id, why=why)
        with self._changed:
            live.refused = live.closed = True
            live.keep = None
            live.chunks.clear()
            live.waiting_bytes = 0
            self._healthy = True
            self._leave(live)
            self._changed.notify_all()
        live.fenced()

    def _leave(self, live: LiveLog) -> None:
        """Forget a log that is closed and sent, and note when it is to be cut. Called with the lock held."""
        if not live.closed or live.chunks or live not in self._open:
            return
        self._open.remove(live)
        if live.keep is not None and live.total > live.keep:
            heapq.heappush(self._trims, (time.monotonic() + self._trim_after, live.task_id, live.keep))
            self._changed.notify_all()

    def _cut(self, task_id: str, keep: int) -> None:
        """Find the first chunk of the last `keep` bytes, and forget those before."""
        sizes: deque[tuple[int, int]] = deque()
        total, first = 0, 0
        while chunks := self._logs.read(task_id, first, count=256):
            first = chunks[-1].number + 1
            for chunk in chunks:
                sizes.append((chunk.number, len(chunk.data)))
                total += len(chunk.data)
            while sizes and total - sizes[0][1] >= keep:
                total -= sizes.popleft()[1]
        if sizes:
            self._logs.trim(task_id, sizes[0][0])


def _gap(chunks: Sequence[Chunk]) -> list[Chunk]:
    """What stands in a log for chunks that Redis refused; nothing where none of them was the job's own."""
    lost = sum(len(chunk.data) for chunk in chunks if chunk.stream is not Stream.NOTICE)
    words = notice(f"{lost} bytes of output are missing here: Redis refused them")
    return [replace(chunks[-1], stream=Stream.NOTICE, data=words)] if lost else []


def _head(chunks: deque[Chunk]) -> list[Chunk]:
    """The first chunks of a queue, for one round trip."""
    batch: list[Chunk] = []
    size = 0
    for chunk in chunks:
        if batch and (len(batch) >= BATCH_CHUNKS or size + len(chunk.data) > BATCH_BYTES):
            break
        batch.append(chunk)
        size += len(chunk.data)
    return batch
