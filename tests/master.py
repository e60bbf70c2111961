"""A master for tests: a real gRPC server that records what it is told, and fails as it is told to."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from bridge.wire.hivemind.v1 import master_pb2, master_pb2_grpc

ANSWER = master_pb2.ReportAnswer


class Master(master_pb2_grpc.NodeServiceServicer):
    """Records reports. `faults` are used up, one a call; when there are none left, all goes well.

    drop: the call fails before anything is seen · cut: everything is recorded, then the call fails ·
    retry: half of the reports are put off · silent: recorded, and half of the answers left out
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.calls: list[list[Any]] = []
        self.refuse: dict[str, str] = {}
        #: jobs whose reports are for later
        self.put_off: set[str] = set()
        #: job → why a call that holds it is an INVALID_ARGUMENT as a whole
        self.poison: dict[str, str] = {}
        #: seconds that every call with reports takes
        self.delay = 0.0
        self.want_results = False
        self.results: dict[str, bytes] = {}
        self.missing: dict[str, str] = {}
        self.held: dict[str, bytes] = {}
        #: set: calls wait for it before they answer
        self.gate: threading.Event | None = None
        #: set: an artifact is taken in only after it
        self.result_gate: threading.Event | None = None
        self.reached = threading.Event()
        #: artifacts that are coming in now, and how many were broken off before they were taken in
        self.coming, self.broken_off = 0, 0
        self._lock = threading.Lock()
        self._accepted: dict[str, list[Any]] = {}
        self._server: grpc.Server | None = None
        self.port = 0

    # --- its life -----------------------------------------------------------------------------------

    def up(self) -> str:
        """Its address, the same one after every `down`."""
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        master_pb2_grpc.add_NodeServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()
        return f"127.0.0.1:{self.port}"

    def down(self) -> None:
        """Gone, with every connection."""
        for gate in (self.gate, self.result_gate):
            if gate is not None:
                gate.set()
        if self._server is not None:
            self._server.stop(0).wait(10)
            self._server = None

    # --- what it was told ---------------------------------------------------------------------------

    def states(self, task_id: str) -> list[str]:
        """A job's states as a master takes them: repeats left out, which the sequence tells."""
        found, last = [], 0
        for report in self._accepted.get(task_id, ()):
            if report.sequence > last:
                found.append(report.state)
                last = report.sequence
        return found

    def last(self, task_id: str) -> Any:
        """The newest report of a job that was recorded; None: none was."""
        reports = self._accepted.get(task_id)
        return max(reports, key=lambda report: int(report.sequence)) if reports else None

    def jobs(self) -> set[str]:
        """Jobs that it was told of."""
        return set(self._accepted)

    # --- the service --------------------------------------------------------------------------------

    def ReportEvents(self, request: Any, context: grpc.ServicerContext) -> Any:
        fault = self._next_fault()
        self.reached.set()
        time.sleep(self.delay)
        if fault == "drop":
            context.abort(grpc.StatusCode.UNAVAILABLE, "dropped")
        for report in request.reports:
            if report.task_id in self.poison:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.poison[report.task_id])
        with self._lock:
            self.calls.append(list(request.reports))
            answers = [self._answer(i, report, fault) for i, report in enumerate(request.reports)]
        if self.gate is not None:
            self.gate.wait(60)
        if fault == "cut":
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        if fault == "silent":
            answers = answers[::2]
        return master_pb2.ReportEventsResponse(answers=answers)

    def _answer(self, i: int, report: Any, fault: str) -> Any:
        if report.task_id in self.refuse:
            return ANSWER(task_id=report.task_id, verdict=ANSWER.REFUSED, reason=self.refuse[report.task_id])
        if report.task_id in self.put_off or (fault == "retry" and i % 2 == 0):
            return ANSWER(task_id=report.task_id, verdict=ANSWER.RETRY)
        self._accepted.setdefault(report.task_id, []).append(report)
        wanted = self.want_results and report.state in ("completed", "failed", "stopped")
        return ANSWER(
            task_id=report.task_id,
            verdict=ANSWER.ACCEPTED,
            want_result=wanted and report.task_id not in self.results,
            result_offset=len(self.held.get(report.task_id, b"")),
        )

    def SubmitTaskResult(self, messages: Iterator[Any], context: grpc.ServicerContext) -> Any:
        fault = self._next_fault()
        head = next(messages)
        if self.result_gate is not None and not self._wait_at(self.result_gate, context):
            return master_pb2.SubmitTaskResultResponse()
        if head.missing:
            self.missing[head.task_id] = head.missing
            self.results[head.task_id] = b""
            return master_pb2.SubmitTaskResultResponse()
        content = self.held.get(head.task_id, b"")[: head.offset]
        for message in messages:
            content += message.chunk
            if fault == "cut":
                self.held[head.task_id] = content
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        if hashlib.sha256(content).hexdigest() != head.sha256 or len(content) != head.size:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the artifact is not what its digest says")
        self.results[head.task_id] = content
        return master_pb2.SubmitTaskResultResponse(size=len(content))

    def _wait_at(self, gate: threading.Event, context: grpc.ServicerContext) -> bool:
        """Whether it opened; False: the caller broke off before."""
        with self._lock:
            self.coming += 1
        while context.is_active() and not gate.wait(0.02):
            pass
        with self._lock:
            self.coming -= 1
            self.broken_off += not gate.is_set()
        return gate.is_set()

    def _next_fault(self) -> str:
        with self._lock:
            return self.faults.pop(0) if self.faults else ""
