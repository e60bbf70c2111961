"""The composition root of a worker process: everything that runs jobs, wired once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import IO
from uuid import uuid4

import structlog

from hivemind_worker.admission.admitter import Admitter
from hivemind_worker.admission.controller import Controller
from hivemind_worker.admission.healer import Healer, Rules
from hivemind_worker.admission.hinter import Hinter
from hivemind_worker.admission.intake import Intake
from hivemind_worker.admission.naming import Name
from hivemind_worker.admission.partition import Partition, patience
from hivemind_worker.admission.returning import Return
from hivemind_worker.admission.rules import Rules as PolicyRules
from hivemind_worker.admission.running import Running
from hivemind_worker.admission.sweep import Sweep
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.capacity.gpu import GpuMonitor
from hivemind_worker.capacity.scores import Scores
from hivemind_worker.capacity.snapshot import Snapshot
from hivemind_worker.delivery.artifacts import ArtifactLimits
from hivemind_worker.delivery.report import Collector
from hivemind_worker.domain.errors import HiveMindError, StoreUnavailable
from hivemind_worker.domain.node import Node
from hivemind_worker.execution.device_refusals import DeviceRefusals
from hivemind_worker.execution.engine import Engine
from hivemind_worker.execution.handle import Handle
from hivemind_worker.execution.janitor import Janitor
from hivemind_worker.execution.node_names import note_name
from hivemind_worker.execution.room import no_room
from hivemind_worker.execution.runner import Runner
from hivemind_worker.execution.since import Moment
from hivemind_worker.execution.unwatched import Unwatched
from hivemind_worker.housekeeping import Rounds, housekeeping
from hivemind_worker.settings import Settings
from hivemind_worker.store.connection import prober
from hivemind_worker.store.hints import HintQueue
from hivemind_worker.store.wakeups import Ear

log = structlog.get_logger()

#: a worker whose lease has lapsed is taken for dead; several beats long, so that one late beat is no death
LEASE_BEATS = 5


@dataclass(frozen=True)
class Agent:
    """Everything one worker process runs jobs with. Built once, by the worker's admission step."""

    settings: Settings
    node: str
    worker: str
    #: one life of this process
    boot: str
    stores: Stores
    intake: Intake
    running: Running[Handle]
    runner: Runner
    name: Name
    collector: Collector
    controller: Controller
    #: only where the node was told to stop when it is cut off
    partition: Partition | None
    rounds: Rounds
    gpus: GpuMonitor
    refusals: DeviceRefusals
    scores: Scores
    lock: IO[bytes]

    def start(self) -> None:
        """Begin to admit and to clean up."""
        self.controller.start()
        if self.partition is not None:
            self.partition.start()
        self.rounds.start()
        self.scores.start()

    def let_go(self) -> None:
        """Admit nothing more and let every body leave; containers go on."""
        self.controller.close()
        held = self.running.held()
        self.running.detach_all()
        try:
            # At once for all: a body in a call to the engine may not come to it before this process is gone.
            self.stores.jobs.rest(held, boot=self.boot)
        except StoreUnavailable:
            log.info("leave not noted: redis is away", jobs=len(held))

    def stop(self) -> None:
        """The same, and wait for admission to give its lease back."""
        self.let_go()
        self.rounds.stop()
        if self.partition is not None:
            self.partition.stop()
        self.gpus.stop()
        self.scores.stop()
        self.controller.stop(timeout=1.0)
        self.runner.close()


def take_name(settings: Settings, worker: str) -> IO[bytes]:
    """The lock on a worker's name; the kernel frees it with the process. Raises HiveMindError for a twin."""
    folder = settings.state / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / f"{worker}.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise HiveMindError(
            f"a worker named {worker} runs already on {settings.state}; give this one another name with -n"
        ) from None
    return lock


def owner_of(lock: IO[bytes]) -> str:
    """What a worker's name belongs to: the locked file, on this machine as long as that runs. Who has the lock knows
    that whoever had it before is dead; of a copy of the directory, or another machine's, it knows nothing."""
    there = os.fstat(lock.fileno())
    return f"{Moment.now().boot}:{there.st_dev}:{there.st_ino}"


def build_agent(settings: Settings, *, worker: str, queue: HintQueue, leave: Callable[[str], None]) -> Agent:
    """Wire a worker. Redis and the engine may be away; they are needed only once there is work.

    Raises HiveMindError when another worker holds the name here. Of one elsewhere `leave` is told later.
    """
    lock = take_name(settings, worker)
    stores = open_stores(settings)
    node = settings.node_id
    note_name(settings.state, node)
    engine = Engine(settings)
    gpus, refusals = GpuMonitor(), DeviceRefusals(engine, settings.state)
    refusals.begin()
    scores = Scores(settings.state, gpus)
    if settings.docker_enabled:
        gpus.start()
    hinter, boot = Hinter(partial(stores.ledger.hint, queue), settings.beat), uuid4().hex
    rules = PolicyRules.of(settings)
    admitter = Admitter(stores.ledger, node=node, worker=worker, rules=rules, queue=queue, hinted=hinter.sent)
    runner = Runner(
        engine,
        settings,
        stores.logs,
        stores.bundles,
        site_id=stores.ledger.site_id,
        node=node,
        cores=lambda: admitter.cores,
        gpus=gpus,
        no_devices=refusals.note,
    )
    running: Running[Handle] = Running()
    describe = describer(settings, engine, gpus, refusals, scores)
    partition = watch_partition(settings, running, engine, stores.ledger.site_id)
    back = Return(after=settings.node_lost_after - settings.beat, wake=stores.ledger.poke)
    name = Name(
        stores.ledger,
        node=node,
        worker=worker,
        owner=owner_of(lock),
        lease=LEASE_BEATS * settings.beat,
        refuse=leave,
    )
    controller = Controller(
        jobs=stores.jobs,
        ledger=stores.ledger,
        keys=stores.keys,
        ear=Ear(stores.redis, [stores.keys.wake, stores.keys.control(node)]),
        running=running,
        describe=describe,
        ready=lambda: back.over(engine=engine.healthy()) and not no_room(settings.state),
        hinter=hinter,
        healer=Healer(
            jobs=stores.jobs,
            ledger=stores.ledger,
            audit=stores.audit,
            sweep=Sweep(stores.audit, worker=worker, beat=settings.beat),
            running=running,
            hinter=hinter,
            node=node,
            worker=worker,
            boot=boot,
            rules=Rules.of(settings),
            deaf=lambda: leave("hints go unheard while Redis answers: the consumer is deaf"),
        ),
        partition=partition,
        back=back,
        beat=settings.beat,
        admitter=admitter,
        name=name,
    )
    janitor = Janitor(engine, settings, site_id=stores.ledger.site_id, node=node, swept=back.swept)
    return Agent(
        settings=settings,
        node=node,
        worker=worker,
        boot=boot,
        stores=stores,
        intake=Intake(stores.jobs, stores.ledger, stores.bundles, settings),
        running=running,
        runner=runner,
        name=name,
        collector=Collector(stores.artifacts, stores.staging.folder, ArtifactLimits.of(settings)),
        controller=controller,
        partition=partition,
        rounds=housekeeping(stores, janitor, running, node=node, settings=settings),
        gpus=gpus,
        refusals=refusals,
        scores=scores,
        lock=lock,
    )


def watch_partition(
    settings: Settings, running: Running[Handle], engine: Engine, site_id: Callable[[], str]
) -> Partition | None:
    """What ends containers when the node is cut off; None where they are to go on."""
    if settings.on_partition == "keep":
        return None
    grace = settings.stop_grace
    after, left = patience(settings.node_lost_after, grace, settings.beat), Unwatched(engine, settings)
    return Partition(running, left, site_id=site_id, after=after, grace=grace, answers=prober(settings.redis))


def describer(
    settings: Settings, engine: Engine, gpus: GpuMonitor, refusals: DeviceRefusals, scores: Scores
) -> Callable[[], Node]:
    """A function that looks at this node."""
    snapshot = Snapshot(settings, gpus, scores, refusals.trouble)

    def trouble() -> str:
        return no_room(settings.state) if engine.healthy(fresh=True) else "the container engine does not answer"

    return lambda: snapshot.take(trouble())
