"""The witness: an OCI runtime in front of the engine's own, and a file that only jobs and the checker can see.

The runtime notes every container that is created, started and deleted, with what the engine asked of the kernel, and
mounts the witness file into it. The kernel tells the end of each container's first process through a pidfd. Nothing
of this passes through the product or through the engine's own books.
"""

from __future__ import annotations

import json
import os
import select
import threading
from pathlib import Path
from typing import Any

from tests.chaos.journal import Journal

#: seconds between two looks at the files; a container that lives shorter is known by the runtime's notes alone
LOOK = 0.02

_RUNTIME = r"""#!/bin/sh
# $1… as containerd's shim calls runc: options, a verb, its options, the container's id last.
record=@RECORD@
verb= bundle= pidfile= prev=
for word; do
    case $prev in
    --root | --log | --log-format | --criu | --console-socket) ;;
    --bundle | -b) bundle=$word ;;
    --pid-file) pidfile=$word ;;
    *) case $word in create | start | delete) [ -n "$verb" ] || verb=$word ;; esac ;;
    esac
    prev=$word
done
id=$prev
note() { read -r up _ </proc/uptime && echo "$up $*" >>"$record/calls"; }
case $verb in
create)
    cp "$bundle/config.json" "$record/$id.json"
    mount='{"destination":"/witness","type":"bind","source":"@WITNESS@","options":["bind","rw"]}'
    sed -i 's|"mounts":\[|&'"$mount"',|' "$bundle/config.json"
    note create "$id"
    @RUNC@ "$@"
    code=$?
    if [ $code -eq 0 ]; then note created "$id" "$(cat "$pidfile")"; else note refused "$id"; fi
    exit $code
    ;;
start)
    note start "$id"
    @RUNC@ "$@"
    code=$?
    if [ $code -eq 0 ]; then note started "$id"; else note unstarted "$id"; fi
    exit $code
    ;;
delete)
    @RUNC@ "$@"
    code=$?
    if [ $code -eq 0 ]; then note delete "$id"; else note undeleted "$id"; fi
    exit $code
    ;;
esac
exec @RUNC@ "$@"
"""


class Witness:
    """The files in `folder`, and the thread that reads them into the journal."""

    def __init__(self, folder: Path, journal: Journal, *, runc: str) -> None:
        self._record, self._shared = folder / "record", folder / "witness"
        self._journal = journal
        self._record.mkdir(parents=True)
        self._shared.mkdir()
        for path in (self._shared / "lines", self._record / "calls"):
            path.touch()
        (self._shared / "lines").chmod(0o666)
        self.runtime = folder / "witness-runtime"
        text = _RUNTIME.replace("@RECORD@", str(self._record)).replace("@WITNESS@", str(self._shared))
        self.runtime.write_text(text.replace("@RUNC@", runc))
        self.runtime.chmod(0o755)
        self._pids: dict[int, str] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._poll = select.poll()
        self._wake, self._waker = os.pipe()
        self._poll.register(self._wake, select.POLLIN)
        self._thread = threading.Thread(target=journal.guarded("witness", self._run), name="witness", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read to the end, and stop."""
        os.close(self._waker)
        self._thread.join(10)

    def _run(self) -> None:
        calls, lines = Tail(self._record / "calls"), Tail(self._shared / "lines")
        open_ = True
        while open_:
            for number, _ in self._poll.poll(LOOK * 1000):
                if number == self._wake:
                    open_ = False
                else:
                    self._ended(number)
            for words in calls.take():
                self._call(float(words[0]), words[1], words[2], words[3:])
            for words in lines.take():
                self._line(words)

    def _call(self, up: float, verb: str, container: str, rest: list[str]) -> None:
        facts = self._facts_of(container)
        if verb == "created":
            self._watch(int(rest[0]), container)
        self._journal.note("runtime", t=up, verb=verb, container=container, **facts)

    def _facts_of(self, container: str) -> dict[str, Any]:
        if container not in self._facts:
            try:
                self._facts[container] = facts(json.loads((self._record / f"{container}.json").read_bytes()))
            except (OSError, ValueError):
                return {}
        return self._facts[container]

    def _watch(self, pid: int, container: str) -> None:
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            self._journal.note("exit", container=container, late=True, **self._facts_of(container))
            return
        self._pids[descriptor] = container
        self._poll.register(descriptor, select.POLLIN)

    def _ended(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        os.close(descriptor)
        container = self._pids.pop(descriptor)
        self._journal.note("exit", container=container, **self._facts_of(container))

    def _line(self, words: list[str]) -> None:
        """`start|end JOB ATTEMPT NONCE UPTIME CODE LINES`, as jobs.py's programs write it."""
        if len(words) != 7:
            self._journal.note("torn", words=words)
            return
        what, job, attempt, nonce, up, code, printed = words
        self._journal.note(
            "witness", t=float(up), what=what, job=job, attempt=int(attempt), nonce=nonce,
            code=int(code), lines=int(printed),
        )  # fmt: skip


class Tail:
    """Whole lines that are appended to a file, as words."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""

    def take(self) -> list[list[str]]:
        """Those that have come since the last time."""
        data = self._rest + self._file.read()
        whole, _, self._rest = data.rpartition(b"\n")
        return [line.decode("utf-8", "replace").split() for line in whole.splitlines()] if whole else []


def facts(config: dict[str, Any]) -> dict[str, Any]:
    """Whose container it is and what caps it was given, from the OCI bundle that the engine made. Pure."""
    env = dict(one.partition("=")[::2] for one in config["process"]["env"])
    resources = config.get("linux", {}).get("resources", {})
    cpu = resources.get("cpu", {})
    millicores = cpu["quota"] * 1000 // cpu["period"] if cpu.get("quota") and cpu.get("period") else 0
    memory = resources.get("memory", {}).get("limit", 0)
    found: dict[str, Any] = {"millicores": millicores, "memory": memory}
    for mount in config.get("mounts", ()):
        if mount["destination"] == "/workspace":
            found["node"] = Path(mount["source"]).parents[2].name
    if "TASK_ID" in env:
        found |= {"job": env["TASK_ID"], "attempt": int(env.get("HIVEMIND_ATTEMPT", 0))}
    return found
