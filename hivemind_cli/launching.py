"""From a plan to a running supervisor: this process becomes it, or a detached one is started and waited for."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from typing import Any, NoReturn

from hivemind_cli.errors import CliError
from hivemind_cli.plan import Plan

#: seconds: the supervisor gives up by itself before, and says why
PATIENCE = 180.0


def _plan_fd(plan: Plan) -> int:
    """The plan in memory only: it may hold a password."""
    descriptor = os.memfd_create("hivemind-plan", 0)
    os.write(descriptor, plan.to_json().encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _command(plan_fd: int, *more: str) -> list[str]:
    return [sys.executable, "-m", "hivemind_cli.supervisor", "--plan-fd", str(plan_fd), *more]


def become_supervisor(plan: Plan, env: dict[str, str], *, as_json: bool) -> NoReturn:
    """Replace this process, and with it the libraries that only planning needed."""
    command = _command(_plan_fd(plan), *(["--json"] if as_json else []))
    sys.stdout.flush()
    os.execve(command[0], command, env)  # noqa: S606 - an argument list of our own


def start_detached(plan: Plan, env: dict[str, str]) -> dict[str, Any]:
    """Start one that outlives us; its report once it is ready: {"up": …} or {"failed": …}.

    Raises CliError when it says nothing. Interrupted, it takes the half-started node down again.
    """
    ready, report = os.pipe()
    plan_fd = _plan_fd(plan)
    try:
        child = subprocess.Popen(
            _command(plan_fd, "--ready-fd", str(report)),
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(plan_fd, report),
        )
    finally:
        os.close(report)
        os.close(plan_fd)
    try:
        document = _read_report(ready)
    except BaseException:
        child.send_signal(signal.SIGTERM)
        child.wait()
        raise
    finally:
        os.close(ready)
    if "failed" in document:
        child.wait()
    return document


def _read_report(ready: int) -> dict[str, Any]:
    body = bytearray()
    poller = select.poll()
    poller.register(ready, select.POLLIN | select.POLLHUP)
    while poller.poll(PATIENCE * 1000):
        data = os.read(ready, 65536)
        if not data:
            break
        body += data
    if not body:
        raise CliError("the node's supervisor ended without a word; run 'hivemind up' without --detach to see why")
    document: dict[str, Any] = json.loads(body)
    return document
