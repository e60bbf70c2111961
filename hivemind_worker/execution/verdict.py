"""How a container's end becomes a cause and a sentence of evidence. Pure: one function decides."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import Literal, get_args

from hivemind_worker.domain.outcome import Cause
from hivemind_worker.domain.resources import format_size
from hivemind_worker.execution.text import one_line

#: what we did to a container, if anything: the first reason stands
Reason = Literal["stop", "timeout", "disk", "gpu_memory", "gpu_lost", "partition"]
REASONS: tuple[Reason, ...] = get_args(Reason)
#: where the wrapper that installs requirements.txt was, by the marker it keeps
Requirements = Literal["", "installing", "failed", "no-pip"]

_KILLED = 128 + signal.SIGKILL
_TERMINATED = 128 + signal.SIGTERM
#: what Docker notes for a container that it found dead when it came up
_FOUND_DEAD = 255
#: the engine's init speaks only when it cannot start the program (tini 0.19, catatonit 0.1)
_INIT_FAILED = re.compile(r"\[FATAL tini \(\d+\)\] exec (.+) failed: (.+)|ERROR: failed to exec (.+): (.+)")
#: a program cannot have done much for so little: nobody computes for free by imitating the init's words
_INIT_CPU_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of a container's end. Bytes, seconds; `exit_code` None: nobody knows it any more."""

    exit_code: int | None
    #: what we did, delivered while it still ran
    reason: Reason | None = None
    #: a stop was asked for, whether or not it came in time
    stop_asked: bool = False
    #: processes that the kernel killed at the memory cap; the engine's own word for the same
    oom_kills: int = 0
    engine_says_oom: bool = False
    memory_cap: int = 0
    timeout: float = 0.0
    wall: float = 0.0
    cpu_seconds: float = 0.0
    disk_used: int = 0
    disk_cap: int = 0
    #: what was seen on its devices when they were the reason
    gpu_evidence: str = ""
    #: the engine was away while it ran; the machine was started anew since; it was deleted by somebody else
    outage: bool = False
    rebooted: bool = False
    gone: bool = False
    #: it ended before the engine that answers now came up, and this engine's containers do not outlive it
    engine_ended_it: bool = False
    #: why the node's own disk took nothing more when it ended; empty: it did
    no_room: str = ""
    requirements: Requirements = ""
    network: str = "none"
    #: the end of its output
    last_words: str = ""
    #: whether `last_words` is all it ever wrote
    all_words: bool = False


def reason_of(noted: str) -> Reason | None:
    """The reason by its name; None for a name that is none."""
    return next((reason for reason in REASONS if reason == noted), None)


def decide(facts: Facts) -> tuple[Cause, str]:
    """Cause and evidence."""
    for rule in (_acted, _lost, _out_of_memory, _requirements, _not_started):
        if verdict := rule(facts):
            return verdict
    return _own_end(facts)


def _acted(facts: Facts) -> tuple[Cause, str] | None:
    """What we did to it beats whatever it exits with then; so do the traces of a worker that did it and died."""
    code = facts.exit_code
    end = "" if code is None else f", and it ended with {_code(code)}"
    if facts.reason == "disk":
        used, cap = format_size(facts.disk_used), format_size(facts.disk_cap)
        return Cause.DISK, f"its workspace held {used} ({facts.disk_used} bytes), more than its disk of {cap}{end}"
    if facts.reason == "gpu_memory":
        return Cause.OOM, f"{facts.gpu_evidence}{end}"
    if facts.reason == "gpu_lost":
        return Cause.NODE_LOST, f"its device was lost: {facts.gpu_evidence}{end}"
    if facts.reason == "partition":
        return Cause.NODE_LOST, f"its node was cut off from Redis for too long and stopped it{end}"
    if facts.reason == "timeout":
        return Cause.TIMEOUT, f"it ran longer than its timeout of {facts.timeout:g} s{end}"
    if facts.reason == "stop":
        return Cause.CANCELLED, f"stopped on request{end}"
    if code in (_KILLED, _TERMINATED) and not facts.oom_kills and not facts.engine_says_oom:
        if facts.timeout and facts.wall >= facts.timeout:
            return Cause.TIMEOUT, f"it ran {facts.wall:.1f} s, longer than its timeout of {facts.timeout:g} s{end}"
        if facts.stop_asked:
            return Cause.CANCELLED, f"stopped on request{end}"
    return None


def _lost(facts: Facts) -> tuple[Cause, str] | None:
    if facts.gone:
        return Cause.ENGINE, "its container was deleted by somebody else"
    if facts.rebooted and facts.exit_code in (_KILLED, _TERMINATED, _FOUND_DEAD):
        return Cause.ENGINE, "the machine was restarted while it ran"
    if facts.outage and facts.exit_code in (_KILLED, _TERMINATED, _FOUND_DEAD) and not facts.oom_kills:
        return Cause.ENGINE, "the container engine went away while it ran and took it along"
    if facts.engine_ended_it and facts.exit_code and not (facts.oom_kills or facts.engine_says_oom):
        return Cause.ENGINE, f"it ended with {_code(facts.exit_code)} when its container engine was stopped or away"
    return None


def _out_of_memory(facts: Facts) -> tuple[Cause, str] | None:
    if not facts.exit_code or not (facts.oom_kills or facts.engine_says_oom):
        return None
    times = f" ({facts.oom_kills} processes)" if facts.oom_kills > 1 else ""
    cap = format_size(facts.memory_cap)
    return Cause.OOM, f"the kernel killed it at its memory cap of {cap}{times}{_while(facts)}"


def _requirements(facts: Facts) -> tuple[Cause, str] | None:
    if not facts.exit_code or facts.requirements not in ("failed", "no-pip"):
        return None
    if facts.requirements == "no-pip":
        return Cause.BUNDLE, "requirements.txt cannot be installed: the image has no python3 with pip"
    remedy = (
        "the job has no network: put the wheels into a folder wheels/ of the bundle, or ask for --network internet"
        if facts.network == "none"
        else "see the log for what pip tried"
    )
    words = one_line(facts.last_words)
    return Cause.BUNDLE, f"requirements.txt cannot be installed ({remedy}); pip said: {words}"


def _not_started(facts: Facts) -> tuple[Cause, str] | None:
    """With an init in the container a missing program is the init's complaint, not the engine's."""
    if facts.exit_code not in (126, 127) or not facts.all_words or facts.cpu_seconds > _INIT_CPU_SECONDS:
        return None
    said = _INIT_FAILED.fullmatch(facts.last_words.strip())
    if not said:
        return None
    program, why = (said[1], said[2]) if said[1] is not None else (said[3], said[4])
    return Cause.ENTRYPOINT, cannot_start(program, why)


def cannot_start(program: str, why: str) -> str:
    """The sentence for a program that the image cannot start."""
    shell = "; an image without a shell runs no .sh program and installs no requirements.txt"
    hint = shell if program.endswith("/sh") or program in ("sh", "bash") else ""
    return f"{one_line(program)!r} cannot be started in this image: {one_line(why)}{hint}"


def _own_end(facts: Facts) -> tuple[Cause, str]:
    code = facts.exit_code
    if code is None:
        return Cause.ENGINE, "its exit code is not known: the container engine was killed before it had noted it"
    if code == 0:
        survived = facts.oom_kills or facts.engine_says_oom
        return Cause.OK, "it exited with 0" + (" although the kernel killed a part of it" if survived else "")
    if facts.no_room:
        return (
            Cause.INTERNAL,
            f"it ended with {_code(code)}{_while(facts)}, and so may have for its node: {facts.no_room}",
        )
    return Cause.EXIT, f"it ended with {_code(code)}{_while(facts)}"


def _while(facts: Facts) -> str:
    return " while its requirements.txt was being installed" if facts.requirements == "installing" else ""


def _code(code: int) -> str:
    if code > 128:
        try:
            return f"exit code {code} (signal {signal.Signals(code - 128).name})"
        except ValueError:
            pass
    meaning = {126: " (found, but not executable)", 127: " (a command was not found)"}.get(code, "")
    return f"exit code {code}{meaning}"
