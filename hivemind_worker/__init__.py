"""HiveMind's worker: everything that runs jobs. `celery -A hivemind_worker worker` is a correct worker."""

from hivemind_worker.version import __version__

__all__ = ["__version__"]
