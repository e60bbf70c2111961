"""Artifacts on their way to the master: few at once, the others in line. One thread's; nothing here waits."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import structlog

from bridge.reports import Answer, Result, Sending, Sink, SinkAway, Verdict
from bridge.window import Item

log = structlog.get_logger()

#: artifacts on their way at once
UPLOADS = 2


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An artifact that the master asked for, from a byte on."""

    item: Item
    result: Result
    offset: int


class Results:
    """At most one artifact per unsettled item, so whoever bounds those bounds these."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._line: deque[_Wanted] = deque()
        self._under_way: list[tuple[_Wanted, Sending]] = []

    def __len__(self) -> int:
        return len(self._line) + len(self._under_way)

    def want(self, item: Item, result: Result, offset: int) -> None:
        """Send this in its turn."""
        self._line.append(_Wanted(item, result, offset))

    def ended(self) -> list[tuple[Item, Answer]]:
        """What the master says of those that have ended since; others take their place."""
        answers, under_way = list[tuple[Item, Answer]](), list[tuple[_Wanted, Sending]]()
        for wanted, sending in self._under_way:
            if sending.done():
                answers.append((wanted.item, _answer(wanted, sending)))
            else:
                under_way.append((wanted, sending))
        self._under_way = under_way
        while self._line and len(self._under_way) < UPLOADS:
            wanted = self._line.popleft()
            try:
                self._under_way.append((wanted, self._sink.submit(wanted.result, wanted.offset)))
            except SinkAway:
                answers.append((wanted.item, Answer(Verdict.RETRY)))
        return answers

    def drop(self) -> None:
        """Break off all: who leads next begins them anew, where the master says."""
        self._line.clear()
        for _, sending in self._under_way:
            sending.cancel()
        self._under_way = []


def _answer(wanted: _Wanted, sending: Sending) -> Answer:
    try:
        return sending.answer()
    except SinkAway as error:
        log.info("result cut off; it is sent again", job_id=wanted.result.task_id, why=str(error))
        return Answer(Verdict.RETRY)
