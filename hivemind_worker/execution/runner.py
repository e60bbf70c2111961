"""One attempt as a container: made ready, run to its end, cleaned up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog

from hivemind_worker.domain.errors import BundleLost, BundleRefused, EngineUnavailable, HiveMindError, NotFound
from hivemind_worker.domain.job import Job, State
from hivemind_worker.execution.bundle import BundleLimits, check_disk, extract_bundle
from hivemind_worker.execution.conclude import Watched, conclude
from hivemind_worker.execution.device_refusals import DevicesRefused, gives_none
from hivemind_worker.execution.disk import DiskWatch
from hivemind_worker.execution.engine import Engine
from hivemind_worker.execution.entrypoint import choose_entrypoint
from hivemind_worker.execution.gpus import GpuSight, GpuWatch, NoGpus
from hivemind_worker.execution.handle import Handle
from hivemind_worker.execution.images import ensure_image
from hivemind_worker.execution.launch import (
    ContainerLost,
    Launched,
    check_owner,
    find_container,
    had_started,
    launch,
    mounted_by,
)
from hivemind_worker.execution.live import Shipper
from hivemind_worker.execution.logs import SETTLE, Pump
from hivemind_worker.execution.patience import check, patiently
from hivemind_worker.execution.prepared import Ended, Prepared
from hivemind_worker.execution.requirements import asks_for_packages, wrap, wrapper_env
from hivemind_worker.execution.sandbox import Identity, Place, container_body, program_of
from hivemind_worker.execution.since import Moment, ran_for
from hivemind_worker.execution.survivors import end_survivors
from hivemind_worker.execution.usage import Meter
from hivemind_worker.execution.verdict import reason_of
from hivemind_worker.execution.watch import Limits, Watch
from hivemind_worker.execution.wire import EngineRefused
from hivemind_worker.execution.workspace import Workspace, create_workspace, disk_usage, workspaces_of
from hivemind_worker.killpoints import reach
from hivemind_worker.settings import Settings
from hivemind_worker.store.blobs import BlobStore
from hivemind_worker.store.logs import LogStore

__all__ = ["Ended", "Prepared", "Runner"]

log = structlog.get_logger()


class Runner:
    """Runs attempts, each in the thread that calls. Threads may share it."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        logs: LogStore,
        bundles: BlobStore,
        *,
        site_id: Callable[[], str],
        node: str,
        cores: Callable[[], int | None],
        gpus: GpuSight | None = None,
        no_devices: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`cores`: what the node lends one container at most now, in thousandths; None: not known. Asked on the way to
        every container, so it answers at once. `no_devices` is told what an engine says that has no way to give devices
        to containers."""
        self._engine = engine
        self._settings = settings
        self._logs = logs
        self._bundles = bundles
        self._shipper = Shipper(logs)
        self._ask_site = site_id
        self._site: str | None = None
        self._node = node
        self._cores = cores
        self._gpus = gpus or NoGpus()
        self._no_devices = no_devices
        self._base = settings.state / "workspaces"
        root = os.geteuid() == 0
        self._uid = settings.job_uid if root else os.geteuid()
        self._gid = settings.job_uid if root else os.getegid()

    # --- before ------------------------------------------------------------------------------------------

    def prepare(self, job: Job, secrets: Mapping[str, str], gpus: Sequence[str], handle: Handle) -> Prepared:
        """Make image and workspace ready; for an attempt whose container is there already, find it again.

        Leaves nothing behind when it raises. Raises JobRefused (image, bundle, entry point, disk, a stop that came
        first), Detached, HiveMindError.
        """
        spec = job.assignment
        identity = Identity(self._site_id(handle), self._node, job.task_id, job.attempt)
        if (found := self._find_again(job, identity, handle)) is not None:
            found.gpus = tuple(gpus)
            return found
        check(handle)
        image = ensure_image(self._engine, spec.image, self._settings.pull, self._settings.pull_timeout, handle)
        workspace = create_workspace(self._base, job.task_id, job.attempt, self._uid, self._gid)
        reach("workspace-made", job.task_id)
        try:
            chosen = self._unpack(job, workspace) if spec.bundle_sha256 else None
            wrapped = chosen is not None and asks_for_packages(workspace.work)
            body = container_body(
                job,
                identity=identity,
                program=program_of(spec, image, wrap(chosen) if chosen and wrapped else chosen),
                place=Place(workspace.work, self._uid, self._gid),
                image=image,
                secrets=secrets,
                gpus=gpus,
                lent=self._cores(),
                settings=self._settings,
                extra_env=wrapper_env(spec.network) if wrapped else {},
            )
            workspace.record_baseline()
        except BaseException:
            workspace.remove()
            raise
        reach("workspace-ready", job.task_id)
        return Prepared(job, workspace, identity, body, tuple(gpus))

    def _site_id(self, handle: Handle) -> str:
        if self._site is None:
            self._site = patiently(handle, self._ask_site, started=True)
        return self._site

    def _find_again(self, job: Job, identity: Identity, handle: Handle) -> Prepared | None:
        """What a worker that died left of this very attempt. Raises ContainerLost, ForeignContainer."""
        left = workspaces_of(self._base, job.task_id, job.attempt)
        if not left and not had_started(job):
            return None
        found = patiently(handle, lambda: find_container(self._engine, identity), started=True)
        if found is None:
            if not left:
                raise ContainerLost
            # Its files and what was read of its log go into the artifact; `launch` says that its container is gone.
            started = next((one for one in left if one.start_noted), left[-1] if had_started(job) else None)
            if started is None:
                return None
            started.inherit_log()
            return Prepared(job, started, identity, None)
        workspace = mounted_by(found, left)
        if workspace is None or not identity.owns(found):
            check_owner(identity, found)
        if workspace is None:
            try:
                workspace = create_workspace(self._base, job.task_id, job.attempt, self._uid, self._gid)
            except HiveMindError:
                patiently(handle, lambda: self._put_down(identity), started=True)
                raise
        workspace.drop_older_logs()
        log.info("attempt found again", job_id=job.task_id, attempt=job.attempt, status=found.status)
        return Prepared(job, workspace, identity, None, container=found.id)

    def _unpack(self, job: Job, workspace: Workspace) -> tuple[str, ...]:
        """Extract the bundle and choose its program. Raises JobRefused."""
        spec, limits = job.assignment, BundleLimits.of(self._settings)
        disk = spec.requests.disk
        packed = workspace.root / "bundle.zip"
        try:
            path = self._bundles.local_copy(spec.bundle_sha256, packed)
            holds = extract_bundle(path, workspace.work, limits, self._uid, self._gid, disk=disk)
        except NotFound:
            raise BundleLost(
                f"the bundle {spec.bundle_sha256} is not on this node: it was sent to another, or is gone"
            ) from None
        except BundleRefused as refusal:
            if not self._bundles.put_aside_damaged(spec.bundle_sha256):
                raise
            raise BundleLost(f"{refusal}; the node's copy is not what was sent, and was put aside: send it") from None
        finally:
            packed.unlink(missing_ok=True)
        check_disk(disk_usage(workspace.work), disk)  # as blocks, small files take more than their bytes
        return choose_entrypoint(spec.command, workspace.root_files(), workspace.first_line, holds.folders)

    # --- meanwhile ---------------------------------------------------------------------------------------

    def run(
        self,
        prepared: Prepared,
        handle: Handle,
        on_started: Callable[[], None],
        confirm: Callable[[bool], None] = lambda _: None,
    ) -> Ended:
        """Start the container, or find it started, and stay until it has ended. `on_started` is called once it has.

        `confirm` is called right before the start: it raises where the attempt may not start any more, and
        StoreUnavailable to be asked again; with True where other hands were at it, so that it has to be sure.
        Raises Detached (the container goes on, if it was started), JobRefused when it cannot be started
        (DevicesRefused: the engine has no way to give it its devices) or was stopped before it was, and what `confirm`
        raises.
        """
        job, found_again = prepared.job, prepared.body is None
        # A worker of this name that died may have had a piece on its way while this attempt was claimed again.
        look = job.has_log or found_again
        last = patiently(handle, lambda: self._logs.last(job.task_id), started=found_again) if look else None
        launched = self._launch(prepared, handle, confirm)
        with ExitStack() as held:
            if launched.output is not None:
                held.callback(launched.output.close)
            # First of all: the account of a program that ends at once is gone some 20 ms later.
            meter = self._meter(launched, job)
            held.callback(meter.close)
            log.info("container started", job_id=job.task_id, attempt=job.attempt, found_again=found_again)
            started = time.monotonic() - ran_for(prepared.workspace.start, launched.found, Moment.now())
            disk = DiskWatch(self._disk_roots(prepared, launched), job.assignment.requests.disk)
            held.callback(disk.close)
            gpus = GpuWatch(self._gpus, launched.container, prepared.gpus, job.assignment.requests.gpu_memory)
            live = self._shipper.open(job.task_id, job.attempt, last, worker=job.worker, fenced=handle.fence)
            cap = self._settings.max_log_bytes
            pump = Pump(prepared.workspace.log, live, cap=cap, attempt=job.attempt, last=last)
            try:
                on_started()
                noted = reason_of(prepared.workspace.ended_for)
                limits = Limits(started + job.assignment.timeout_seconds, self._settings.stop_grace, noted)
                watch = Watch(
                    self._engine, launched.container, handle,
                    pump=pump, meter=meter, disk=disk, gpus=gpus, limits=limits, output=launched.output,
                    attached_to=launched.attached_to, note=prepared.workspace.note_end,
                )  # fmt: skip
                left = watch.run()
                seen = Watched(prepared, launched, left, pump, meter, disk, gpus.evidence, started)
                return conclude(self._engine, self._settings, seen, handle)
            except BaseException:
                pump.abandon()
                raise

    def _launch(self, prepared: Prepared, handle: Handle, confirm: Callable[[bool], None]) -> Launched:
        def ask(surely: bool) -> None:
            patiently(handle, lambda: confirm(surely))

        try:
            return launch(self._engine, self._settings, prepared, handle, ask)
        except EngineRefused as refused:
            if not (prepared.gpus and gives_none(refused.words)):
                raise
            self._no_devices(refused.words)
            raise DevicesRefused(refused.status, refused.words) from None

    def _meter(self, launched: Launched, job: Job) -> Meter:
        def ask_pid() -> int:
            try:
                found = self._engine.inspect(launched.container)
            except HiveMindError:
                return 0
            return found.pid if found else 0

        return Meter(launched.container, network=job.assignment.network != "none", ask_pid=ask_pid)

    def _disk_roots(self, prepared: Prepared, launched: Launched) -> list[Path]:
        """Where the job can write to disk: its workspace, and its own layer where that is not read-only."""
        roots = [prepared.workspace.work]
        if not self._settings.read_only_rootfs:
            try:
                found = launched.found or self._engine.inspect(launched.container)
            except HiveMindError:
                found = None
            if found is not None and found.upper and Path(found.upper).is_dir():
                roots.append(Path(found.upper))
        return roots

    # --- after -------------------------------------------------------------------------------------------

    @staticmethod
    def may_have_run(job: Job, prepared: Prepared | None) -> bool:
        """Whether the attempt's container may have written something: the record or the workspace notes its start."""
        try:
            ran = job.state is State.RUNNING or job.times.started is not None  # a refused one is `collecting` too
            return ran or (prepared is not None and prepared.workspace.start_noted)
        except OSError:
            return True

    def keep(self, prepared: Prepared | None) -> bool:
        """Mark a failed attempt's workspace to be kept a while, where settings ask for it; whether it will be.

        To be called before the outcome is recorded: from then on a workspace without the mark is anybody's to remove.
        """
        if prepared is None or not self._settings.keep_failed_workspace:
            return False
        try:
            prepared.workspace.keep_until(time.time() + self._settings.keep_failed_workspace)
        except (OSError, HiveMindError) as error:
            job = prepared.job
            log.warning("workspace not kept", job_id=job.task_id, attempt=job.attempt, why=str(error))
            return False
        return True

    def clean(self, prepared: Prepared, keep_workspace: bool) -> None:
        """Remove container and workspace, or leave the workspace. Does not raise: the janitor goes on."""
        job = prepared.job
        try:
            self._remove_container(prepared)
        except HiveMindError as error:
            log.warning("container left to the janitor", job_id=job.task_id, attempt=job.attempt, why=str(error))
        reach("container-removed", job.task_id)
        if not keep_workspace:
            prepared.workspace.remove()

    def _remove_container(self, prepared: Prepared) -> None:
        """By id: another site's container may bear the same name."""
        if prepared.container is None:
            found = find_container(self._engine, prepared.identity)
            if found is None or not prepared.identity.owns(found):
                return
            prepared.container = found.id
        self._engine.remove(prepared.container)

    def put_down(self, prepared: Prepared, handle: Handle) -> None:
        """Make sure that nothing of an attempt runs whose watch broke off, before anything is said of its end.

        Otherwise the next attempt could start beside it. An engine that is away is waited for. Raises Detached.
        """
        if prepared.container is not None or prepared.body is None:
            patiently(handle, lambda: self._put_down(prepared.identity), started=True)

    def _put_down(self, identity: Identity) -> None:
        """Raises EngineUnavailable until it does not run."""
        try:
            found = find_container(self._engine, identity)
            if found is None or not identity.owns(found):
                return
            if not found.running:
                if end_survivors(found.id):
                    raise EngineUnavailable("its processes were killed and have not ended yet")
                return
            log.warning("container is put down", job_id=identity.task_id, attempt=identity.attempt)
            self._engine.kill(found.id, "SIGKILL")
        except EngineRefused as refused:
            raise EngineUnavailable(str(refused)) from None
        raise EngineUnavailable("its container was killed and has not ended yet")

    def discard(self, job: Job) -> None:
        """End an attempt that is over: its container and workspace go. Does not raise: the janitor goes on."""
        try:
            identity = Identity(self._site or self._ask_site(), self._node, job.task_id, job.attempt)
            found = self._engine.inspect(identity.name)
            if found is not None and identity.owns(found):
                self._engine.remove(found.id)
        except HiveMindError as error:
            log.warning("container left to the janitor", job_id=job.task_id, attempt=job.attempt, why=str(error))
            return
        for workspace in workspaces_of(self._base, job.task_id, job.attempt):
            workspace.remove()

    def send_log(self, job: Job) -> None:
        """Wait a while until Redis has all of the attempt's live log. Raises StoreUnavailable when it has not."""
        self._shipper.settle_job(job.task_id, SETTLE)

    def close(self, timeout: float = 1.0) -> None:
        """Send what the live logs still hold, within `timeout` seconds."""
        self._shipper.close(timeout)
