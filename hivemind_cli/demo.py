"""`python -m hivemind_cli.demo`: a node of its own, three real programs on it at once, and everything checked.

Exits 0 only if all of it worked. Afterwards nothing is left but the artifacts; --keep leaves the node up too.
"""

from __future__ import annotations

import argparse
import queue
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hivemind_cli.demo_jobs import JOBS, DemoJob, WrongResult
from hivemind_cli.demo_node import cache_home, client_of, demo_node
from hivemind_cli.demo_view import View
from hivemind_cli.errors import CliError, fault_of
from hivemind_cli.output import clean, duration, moment, ran_for, size, styled, table, width

#: seconds that all three may take together, from the first upload to the last end
PATIENCE = 300.0
#: seconds that one may run
TIMEOUT = 120.0


def run_jobs(client: Any, view: View) -> dict[str, dict[str, Any]]:
    """All three at once; name → the document of its end. Raises CliError when they take too long."""
    (node,) = client.nodes("")
    # A third of a small machine each, so that they do run at the same time.
    cpu = min(0.5, int(node["allocatable"]["cpu"] / len(JOBS) * 100) / 100)
    news: queue.SimpleQueue[tuple[str, str, Any]] = queue.SimpleQueue()
    for job in JOBS:
        submit(client, job, cpu)
        for follow in (follow_state, follow_log):
            threading.Thread(target=follow, args=(client, job.name, news), daemon=True).start()
    ended: dict[str, dict[str, Any]] = {}
    logs = len(JOBS)
    deadline = time.monotonic() + PATIENCE
    while len(ended) < len(JOBS) or logs:
        try:
            kind, name, what = news.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise CliError(f"the jobs did not end within {PATIENCE:.0f} s") from None
        if kind == "error":
            raise what
        if kind == "log":
            view.output(name, what.stream, what.data)
        elif kind == "log ended":
            logs -= 1
        else:
            view.state(name, what)
            if kind == "ended":
                ended[name] = what
    return ended


def submit(client: Any, job: DemoJob, cpu: float) -> None:
    """Upload the bundle, assign the job under its caps."""
    from hivemind_cli.bundle import packed

    with packed(job.bundle) as bundle:
        digest = client.upload(bundle.path, None)
    requests = {"cpu": cpu, "memory": job.memory, "disk": 64 * 1024 * 1024, "pids": 32}
    client.assign(
        {
            "task_id": f"demo-{job.name}",
            "bundle_sha256": digest,
            "requests": requests,
            "timeout_seconds": TIMEOUT,
            "owner": "demo",
        }
    )


def follow_state(client: Any, name: str, news: queue.SimpleQueue[tuple[str, str, Any]]) -> None:
    """A thread: the job's documents, the last one as 'ended'."""
    try:
        task: dict[str, Any] = {}
        for task in client.watch(f"demo-{name}"):
            news.put(("state", name, task))
        news.put(("ended", name, task))
    except Exception as error:  # noqa: BLE001 - raised again where it is waited for
        news.put(("error", name, error))


def follow_log(client: Any, name: str, news: queue.SimpleQueue[tuple[str, str, Any]]) -> None:
    """A thread: the job's log."""
    try:
        for chunk in client.logs(f"demo-{name}", first=0, follow=True):
            news.put(("log", name, chunk))
        news.put(("log ended", name, None))
    except Exception as error:  # noqa: BLE001 - raised again where it is waited for
        news.put(("error", name, error))


def fetch_all(client: Any, ended: dict[str, dict[str, Any]]) -> list[tuple[str, str, Path | None, str]]:
    """Per job: name, verdict 'ok' or what is wrong, where its artifact lies, what is in it."""
    from hivemind_cli.fetching import fetch_into
    from hivemind_cli.progress import StatusLine

    results = cache_home() / "demo"
    shutil.rmtree(results, ignore_errors=True)
    rows: list[tuple[str, str, Path | None, str]] = []
    for job in JOBS:
        task, folder = ended[job.name], results / job.name
        if task["artifact"] is None:
            rows.append((job.name, "left no artifact", None, ""))
            continue
        with StatusLine() as line:
            fetch_into(client, task["task_id"], folder, line)
        if task["cause"] != "ok":
            rows.append((job.name, clean(task["evidence"] or task["cause"]), folder, ""))
            continue
        try:
            rows.append((job.name, "ok", folder, job.check(folder)))
        except (WrongResult, OSError, KeyError, ValueError) as error:
            rows.append((job.name, f"wrong result: {error}", folder, ""))
    return rows


def summary(ended: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Outcomes and usage, as a table; and how long all three ran side by side."""
    head = ("JOB", "STATE", "CAUSE", "RAN", "CPU TIME", "MEMORY PEAK", "WHAT IT IS")
    rows = []
    for job in JOBS:
        task = ended[job.name]
        used, asked = task["usage"] or {}, task["requests"]
        rows.append(
            (
                job.name,
                task["state"],
                task["cause"],
                duration(ran_for(task)),
                f"{used.get('cpu_seconds', 0):.2f}s at {asked['cpu']:g} cores",
                f"{size(used.get('memory_peak', 0))} of {size(asked['memory'])}",
                job.title,
            )
        )
    yield from table(head, rows, width())
    spans = [(moment(t["times"]["started"]), moment(t["times"]["finished"])) for t in ended.values()]
    if all(start and end for start, end in spans):
        together = (min(e for _, e in spans if e) - max(s for s, _ in spans if s)).total_seconds()
        if together > 0:
            yield f"All three ran side by side for {together:.1f} s."


def play(node: dict[str, Any]) -> bool:
    """The demo on a node that is up; whether all of it worked."""
    print(f"dashboard  {node['dashboard']}\nFlower     {node['flower']}\n", flush=True)
    with client_of(node) as client:
        with View() as view:
            ended = run_jobs(client, view)
        rows = fetch_all(client, ended)
    print()
    print("\n".join(summary(ended)))
    print("\nartifacts:")
    for name, verdict, folder, found in rows:
        sign = styled("ok  ", "green") if verdict == "ok" else styled("FAIL", "red")
        print(f"  {sign} {name:<8} {folder or '-'}\n                {found if verdict == 'ok' else verdict}")
    return all(verdict == "ok" for _, verdict, _, _ in rows)


def farewell(node: dict[str, Any]) -> Iterator[str]:
    """What to do with a node that was kept."""
    yield "The node is still up:"
    yield f"  dashboard  {node['dashboard']}"
    yield f"  Flower     {node['flower']}"
    yield f"  jobs       hivemind --bridge {node['bridge']} ps -a"
    yield f"  stop it    hivemind down --state {node['state']}"


def main() -> None:
    """Exit 0 only if all of it worked."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="A node, and three programs on it at once.")
    parser.add_argument("--keep", action="store_true", help="leave the node up")
    keep = parser.parse_args().keep
    # A polite kill takes everything down too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    worked = False
    try:
        print("starting a node of its own…", flush=True)
        with demo_node(keep) as node:
            worked = play(node)
            if keep:
                print("\n" + "\n".join(farewell(node)))
        if not keep:
            print("\nThe node and its state are gone again; './dev demo --keep' leaves them.")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted; everything is stopped")
    except Exception as error:
        fault = fault_of(error, "the demo's node")
        if fault is None:
            raise
        sys.exit(f"demo: {fault.message}")
    print(styled("demo: all of it worked", "green") if worked else styled("demo: FAILED", "red"), flush=True)
    sys.exit(0 if worked else 1)


if __name__ == "__main__":
    main()
