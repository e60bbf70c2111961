"""The client of one bridge: all that the command line and scripts use. Loads gRPC only at the first call."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.call_error import CallError

__all__ = ["CallError", "Client", "LogLine"]

#: seconds one unary call may take
DEADLINE = 20.0
#: seconds for which a stream looks for a bridge that went away, or for its Redis
PATIENCE = 60.0
#: most bytes of a file that one second is expected to move, at worst
_SLOWEST = 64 * 1024

Progress = Callable[[int, int], None]
#: told why once a stream has been looking for its bridge for a while, and None once it has found it again
OnOutage = Callable[[CallError | None], None]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One piece of a log, not always a whole line. `stream`: stdout, stderr or notice; `time` ISO 8601 or None."""

    number: int
    stream: str
    data: bytes
    time: str | None
    attempt: int


class Client:
    """Calls to one bridge. Every failure is a CallError. Threads may share it; `close` it, or use it in a `with`."""

    def __init__(
        self,
        address: str,
        token: str = "",
        *,
        deadline: float = DEADLINE,
        patience: float | None = PATIENCE,
        on_outage: OnOutage | None = None,
    ) -> None:
        """`address` as HOST:PORT; `deadline` in seconds for each unary call.

        `patience`: seconds for which a stream looks for a bridge that went away, or its Redis; None: until it is back.
        `on_outage` may be called by any thread that reads a stream.
        """
        self.address, self.patience, self.on_outage = address, patience, on_outage
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._deadline = deadline
        self._opened: Any = None
        self._methods: dict[str, Any] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
            self._methods.clear()

    # --- jobs ---------------------------------------------------------------------------------------

    def assign(self, assignment: Mapping[str, Any]) -> dict[str, Any]:
        """Assign one job (the fields of hivemind.v1.Assignment): {task_id, state, created}."""
        from bridge.plain import assignment_message
        from bridge.wire.hivemind.v1 import task_pb2

        request = task_pb2.AssignTaskRequest(assignment=assignment_message(assignment))
        return self._unary("TaskService", "AssignTask", request, task_pb2.AssignTaskResponse)

    def get(self, task_id: str) -> dict[str, Any]:
        """One job in the contract's shape."""
        from bridge.wire.hivemind.v1 import task_pb2

        return self._unary("TaskService", "GetTask", task_pb2.GetTaskRequest(task_id=task_id), task_pb2.Task)

    def list(
        self, state: str = "", owner: str = "", limit: int = 0, cursor: str = "", active_only: bool = False
    ) -> dict[str, Any]:
        """One page of jobs, newest first: {tasks, next}; `next` is '' on the last page."""
        from bridge.wire.hivemind.v1 import task_pb2

        request = task_pb2.ListTasksRequest(
            state=state, owner=owner, limit=limit, cursor=cursor, active_only=active_only
        )
        return self._unary("TaskService", "ListTasks", request, task_pb2.ListTasksResponse)

    def prioritize(self, task_id: str, priority: int) -> dict[str, Any]:
        """Give a waiting job another priority: {task_id, state, accepted}."""
        from bridge.wire.hivemind.v1 import task_pb2

        request = task_pb2.SetPriorityRequest(task_id=task_id, priority=priority)
        return self._unary("TaskService", "SetPriority", request, task_pb2.SetPriorityResponse)

    def cancel(self, task_id: str, grace: float | None = None) -> dict[str, Any]:
        """Ask for a stop, with so many seconds between SIGTERM and SIGKILL: {task_id, state, accepted}."""
        from bridge.wire.hivemind.v1 import task_pb2

        request = task_pb2.CancelTaskRequest(task_id=task_id, grace_seconds=grace)
        return self._unary("TaskService", "CancelTask", request, task_pb2.CancelTaskResponse)

    def watch(self, task_id: str) -> Iterator[dict[str, Any]]:
        """The job now, then after every change, until it has ended. Outlasts a restart of the bridge."""
        from bridge.client_streams import watch

        return watch(self, task_id)

    def logs(self, task_id: str, first: int = 0, follow: bool = False) -> Iterator[LogLine]:
        """The log from chunk `first` on; with `follow` until the job has ended. Outlasts a restart of the bridge."""
        from bridge.client_streams import logs

        return logs(self, task_id, first, follow=follow)

    # --- files --------------------------------------------------------------------------------------

    def upload(self, path: Path, on_progress: Progress | None = None) -> str:
        """Send a bundle; its sha256. What the node has already is not sent again. Progress in bytes (sent, of)."""
        from bridge.client_streams import upload

        return upload(self, Path(path), on_progress)

    def download(self, task_id: str, target: Path, on_progress: Progress | None = None) -> dict[str, Any]:
        """Fetch a job's artifact into the file `target`, going on where an earlier try ended: {sha256, size, path}."""
        from bridge.client_streams import download

        return download(self, task_id, Path(target), on_progress)

    # --- nodes --------------------------------------------------------------------------------------

    def nodes(self, name: str = "") -> builtins.list[dict[str, Any]]:
        """All nodes of the site, or one, in the contract's shape."""
        from bridge.wire.hivemind.v1 import node_pb2

        request = node_pb2.GetNodeRequest(node=name)
        found = self._unary("NodeControlService", "GetNode", request, node_pb2.GetNodeResponse)
        return [dict(node) for node in found["nodes"]]

    def drain(self, node: str = "") -> dict[str, Any]:
        """Let a node take no new work; '' is the site's only one. The node."""
        from bridge.wire.hivemind.v1 import node_pb2

        return self._unary("NodeControlService", "Drain", node_pb2.DrainRequest(node=node), node_pb2.Node)

    def resume(self, node: str = "") -> dict[str, Any]:
        """Let a node take work again; '' is the site's only one. The node."""
        from bridge.wire.hivemind.v1 import node_pb2

        return self._unary("NodeControlService", "Resume", node_pb2.ResumeRequest(node=node), node_pb2.Node)

    def set_node(self, node: str = "", clear: Iterable[str] = (), **caps: float) -> dict[str, Any]:
        """Change a node's caps: max_cpu (cores), max_memory (bytes), max_gpus, max_tasks; `clear` takes some away."""
        from bridge.plain import caps_message
        from bridge.wire.hivemind.v1 import node_pb2

        request = node_pb2.SetNodeRequest(node=node, caps=caps_message(caps), clear=list(clear))
        return self._unary("NodeControlService", "SetNode", request, node_pb2.Node)

    def cordon_gpu(self, gpu: str, node: str = "", *, on: bool = True) -> dict[str, Any]:
        """Keep new jobs off a device (its UUID or number), or with `on` false let them on again. The node."""
        from bridge.wire.hivemind.v1 import node_pb2

        request = node_pb2.GpuRequest(node=node, gpu=gpu)
        return self._unary("NodeControlService", "CordonGpu" if on else "UncordonGpu", request, node_pb2.Node)

    def healthy(self, timeout: float = 2.0) -> bool:
        """Whether the bridge answers within `timeout` seconds and has its Redis."""
        with contextlib.suppress(CallError):
            call = self.channel.unary_unary("/grpc.health.v1.Health/Check")
            answer: bytes = self.named(lambda: call(b"", timeout=timeout, metadata=self._metadata))
            return answer == b"\x08\x01"  # HealthCheckResponse{status: SERVING}
        return False

    # --- beneath ------------------------------------------------------------------------------------

    @property
    def channel(self) -> Any:
        """The connection, opened at its first use."""
        if self._opened is None:
            import grpc

            from bridge.options import channel_options

            self._opened = grpc.insecure_channel(self.address, options=channel_options())
        return self._opened

    def stream(self, method: str, request: Any, response: Any, timeout: float | None = None) -> Any:
        """Open a server stream of TaskService. Iterate it under `named`."""
        call = self.channel.unary_stream(
            f"/hivemind.v1.TaskService/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(request, timeout=timeout, metadata=self._metadata)

    def send(self, method: str, requests: Iterator[Any], request: Any, response: Any, size: int) -> Any:
        """Stream `size` bytes of messages to TaskService; the answer."""
        call = self.channel.stream_unary(
            f"/hivemind.v1.TaskService/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        timeout = 6 * self._deadline + size / _SLOWEST
        return self.named(lambda: call(requests, timeout=timeout, metadata=self._metadata))

    def named(self, call: Callable[[], Any]) -> Any:
        """Do a call, its failure as a CallError."""
        import grpc

        try:
            return call()
        except grpc.RpcError as error:
            raise CallError.of(error, self.address) from None
        except ValueError:  # gRPC's way to say that the channel is closed
            raise CallError("CANCELLED", f"the connection to {self.address} was closed") from None

    def _unary(self, service: str, method: str, request: Any, response: Any) -> dict[str, Any]:
        from bridge.plain import plain

        call = self._methods.get(method)
        if call is None:  # kept, for making one costs as much as a tenth of a call
            call = self._methods[method] = self.channel.unary_unary(
                f"/hivemind.v1.{service}/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=response.FromString,
            )
        return plain(self.named(lambda: call(request, timeout=self._deadline, metadata=self._metadata)))
