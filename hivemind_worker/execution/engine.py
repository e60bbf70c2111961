"""The container engine behind a few plain calls. The only file that imports docker."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

import docker
import docker.auth
import docker.errors
import requests
import urllib3.exceptions

from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.execution.found import Found, ImageInfo, parse_found, parse_image, parse_listed
from hivemind_worker.execution.wire import Address, EngineRefused, EngineStream, open_stream, refusal
from hivemind_worker.settings import Settings

#: seconds for one step of a call; starting a container on a busy machine takes long, and asking twice is no help
CALL_TIMEOUT = 120.0
#: seconds for one step of a streaming call's opening
OPEN_TIMEOUT = 30.0
PING_TIMEOUT = 3.0
#: seconds for which an answer to `healthy` is good
HEALTHY_FOR = 2.0
#: seconds for which an image that was seen is taken to be there still
IMAGE_FOR = 30.0


class NameTaken(EngineRefused):
    """A container of that name is there already."""


class Engine:
    """One engine. Threads may share it. Every call may raise EngineUnavailable, and EngineRefused where it says so."""

    def __init__(self, settings: Settings) -> None:
        self._address = Address.parse(settings.docker_host)
        self._enabled = settings.docker_enabled
        self._lock = threading.Lock()
        self._client: Any = None
        self._images: dict[str, tuple[float, ImageInfo]] = {}
        self._healthy = (float("-inf"), False)

    # --- is it there -----------------------------------------------------------------------------------

    def ping(self) -> None:
        """Return if it answers, within PING_TIMEOUT seconds."""
        self._check_enabled()
        open_stream(self._address, "GET", "/_ping", timeout=PING_TIMEOUT).close()

    def healthy(self, *, fresh: bool = False) -> bool:
        """Whether it answers; the last answer is good for HEALTHY_FOR seconds unless asked `fresh`."""
        when, answer = self._healthy
        if fresh or time.monotonic() - when > HEALTHY_FOR:
            try:
                self.ping()
                answer = True
            except (EngineUnavailable, EngineRefused):
                answer = False
            self._healthy = (time.monotonic(), answer)
        return answer

    # --- images ----------------------------------------------------------------------------------------

    def image(self, reference: str, *, fresh: bool = False) -> ImageInfo | None:
        """What the engine has under this name; None: nothing. An answer is good for IMAGE_FOR seconds."""
        known = self._images.get(reference)
        if known and not fresh and time.monotonic() - known[0] < IMAGE_FOR:
            return known[1]
        self._images.pop(reference, None)
        try:
            with self._call() as api:
                info = parse_image(api.inspect_image(reference))
        except EngineRefused as refused:
            if refused.status == 404:
                return None
            raise
        self._images[reference] = (time.monotonic(), info)
        return info

    def forget_image(self, reference: str) -> None:
        """Look again at the next call of `image`."""
        self._images.pop(reference, None)

    def pull(self, repository: str, tag: str, await_head: Callable[[int], None]) -> EngineStream:
        """Start to fetch an image; the stream tells its progress and errors as JSON lines. Raises EngineRefused."""
        with self._call() as api:
            registry, _ = docker.auth.resolve_repository_name(repository)
            auth = docker.auth.get_config_header(api, registry)
        query = urlencode({"fromImage": repository, "tag": tag})
        headers = {"X-Registry-Auth": auth.decode("ascii")} if auth else {}
        return self._stream("POST", f"/images/create?{query}", headers=headers, await_head=await_head)

    # --- containers ------------------------------------------------------------------------------------

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container; its id. Raises NameTaken, EngineRefused (404: the image is not there)."""
        try:
            with self._call() as api:
                return str(api.create_container_from_config(dict(body), name=name)["Id"])
        except EngineRefused as refused:
            if refused.status == 409:
                raise NameTaken(refused.status, refused.words) from None
            raise

    def attach(self, container: str) -> EngineStream:
        """Its output from now on, in frames. Raises EngineRefused."""
        return self._stream("POST", f"/containers/{quote(container)}/attach?stream=1&stdout=1&stderr=1")

    def logs(self, container: str, *, follow: bool) -> EngineStream:
        """Its output from the first byte that the engine kept, in frames. Raises EngineRefused."""
        query = f"stdout=1&stderr=1&follow={int(follow)}"
        return self._stream("GET", f"/containers/{quote(container)}/logs?{query}")

    def start(self, container: str) -> None:
        """Start it. Raises EngineRefused. Only for one that is merely created: an exited one would run again."""
        with self._call() as api:
            api.start(container)

    def wait(self, container: str) -> EngineStream:
        """A stream that ends with its exit code as JSON once it does not run any more. Raises EngineRefused."""
        return self._stream("POST", f"/containers/{quote(container)}/wait")

    def kill(self, container: str, signal: str) -> bool:
        """Send a signal; False: it does not run (any more)."""
        try:
            with self._call() as api:
                api.kill(container, signal)
        except EngineRefused as refused:
            if refused.status in (404, 409) or "not running" in refused.words:
                return False
            raise
        return True

    def inspect(self, container: str) -> Found | None:
        """What is known of it; None: it is not there."""
        try:
            with self._call() as api:
                return parse_found(api.inspect_container(container))
        except EngineRefused as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, labels: Mapping[str, str]) -> list[Found]:
        """All containers, running or not, that carry these labels; of each only what a list tells."""
        wanted = [f"{name}={value}" for name, value in labels.items()]
        with self._call() as api:
            return [parse_listed(raw) for raw in api.containers(all=True, filters={"label": wanted})]

    def remove(self, container: str) -> None:
        """Kill it if it runs and delete it with its anonymous volumes. One that is gone is removed."""
        try:
            with self._call() as api:
                api.remove_container(container, force=True, v=True)
        except EngineRefused as refused:
            if refused.status not in (404, 409):  # 409: it is being removed already
                raise

    def close(self) -> None:
        """Give the connections back."""
        self._forget()

    # --- the edge --------------------------------------------------------------------------------------

    def _stream(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        await_head: Callable[[int], None] | None = None,
    ) -> EngineStream:
        with self._call() as api:
            url = f"/v{api.api_version}{path}"
        return open_stream(self._address, method, url, headers=headers, timeout=OPEN_TIMEOUT, await_head=await_head)

    @contextmanager
    def _call(self) -> Iterator[Any]:
        """A client, and the engine's faults under our names."""
        try:
            yield self._connected()
        except docker.errors.APIError as error:
            if error.response is None:
                raise EngineUnavailable(f"the engine at {self._address.url} does not answer: {error}") from error
            raise refusal(error.response.status_code, str(error.explanation or error)) from error
        except (
            requests.exceptions.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            docker.errors.DockerException,
            OSError,
        ) as error:
            self._forget()
            raise EngineUnavailable(f"the engine at {self._address.url} does not answer: {error}") from error

    def _connected(self) -> Any:
        """The client; made at the first call, because making one asks the engine for its version."""
        self._check_enabled()
        client = self._client
        if client is None:
            self._address.connect(PING_TIMEOUT).close()  # docker-py leaves a socket that fails to the collector
            fresh = docker.APIClient(base_url=self._address.url, version="auto", timeout=CALL_TIMEOUT, max_pool_size=64)
            fresh.trust_env = False  # no proxy stands between us and our engine
            with self._lock:
                client = self._client = self._client or fresh
            if client is not fresh:
                fresh.close()
        return client

    def _forget(self) -> None:
        """Drop the client: an engine that comes back may be another version."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _check_enabled(self) -> None:
        if not self._enabled:
            raise EngineUnavailable("the container engine is switched off (HIVEMIND_DOCKER_ENABLED)")
