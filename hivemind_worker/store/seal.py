"""Secrets at rest: sealed with a key that lies in the node's state directory, never in Redis."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hivemind_worker.domain.errors import HiveMindError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet


class Sealer:
    """Seals and opens the secrets of jobs. Bridge and worker of one node share the key file."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        #: keys the digests of assignments, so that a digest gives no short secret away
        self.digest_key = hashlib.sha256(b"hivemind assignment digest" + key).digest()

    @cached_property
    def _fernet(self) -> Fernet:
        # Costs 4 MB: only for a process that meets a job with secrets.
        from cryptography.fernet import Fernet

        return Fernet(self._key)

    @classmethod
    def from_file(cls, path: Path) -> Sealer:
        """Read the key, making it first if this node has none. Two processes that race get the same one."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600, a name of its own
            fresh = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(base64.urlsafe_b64encode(os.urandom(32)))
                    file.flush()
                    os.fsync(file.fileno())
                os.link(fresh, path)  # fails when the other process was first
            except FileExistsError:
                pass
            finally:
                fresh.unlink(missing_ok=True)
        return cls(path.read_bytes())

    def seal(self, secrets: Mapping[str, str]) -> str:
        """Sealed text; '' for no secrets."""
        if not secrets:
            return ""
        return self._fernet.encrypt(json.dumps(dict(secrets)).encode()).decode("ascii")

    def open(self, sealed: str) -> dict[str, str]:
        """The inverse. Raises HiveMindError when the key is not the one it was sealed with."""
        if not sealed:
            return {}
        from cryptography.fernet import InvalidToken

        try:
            opened: dict[str, str] = json.loads(self._fernet.decrypt(sealed.encode("ascii")))
        except InvalidToken:
            raise HiveMindError("the job's secrets were sealed with another node's key") from None
        return opened
