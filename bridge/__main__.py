"""`python -m bridge`: one node's bridge as a process. Exit code 2 for a setting that does not work."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

# gRPC's own log would say a failed bind a second time, in its words; set before grpc is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from bridge.server import Bridge
from hivemind_worker.bootstrap import open_stores
from hivemind_worker.domain.errors import SettingsError
from hivemind_worker.log import configure_process
from hivemind_worker.settings import Settings, load_settings


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises SettingsError when the address is not to be had."""
    stores = open_stores(settings)
    try:
        bridge = Bridge(stores, settings)
        told = asyncio.Event()
        for sign in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sign, told.set)
        await bridge.start()
        gc.collect()
        gc.freeze()  # what is here now stays; a collection need not walk through it during calls
        try:
            await told.wait()
        finally:
            await bridge.stop()
    finally:
        stores.close()


def main() -> int:
    """The process: 0 after an orderly stop, 2 for a setting that does not work."""
    try:
        settings = load_settings()
        configure_process(settings.log_level)
        asyncio.run(serve(settings))
    except SettingsError as error:
        print(f"hivemind bridge: {error}", file=sys.stderr)  # noqa: T201 - one plain line for a person
        return 2
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: it would wait for threads that sit in a read of a hung Redis. All that matters is given back.
    os._exit(code)
