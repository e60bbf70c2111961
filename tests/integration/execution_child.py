"""A worker's body in a process of its own, to be killed in the middle: argv is its settings and its job as JSON."""

from __future__ import annotations

import json
import sys

from hivemind_worker.bootstrap import open_stores
from hivemind_worker.domain.job import Job
from hivemind_worker.execution.handle import Handle
from hivemind_worker.settings import load_settings

from .execution_kit import Kit


def main() -> None:
    """Prepare and run; says 'started' once the container has."""
    fields = json.loads(sys.argv[1])
    settings = load_settings(**fields)
    kit = Kit(settings, open_stores(settings))
    handle = Handle()
    prepared = kit.prepare(Job.model_validate_json(sys.argv[2]), handle)
    kit.runner.run(prepared, handle, lambda: print("started", flush=True))


if __name__ == "__main__":
    main()
