"""The campaign's jobs: what they do is known beforehand, and each tells the witness when it starts and ends."""

from __future__ import annotations

import io
import random
import zipfile
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.chaos.stack import HOME
from tests.integration.execution_kit import BUSYBOX

#: quick: prints and exits 0 · long: the same over 10 to 40 s · loud: much output at once · bundle: the same from a zip
#: failing: exits with a code of its own · flaky: fails at its first attempt, has retries · hanging: outlasts its
#: timeout · greedy: outgrows its disk · homeless: asks for an image that is nowhere · stubborn: ignores SIGTERM
Kind = Literal["quick", "long", "loud", "bundle", "failing", "flaky", "hanging", "greedy", "homeless", "stubborn"]
WEIGHTS: dict[Kind, int] = {
    "quick": 48, "long": 10, "loud": 6, "bundle": 12, "failing": 6, "flaky": 5,
    "hanging": 3, "greedy": 3, "homeless": 2, "stubborn": 5,
}  # fmt: skip

#: seconds a job that was asked to stop is given
GRACE = 1.0
MIB = 1024 * 1024

#: numbered lines on both streams, a result, and a word to the witness at both ends. `i` counts lines that are out
_PROGRAM = r"""
read -r nonce </proc/sys/kernel/random/uuid
say() { read -r up _ </proc/uptime; echo "$1 $TASK_ID $HIVEMIND_ATTEMPT $nonce $up $2 $3" >>/witness/lines; }
i=0
stop() { [ "$STUBBORN" ] || { say end 143 $i; exit 143; }; }
trap stop TERM
say start 0 0
[ -z "$INPUT" ] || [ "$(cat input.txt)" = "$INPUT" ] || { say end 9 $i; exit 9; }
while [ $i -lt $LINES ]; do
    n=$((i + 1))
    echo "o $HIVEMIND_ATTEMPT $n"
    [ "$LOUD" ] || echo "e $HIVEMIND_ATTEMPT $n" >&2
    i=$n
    [ "$PAUSE" = 0 ] || sleep $PAUSE
done
[ -z "$FILL" ] || { dd if=/dev/zero of=full bs=65536 count=$FILL 2>/dev/null; sleep 60; }
code=$CODE
[ -z "$FLAKY" ] || [ $HIVEMIND_ATTEMPT -gt 1 ] || code=$FLAKY
echo "result $HIVEMIND_ATTEMPT $i" >result.txt
say end $code $i
exit $code
"""


@dataclass(frozen=True)
class Order:
    """One job: what is assigned, and what it will do. `lines`: how many it prints on each stream if left alone."""

    task_id: str
    kind: Kind
    lines: int
    code: int = 0
    bundle: bytes | None = None
    assignment: dict[str, Any] = field(default_factory=dict)
    #: seconds after its acknowledgement at which it is cancelled; None: never
    cancel_after: float | None = None
    #: sent once more under its id after it was acknowledged
    repeat: bool = False
    #: its log is followed from its acknowledgement to its end
    follow: bool = False

    def facts(self) -> dict[str, Any]:
        """For the journal."""
        asked = self.assignment
        return {
            "job": self.task_id, "what": self.kind, "lines": self.lines, "code": self.code,
            "timeout": asked["timeout_seconds"], "retries": asked["retries"], "priority": asked["priority"],
            "cancel": self.cancel_after is not None, "millicores": int(asked["requests"]["cpu"] * 1000),
            "memory": asked["requests"]["memory"],
            "home": HOME if self.bundle is not None or "secrets" in asked else "",
        }  # fmt: skip


def draw(rng: random.Random, number: int, prefix: str) -> Order:
    """The next job of a seeded sequence."""
    kind: Kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    seconds = rng.uniform(10, 40) if kind == "long" else rng.uniform(0.1, 3.0)
    pause = rng.choice((0.05, 0.1, 0.2)) if kind != "long" else rng.choice((0.1, 0.25))
    lines = max(1, int(seconds / pause))
    if kind == "loud":
        lines, pause = rng.randrange(9_000, 16_000), 0.0  # more than a pipe holds
    elif kind == "stubborn":
        lines, pause = rng.randrange(100, 300), 0.05
    code = rng.randrange(1, 100) if kind == "failing" else 0
    said: dict[str, str] = {"LINES": str(lines), "PAUSE": f"{pause:g}", "CODE": str(code)}
    extra: dict[str, Any] = {"timeout_seconds": 300.0, "retries": 0}
    bundle = None
    if kind == "loud":
        said["LOUD"] = "1"  # one stream: in a file of both, a piece of one may lie within a line of the other
    elif kind == "flaky":
        said["FLAKY"], extra["retries"] = str(rng.randrange(1, 100)), 2
    elif kind == "failing":
        extra["retries"] = rng.choice((0, 0, 1))
    elif kind == "hanging":
        said |= {"LINES": "100000", "PAUSE": "0.25"}
        # Mostly soon; now and then so late that one sees whether it counts on when its worker has died.
        lines, extra["timeout_seconds"] = 100000, rng.choice((*3 * (rng.uniform(1.0, 6.0),), rng.uniform(25.0, 40.0)))
    elif kind == "greedy":
        said["FILL"] = str(rng.randrange(400, 500))
    elif kind == "stubborn":
        said["STUBBORN"] = "1"
    elif kind == "bundle":
        said["INPUT"] = f"{rng.getrandbits(64):016x}"
        bundle = zipped({"run_task.sh": f"#!/bin/sh\n{_PROGRAM}".encode(), "input.txt": said["INPUT"].encode()})
    # Its files are memory here, and must not be what ends it.
    memory = 64 if kind == "greedy" else rng.choice((16, 24, 32, 64))
    wanted = kind in ("stubborn",) or rng.random() < 0.08
    requests = {
        "cpu": rng.choice((0.1, 0.2, 0.25, 0.5, 1.0)), "memory": memory * MIB,
        "disk": (8 if kind == "greedy" else rng.choice((8, 16))) * MIB, "pids": 32,
    }  # fmt: skip
    assignment = {
        "task_id": f"{prefix}{number:05d}",
        "image": "localhost/there-is-none:latest" if kind == "homeless" else BUSYBOX,
        "command": [] if bundle else ["sh", "-c", _PROGRAM],
        "env": said,
        "requests": requests,
        "priority": rng.randrange(10),
        "owner": rng.choice(("ada", "ben", "eve")),
        "network": "none",
        **({"secrets": {"TOKEN": f"{rng.getrandbits(64):x}"}} if rng.random() < 0.1 else {}),
        **extra,
    }
    # Soon, so that it meets every state; the rest of them in the middle of their run.
    after = rng.choice((0.0, rng.uniform(0, 1), rng.uniform(0, 8))) if wanted else None
    return Order(
        assignment["task_id"],
        kind,
        lines,
        code,
        bundle,
        assignment,
        cancel_after=after,
        repeat=rng.random() < 0.05,
        follow=rng.random() < 0.15,
    )


def zipped(files: dict[str, bytes]) -> bytes:
    """A bundle."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return target.getvalue()
