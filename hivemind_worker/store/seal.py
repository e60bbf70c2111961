"""Secrets at rest: sealed with a key that lies in the node's state directory, never in Redis."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from hivemind_worker.domain.errors import HiveMindError


class Sealer:
    """Seals and opens the secrets of jobs. Bridge and worker of one node share the key file."""

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(key)
        #: keys the digests of assignments, so that a digest gives no short secret away
        self.digest_key = hashlib.sha256(b"hivemind assignment digest" + key).digest()

    @classmethod
    def from_file(cls, path: Path) -> Sealer:
        """Read the key, making it first if this node has none. Two processes that race get the same one."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.{os.getpid()}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(Fernet.generate_key())
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
        try:
            opened: dict[str, str] = json.loads(self._fernet.decrypt(sealed.encode("ascii")))
        except InvalidToken:
            raise HiveMindError("the job's secrets were sealed with another node's key") from None
        return opened
