"""The way to the master: reports and artifacts over hivemind.v1.NodeService."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from bridge.messages import task_message
from bridge.options import CHUNK, MAX_MESSAGE, channel_options
from bridge.reports import Answer, Report, Result, Sending, SinkAway, Verdict
from bridge.wire.hivemind.v1 import master_pb2
from hivemind_worker.domain.errors import NotFound
from hivemind_worker.domain.outcome import BlobRef
from hivemind_worker.store.blobs import BlobStore

#: seconds one call with reports may take: well below a leader's term
DEADLINE = 10.0
#: bytes of reports in one call
_CALL_BYTES = MAX_MESSAGE // 2
#: most bytes of an artifact that one second is expected to move, at worst
_SLOWEST = 64 * 1024
#: codes by which a master says that the fault is in what it was sent
_REFUSALS = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE"})
_VERDICTS = {
    master_pb2.ReportAnswer.ACCEPTED: Verdict.ACCEPTED,
    master_pb2.ReportAnswer.REFUSED: Verdict.REFUSED,
}


class MasterLink:
    """A Sink. Threads may share it."""

    def __init__(
        self, address: str, *, site: Callable[[], str], node: str, artifacts: BlobStore, deadline: float = DEADLINE
    ) -> None:
        """`site` is asked at the first call: the site's id is in Redis, which may be away now."""
        import grpc

        self._address = address
        self._site = site
        self._node = node
        self._artifacts = artifacts
        self._deadline = deadline
        self._channel = grpc.insecure_channel(address, options=channel_options())
        self._report = self._channel.unary_unary(
            "/hivemind.v1.NodeService/ReportEvents",
            request_serializer=master_pb2.ReportEventsRequest.SerializeToString,
            response_deserializer=master_pb2.ReportEventsResponse.FromString,
        )
        self._submit = self._channel.stream_unary(
            "/hivemind.v1.NodeService/SubmitTaskResult",
            request_serializer=master_pb2.SubmitTaskResultRequest.SerializeToString,
            response_deserializer=master_pb2.SubmitTaskResultResponse.FromString,
        )

    def deliver(self, term: int, reports: Sequence[Report]) -> Iterator[Mapping[str, Answer]]:
        """Reports of as many jobs, in as many calls as their size asks for; yields after each. Raises SinkAway."""
        batch: list[Any] = []
        size = 0
        for message in map(report_message, reports):
            if batch and size + message.ByteSize() > _CALL_BYTES:
                yield from self._call(term, batch)
                batch, size = [], 0
            batch.append(message)
            size += message.ByteSize()
        yield from self._call(term, batch)

    def submit(self, result: Result, offset: int) -> Sending:
        """Begin to send one artifact; gRPC's own threads read it. Raises SinkAway."""
        size = result.ref.size if result.ref else 0
        if not 0 <= offset <= size:
            offset = 0
        messages, most = self._messages(result, offset), 6 * self._deadline + size / _SLOWEST
        return _Sending(self._named, self._named(lambda: self._submit.future(messages, timeout=most)))

    def close(self) -> None:
        """Give the connection back. Calls under way fail, and nothing of them is settled."""
        self._channel.close()

    def _call(self, term: int, batch: Sequence[Any]) -> Iterator[Mapping[str, Answer]]:
        request = master_pb2.ReportEventsRequest(site=self._site(), node=self._node, term=term, reports=batch)
        try:
            response = self._named(lambda: self._report(request, timeout=self._deadline))
        except _Refused as refused:
            if len(batch) == 1:
                yield {batch[0].task_id: Answer(Verdict.REFUSED, str(refused))}
                return
            yield {}  # one of them is at fault: find it, and let the others through
            half = len(batch) // 2
            yield from self._call(term, batch[:half])
            yield from self._call(term, batch[half:])
            return
        yield {answer.task_id: _answer(answer) for answer in response.answers}

    def _named(self, call: Callable[[], Any]) -> Any:
        """Do a call. Raises _Refused, SinkAway."""
        import grpc

        try:
            return call()
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            if code in _REFUSALS:
                raise _Refused(details or code.lower()) from None
            raise SinkAway(f"{self._address}: {code}: {details}"[:300]) from None
        except grpc.FutureCancelledError:
            raise SinkAway(f"{self._address}: broken off") from None
        except ValueError:  # gRPC's way to say that the channel is closed
            raise SinkAway(f"{self._address}: the connection was closed") from None

    def _messages(self, result: Result, offset: int) -> Iterator[Any]:
        head = {"site": self._site(), "task_id": result.task_id, "attempt": result.attempt, "offset": offset}
        ref, missing = result.ref, result.missing
        file = None
        if ref is not None:
            try:
                file = self._artifacts.open(ref.sha256, offset)
            except NotFound:
                ref, missing = None, "the artifact is no longer kept"
        return _parts(head, ref, missing, file)


class _Refused(Exception):
    """The master says that what it was sent is wrong."""


class _Sending:
    """A Sending: a call of gRPC that is under way."""

    def __init__(self, named: Callable[[Callable[[], Any]], Any], call: Any) -> None:
        self._named = named
        self._call = call

    def done(self) -> bool:
        """Whether it is over."""
        return bool(self._call.done())

    def cancel(self) -> None:
        """Break it off now; its file is closed."""
        self._call.cancel()

    def answer(self) -> Answer:
        """Raises SinkAway."""
        try:
            self._named(self._call.result)
        except _Refused as refused:
            return Answer(Verdict.REFUSED, str(refused))
        return Answer(Verdict.ACCEPTED)


def _parts(head: dict[str, Any], ref: BlobRef | None, missing: str, file: Any) -> Iterator[Any]:
    if ref is None or file is None:
        yield master_pb2.SubmitTaskResultRequest(**head, missing=missing)
        return
    with file:
        yield master_pb2.SubmitTaskResultRequest(**head, sha256=ref.sha256, size=ref.size)
        while data := file.read(CHUNK):
            yield master_pb2.SubmitTaskResultRequest(chunk=data)


def _answer(answer: Any) -> Answer:
    verdict = _VERDICTS.get(answer.verdict, Verdict.RETRY)
    wanted = answer.want_result and verdict is Verdict.ACCEPTED
    return Answer(verdict, answer.reason, answer.result_offset if wanted else None)


def report_message(report: Report) -> Any:
    """One report as it goes over the wire; a command too long for a call is left out of it."""
    message = master_pb2.Report(
        sequence=report.sequence,
        task_id=report.task_id,
        state=report.state,
        attempt=report.attempt,
        cause=report.cause,
        at=Timestamp(seconds=report.at // 1000, nanos=report.at % 1000 * 1_000_000),
        task=task_message(report.view) if report.view is not None else None,
        resync=report.resync,
    )
    if message.ByteSize() > _CALL_BYTES:
        message.task.ClearField("command")
    return message
