"""Images fetched by the real engine from a registry of this test's own."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import docker
import pytest

from hivemind_worker.domain.errors import ImageRefused
from hivemind_worker.execution.engine import Engine
from hivemind_worker.execution.handle import Detached, Handle, StoppedEarly
from hivemind_worker.execution.images import ensure_image
from hivemind_worker.settings import Settings

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


class Registry(ThreadingHTTPServer):
    """As much of the registry's protocol as a pull needs. Layers wait for the gate."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.content: dict[str, tuple[str, bytes]] = {}
        self.gate = threading.Event()
        self.asked = threading.Event()
        self._add_image("plain", b"first")
        absent = {"mediaType": MANIFEST, "size": 1, "digest": "sha256:" + "0" * 64}
        platforms = [{**absent, "platform": {"architecture": "s390x", "os": "linux"}}]
        body = json.dumps({"schemaVersion": 2, "mediaType": LIST, "manifests": platforms}).encode()
        for tag in ("1", digest(body)):
            self.content[f"/v2/elsewhere/manifests/{tag}"] = (LIST, body)

    def _add_image(self, name: str, data: bytes) -> None:
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            member = tarfile.TarInfo("file")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/file"], "Volumes": {"/data": {}}},
                "rootfs": {"type": "layers", "diff_ids": [digest(tar.getvalue())]},
            }
        ).encode()
        layer = gzip.compress(tar.getvalue())
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": part("application/vnd.docker.container.image.v1+json", config),
            "layers": [part("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)],
        }
        body = json.dumps(manifest).encode()
        for data, kind in ((config, "application/octet-stream"), (layer, "layer")):
            self.content[f"/v2/{name}/blobs/{digest(data)}"] = (kind, data)
        for tag in ("1", digest(body)):
            self.content[f"/v2/{name}/manifests/{tag}"] = (MANIFEST, body)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def part(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(data), "digest": digest(data)}


class _Answers(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        if self.path == "/v2/":
            self._answer(200, "application/json", b"{}")
            return
        kind, data = self.server.content.get(self.path, ("", b""))
        if not kind:
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            self._answer(404, "application/json", json.dumps(error).encode())
            return
        if kind == "layer":
            self.server.asked.set()
            self.server.gate.wait(60)
        self._answer(200, kind, data)

    do_HEAD = do_GET

    def _answer(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Docker-Content-Digest", digest(data))
        self.end_headers()
        if self.command == "GET":
            try:
                self.wfile.write(data)
            except ConnectionError:
                return  # the engine gave the pull up

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def name(registry: Registry) -> Iterator[str]:
    """The registry's name; images pulled from it are removed."""
    made = f"127.0.0.1:{registry.server_address[1]}"
    yield made
    client = docker.from_env()
    for image in client.images.list():
        for tag in image.tags:
            if tag.startswith(made):
                client.images.remove(tag, force=True)
    client.close()


@pytest.fixture
def engine(settings: Settings) -> Engine:
    return Engine(settings)


@pytest.fixture
def handle() -> Iterator[Handle]:
    made = Handle()
    yield made
    made.close()


def test_a_name_the_registry_does_not_have_is_unknown(engine: Engine, name: str, handle: Handle) -> None:
    with pytest.raises(ImageRefused, match=f"{name}/plain:2 is unknown"):
        ensure_image(engine, f"{name}/plain:2", "missing", 30.0, handle)


def test_an_image_for_other_platforms_says_so(engine: Engine, name: str, handle: Handle) -> None:
    with pytest.raises(ImageRefused, match="no variant for this node's platform"):
        ensure_image(engine, f"{name}/elsewhere:1", "missing", 30.0, handle)


def test_a_node_that_pulls_nothing_does_not_ask(engine: Engine, name: str, handle: Handle) -> None:
    with pytest.raises(ImageRefused, match="HIVEMIND_PULL=never"):
        ensure_image(engine, f"{name}/plain:1", "never", 30.0, handle)


def test_a_pull_that_takes_too_long_is_refused(engine: Engine, name: str, handle: Handle) -> None:
    with pytest.raises(ImageRefused, match="did not arrive in time"):
        ensure_image(engine, f"{name}/plain:1", "missing", 0.5, handle)


@pytest.mark.parametrize(("word", "error"), [("stop", StoppedEarly), ("detach", Detached)])
def test_a_word_ends_a_pull(
    engine: Engine, registry: Registry, name: str, handle: Handle, word: str, error: type[Exception]
) -> None:
    def speak() -> None:
        registry.asked.wait(30)
        if word == "stop":
            handle.stop(1.0)
        else:
            handle.detach()

    speaker = threading.Thread(target=speak)
    speaker.start()
    with pytest.raises(error):
        ensure_image(engine, f"{name}/plain:1", "missing", 60.0, handle)
    speaker.join()


def test_a_missing_image_is_pulled_once_and_an_always_pulled_one_again(
    engine: Engine, registry: Registry, name: str, handle: Handle
) -> None:
    registry.gate.set()
    info = ensure_image(engine, f"{name}/plain:1", "missing", 30.0, handle)
    assert (info.command, info.volumes) == (("/file",), ("/data",))
    registry.content.clear()
    assert ensure_image(engine, f"{name}/plain:1", "missing", 30.0, handle) == info
    with pytest.raises(ImageRefused, match="unknown"):
        ensure_image(engine, f"{name}/plain:1", "always", 30.0, handle)
