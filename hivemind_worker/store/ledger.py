"""Nodes, workers' leases and reservations. What is reserved is always the sum of live rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any
from uuid import uuid4

import redis

from hivemind_worker.domain.errors import NameHeld, NotFound
from hivemind_worker.domain.line import Candidate, Claim, Front, Promise, Window, predict, typical
from hivemind_worker.domain.node import Gpu, Node, NodeCaps, NodeState, NodeUsage, Reservation
from hivemind_worker.domain.resources import RESOURCES, SHAPE, Amount
from hivemind_worker.domain.usage import Usage, read_usage, write_usage
from hivemind_worker.store.connection import Scripts, fields, named_faults, text
from hivemind_worker.store.hints import HintQueue
from hivemind_worker.store.keys import Keys
from hivemind_worker.store.records import VERSION

#: lines and jobs that one plan looks at, at most: a tick stays short however many wait
WINDOW_LINES = 256
WINDOW_JOBS = 256
#: jobs of the line's front that it sees whatever they run: more start at once only where there is room for so many
WINDOW_FRONT = 64


@dataclass(frozen=True, slots=True)
class Books:
    """What the ledger says at one moment: rows by node and task_id, the head's promise, Redis' clock in epoch ms, and
    the owners' accounts as they were made up last."""

    rows: Mapping[str, Mapping[str, Reservation]]
    promise: Promise | None
    now: int
    usage: Usage = Usage()  # noqa: RUF009 - frozen


class Ledger:
    """The site's nodes and what is held on them. Threads may share it. Calls may raise StoreUnavailable."""

    def __init__(
        self, client: redis.Redis, keys: Keys, *, heartbeat_timeout: float, max_running_per_owner: int | None = None
    ) -> None:
        self._redis: Any = client  # redis-py types every reply as a union of its sync and async ones
        self._keys = keys
        self._scripts = Scripts(client)
        #: jobs of one owner that may run in the site; None: as many as fit
        self.max_running_per_owner = max_running_per_owner
        self._timeout_ms = heartbeat_timeout * 1000

    def site_id(self) -> str:
        """The random id of this site, made by whoever asks first."""
        with named_faults():
            self._redis.set(self._keys.site, uuid4().hex, nx=True)
            return text(self._redis.get(self._keys.site))

    def now_ms(self) -> int:
        """Redis' clock: the one clock of the site."""
        with named_faults():
            seconds, micros = self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    # --- nodes ----------------------------------------------------------------------------------------

    def announce(self, node: Node, *, worker: str, lease_seconds: float, owner: str = "", take: bool = False) -> None:
        """Write what a node has and that this worker lives. The node's chosen state (draining) is left alone.

        `owner`: to whom the worker's name belongs. Raises NameHeld when that is another, unless told to `take` it.
        """
        key = self._keys.node(node.node)
        about: list[str | int] = [worker, owner, int(lease_seconds * 1000), int(take)]
        ours, number = self._scripts.run("own", [key, self._keys.lease(node.node, worker)], about)
        if not ours:
            raise NameHeld(worker, number)
        alloc = {f"alloc_{name}": getattr(node.allocatable, name) for name in RESOURCES}
        body = {
            "capacity": node.capacity.model_dump_json(),
            "reserve": node.reserve.model_dump_json(),
            "most": (node.most or node.allocatable).model_dump_json(),
            "gpus": json.dumps([gpu.model_dump() for gpu in node.gpus]),
            "usage": node.usage.model_dump_json(),
            "version": node.version,
            "trouble": node.trouble,
            "remarks": json.dumps(node.remarks),
            "on_partition": node.on_partition,
            "durability": node.durability,
            "gpu_trouble": node.gpu_trouble,
            "cpu_factor": node.cpu_factor,
            "cpu_score": node.cpu_score,
            "heartbeat": number,
            **alloc,
        }
        with named_faults():
            pipe = self._redis.pipeline(transaction=True)
            pipe.sadd(self._keys.nodes, node.node)
            pipe.hset(key, mapping=body)
            pipe.hsetnx(key, "state", NodeState.UP.value)
            pipe.hset(key, f"worker:{worker}", body["heartbeat"])
            pipe.execute()

    def retire(self, node: str, worker: str) -> None:
        """A worker that leaves in order: its lease goes at once. Its rows stay, for it or a sibling to take up."""
        with named_faults():
            pipe = self._redis.pipeline(transaction=True)
            pipe.delete(self._keys.lease(node, worker))
            pipe.hdel(self._keys.node(node), f"worker:{worker}", f"owner:{worker}")
            pipe.execute()

    def node(self, name: str) -> Node:
        """One node. Raises NotFound."""
        for node in self.nodes():
            if node.node == name:
                return node
        raise NotFound(f"there is no node {name}")

    def nodes(self) -> list[Node]:
        """All nodes ever announced, by name; `down` where the heartbeat is too old."""
        with named_faults():
            names = sorted(text(name) for name in self._redis.smembers(self._keys.nodes))
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(self._keys.node(name))
            pipe.time()
            *replies, (seconds, micros) = pipe.execute(raise_on_error=False)
        now = int(seconds) * 1000 + int(micros) // 1000
        nodes = [self._readable(name, reply, now) for name, reply in zip(names, replies, strict=True) if reply]
        return [node for node in nodes if node is not None]

    def _readable(self, name: str, reply: Any, now: int) -> Node | None:
        """None: what is there is no node's record. One that lives writes its own anew at its next beat."""
        if isinstance(reply, Exception):
            return None
        try:
            return self._node(name, fields(reply), now)
        except (ValueError, TypeError):
            return None

    def _node(self, name: str, record: dict[str, str], now: int) -> Node:
        fresh = now - self._timeout_ms
        workers = {key.partition(":")[2]: int(value) for key, value in record.items() if key.startswith("worker:")}
        heartbeat = int(record.get("heartbeat", 0))
        alive = heartbeat >= fresh and any(seen >= fresh for seen in workers.values())
        caps = NodeCaps(**{key: int(record[f"cap_{key}"]) for key in NodeCaps.model_fields if f"cap_{key}" in record})
        gpus = tuple(
            Gpu.model_validate(gpu | {"cordoned": f"cordon:{gpu['uuid']}" in record})
            for gpu in json.loads(record.get("gpus", "[]"))
        )
        lends = Amount(**{key: int(record.get(f"alloc_{key}", 0)) for key in RESOURCES})
        usable = sum(1 for gpu in gpus if gpu.usable)
        return Node(
            node=name,
            state=NodeState(record.get("state", "up")) if alive else NodeState.DOWN,
            capacity=Amount.model_validate_json(record.get("capacity", "{}")),
            reserve=Amount.model_validate_json(record.get("reserve", "{}")),
            allocatable=caps.within(lends.within(lends.model_copy(update={"gpus": usable}))),
            lends=lends,
            most=Amount.model_validate_json(record["most"]) if "most" in record else None,
            gpus=gpus,
            caps=caps,
            cpu_factor=float(record.get("cpu_factor", 1.0)),
            cpu_score=float(record.get("cpu_score", 0.0)),
            usage=NodeUsage.model_validate_json(record.get("usage", "{}")),
            heartbeat=heartbeat,
            workers=tuple(sorted(worker for worker, seen in workers.items() if seen >= fresh)),
            version=record.get("version", ""),
            trouble=record.get("trouble", ""),
            gpu_trouble=record.get("gpu_trouble", ""),
            remarks=tuple(str(remark) for remark in json.loads(record.get("remarks", "[]"))),
            on_partition=record.get("on_partition", ""),
            durability=record.get("durability", ""),
        )

    def heartbeats(self) -> dict[str, str]:
        """Each node's newest sign of life, as it stands there: only whether it changes says something."""
        with named_faults():
            names = sorted(text(name) for name in self._redis.smembers(self._keys.nodes))
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.hget(self._keys.node(name), "heartbeat")
            replies = pipe.execute(raise_on_error=False)
        return {name: text(reply) for name, reply in zip(names, replies, strict=True) if isinstance(reply, bytes)}

    def set_state(self, name: str, state: NodeState) -> None:
        """Drain or resume. Raises NotFound."""
        self._configure(name, {"state": state.value})

    def set_caps(self, name: str, caps: Mapping[str, int | None]) -> None:
        """Set some of a node's caps, by their names in NodeCaps; None takes one away. Raises NotFound."""
        self._configure(name, {f"cap_{key}": "" if cap is None else str(cap) for key, cap in caps.items()})

    def cordon(self, name: str, uuids: Iterable[str], *, on: bool) -> None:
        """Keep new jobs off these devices, or let them on again. Raises NotFound for the node."""
        self._configure(name, {f"cordon:{uuid}": "1" if on else "" for uuid in uuids})

    def _configure(self, name: str, fields_: Mapping[str, str]) -> None:
        words = [word for pair in fields_.items() for word in pair]
        if not self._scripts.run("configure", [self._keys.node(name)], [self._keys.wake, *words]):
            raise NotFound(f"there is no node {name}")

    # --- reservations -----------------------------------------------------------------------------------

    def rows(self, node: str) -> dict[str, Reservation]:
        """Live rows of one node, by task_id. One that cannot be read is left out; the next beat puts it right."""
        with named_faults():
            reply = self._redis.hgetall(self._keys.reservations(node))
        return {text(key): row for key, value in reply.items() if (row := _row(value)) is not None}

    def books(self, nodes: Iterable[str]) -> Books:
        """What is held on these nodes, what is promised, and the time, as of one moment."""
        names = list(nodes)
        with named_faults():
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(self._keys.reservations(name))
            pipe.get(self._keys.promise)
            pipe.get(self._keys.usage)
            pipe.time()
            *replies, promise, usage, (seconds, micros) = pipe.execute()
        rows = {
            name: {text(key): row for key, value in reply.items() if (row := _row(value)) is not None}
            for name, reply in zip(names, replies, strict=True)
        }
        return Books(rows, self._promise(promise), int(seconds) * 1000 + int(micros) // 1000, self._usage(usage))

    def promise(self) -> Promise | None:
        """The reservation of the head of the line."""
        with named_faults():
            return self._promise(self._redis.get(self._keys.promise))

    def _promise(self, stored: bytes | None) -> Promise | None:
        try:
            return Promise(**json.loads(stored)) if stored else None
        except (ValueError, TypeError):  # of another release: the next plan makes one
            self._scripts.run("replace", [self._keys.promise], [text(stored), ""])
            return None

    def _usage(self, stored: bytes | None) -> Usage:
        try:
            return read_usage(stored) if stored else Usage()
        except (ValueError, TypeError, AttributeError, KeyError):  # of another release, or damaged: they begin anew
            self._scripts.run("replace", [self._keys.usage], [text(stored), ""])
            return Usage()

    def note_usage(self, known: Usage, made: Usage) -> bool:
        """Make up the owners' accounts; False when another worker was quicker."""
        return bool(self._scripts.run("replace", [self._keys.usage], [write_usage(known), write_usage(made)]))

    def note_promise(self, known: Promise | None, made: Promise | None) -> bool:
        """Replace the head's reservation; False when another plan was quicker, whose word then stands."""
        return bool(self._scripts.run("replace", [self._keys.promise], [_as_json(known), _as_json(made)]))

    def window(self, free: Mapping[str, Amount], *also: str, by_turns: bool = False) -> Window:
        """The part of the waiting line that a plan looks at, given what is free on each open node; and `also`.

        `by_turns`: owners take turns, so what comes next is the front of each owner's part of the line.
        """
        line, (whole, *_) = self._look((WINDOW_LINES, WINDOW_JOBS, WINDOW_FRONT), free, also, by_turns)
        return Window(line, bool(whole))

    def front(self, most: int, *also: str, by_turns: bool = False) -> Front:
        """The first jobs of the whole line, or about as many of all owners' parts of it; and `also`."""
        line, (_, looked, longer, unseen) = self._look((0, 0, most), {}, also, by_turns)
        return Front(line, int(looked), frozenset(map(text, longer)), int(unseen))

    def _look(
        self, most: tuple[int, int, int], free: Mapping[str, Amount], also: Sequence[str], by_turns: bool
    ) -> tuple[tuple[Candidate, ...], tuple[Any, ...]]:
        """Jobs that wait, in the line's order, and what else window.lua says."""
        keys = self._keys
        args: list[str | int] = [keys.job(""), keys.waiting(""), *most, int(by_turns), len(also), *also]
        for name, each in free.items():
            args += [name, each.millicores, each.memory, each.gpus, each.disk, each.pids, each.slots, each.spare]
        whole, told, found, *rest = self._scripts.run(
            "window", [keys.waiting_all, keys.shapes, keys.runs, keys.owners], args
        )
        among = [tuple(told[at : at + 3]) for at in range(0, len(told), 3)]
        made = (
            _candidate(*among[int(number)], task_id, owner, numbers)
            for task_id, owner, number, numbers in zip(*[iter(found)] * 4, strict=True)
        )
        line = sorted(filter(None, made), key=lambda candidate: (candidate.rank, candidate.task_id))
        return tuple(line), (whole, *rest)

    def living(self, node: str, workers: Iterable[str]) -> frozenset[str]:
        """Which of these workers hold a lease now."""
        names = sorted(set(workers))
        with named_faults():
            pipe = self._redis.pipeline(transaction=False)
            for worker in names:
                pipe.exists(self._keys.lease(node, worker))
            return frozenset(worker for worker, there in zip(names, pipe.execute(), strict=True) if there)

    def adopt(self, node: str, task_id: str, row: Reservation, worker: str) -> bool:
        """Take over a dead worker's row; False when it lives after all, or the row is another by now."""
        mine = row.model_copy(update={"worker": worker})
        keys = self._keys
        return bool(
            self._scripts.run(
                "adopt",
                [keys.job(task_id), keys.reservations(node), keys.lease(node, row.worker)],
                [task_id, row.attempt, row.worker, worker, mine.model_dump_json()],
            )
        )

    def promote(self) -> int:
        """Put delayed jobs whose time has come into the line; how many. At most a thousand at once."""
        keys = self._keys
        return int(
            self._scripts.run("promote", [keys.delayed, keys.shapes], [keys.job(""), keys.waiting(""), keys.wake, 1000])
        )

    def poke(self) -> None:
        """Wake every admission of the site."""
        with named_faults():
            self._redis.publish(self._keys.wake, "poke")

    def reserve(self, node: str, worker: str, claims: Sequence[Claim], queue: HintQueue | None = None) -> list[str]:
        """Admit a batch, the sum never above the allocatable; per claim ok, gone, full, owner, elsewhere or closed.

        `queue`: where a hint goes for each that is admitted, in the same step; None: nobody is told.
        """
        if not claims:
            return []
        keys = self._keys
        names = [keys.node(node), keys.reservations(node), keys.waiting_all, keys.shapes, keys.events, keys.nodes]
        names.append(queue.name if queue else "")
        most = "" if self.max_running_per_owner is None else self.max_running_per_owner
        args: list[str | int] = [node, worker, most, keys.reservations(""), keys.job("")]
        for claim in claims:
            names += [keys.job(claim.task_id), keys.waiting(claim.line)]
            args += [
                claim.task_id, claim.row.attempt, claim.line, claim.row.model_dump_json(), keys.changes(claim.task_id),
                queue.message(claim.task_id, claim.row.attempt) if queue else "",
            ]  # fmt: skip
        return [text(answer) for answer in self._scripts.run("reserve", names, args)]

    def hint(self, queue: HintQueue, task_id: str, attempt: int) -> None:
        """Tell a worker of an attempt that it was given before."""
        with named_faults():
            self._redis.lpush(queue.name, queue.message(task_id, attempt))


@lru_cache(maxsize=4096)
def _row(value: bytes) -> Reservation | None:
    """A row as it stands there. Most stand for many rounds, and to read one anew costs as much as to plan with it."""
    try:
        return Reservation.model_validate_json(value)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _candidate(
    line: bytes, same_size: bytes, any_size: bytes, task_id: bytes, owner: bytes, numbers: bytes
) -> Candidate | None:
    """None: the record is gone, damaged, or a newer release's; the sweep sees to the first two."""
    try:
        rank, attempt, created, timeout, version = numbers.split(b" ")
        if int(version) > VERSION:
            return None
        name, runs = line.decode(), (_runs(same_size), _runs(any_size))
        if not SHAPE.match(name):
            return None
        return Candidate(
            task_id=task_id.decode(),
            shape=name.partition("/")[0],
            rank=float(rank),
            attempt=int(attempt) + 1,
            created=int(created),
            timeout_seconds=float(timeout),
            owner=text(owner),
            predicted=predict(*runs, shared=not owner),
            typical=typical(*runs),
            line=name,
            home=name.partition("@")[2],
        )
    except ValueError:
        return None


def _runs(milliseconds: bytes) -> list[float]:
    return [int(run) / 1000 for run in milliseconds.split()]


def _as_json(promise: Promise | None) -> str:
    return json.dumps(asdict(promise)) if promise else ""
