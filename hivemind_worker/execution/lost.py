"""The log of an attempt whose end nobody saw: it says so, and its file is made from what Redis was sent of it.

A pump writes its file in large pieces, so that after a `kill -9` most of a short log is in Redis alone; and the copy of
the engine's, from which a file is made anew as a rule, went with the container.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from hivemind_worker.execution.logs import append_notice
from hivemind_worker.store.logs import Chunk, LogStore

log = structlog.get_logger()

WORDS_OF_LOSS = "nobody saw this attempt's end: what its container wrote, or the end of that, may be missing here"
#: chunks in one round trip
PAGE = 256


def recover_log(path: Path, logs: LogStore, task_id: str, attempt: int) -> int:
    """Make the file from the live log, which has the words of loss by now, unless the file has more: then they are put
    there too. A disk that is full leaves the file as it is. How many bytes the job is known to have written.

    Raises StoreUnavailable.
    """
    fresh, known = path.with_name(f"{path.name}.live"), 0
    try:
        with fresh.open("wb") as file:
            for chunk in _chunks(logs, task_id, attempt):
                file.write(chunk.data)
                known = chunk.stdout_end + chunk.stderr_end
        if not path.exists() or path.stat().st_size <= fresh.stat().st_size:
            fresh.replace(path)
        else:
            append_notice(path, WORDS_OF_LOSS)
    except OSError as error:
        log.warning("log not made from the live log", file=path.parent.name, error=str(error))
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
    return known


def _chunks(logs: LogStore, task_id: str, attempt: int) -> Iterator[Chunk]:
    number = 0
    while page := logs.read(task_id, number, count=PAGE):
        yield from (chunk for chunk in page if chunk.attempt == attempt)
        number = page[-1].number + 1
