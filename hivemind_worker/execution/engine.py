"""The container engine behind a few plain calls: Docker's Engine API, 1.41 or newer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.execution.found import Found, ImageInfo, parse_found, parse_image, parse_listed
from hivemind_worker.execution.restarts import engine_started_at, same_engine
from hivemind_worker.execution.since import Moment
from hivemind_worker.execution.survivors import end_survivors
from hivemind_worker.execution.wire import Address, EngineRefused, EngineStream, call, call_for_lines, open_stream
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
#: the newest version of the API that this file was read against; a newer engine is asked to speak it
NEWEST = (1, 44)


class NameTaken(EngineRefused):
    """A container of that name is there already."""


class Engine:
    """One engine. Threads may share it. Every call may raise EngineUnavailable, and EngineRefused where it says so."""

    def __init__(self, settings: Settings) -> None:
        self._address = Address.parse(settings.docker_host)
        self._enabled = settings.docker_enabled
        self._version = ""
        self._images: dict[str, tuple[float, ImageInfo]] = {}
        self._healthy = (float("-inf"), False)
        #: of the engine that was started then, whether it keeps containers
        self._keeps: tuple[Moment, bool] | None = None

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

    def started_at(self) -> Moment | None:
        """When its process was started; None where that cannot be known. Raises EngineUnavailable."""
        return engine_started_at(self._address)

    def keeps_containers(self) -> bool:
        """Whether its containers outlive it (live-restore); else it ends them when it is stopped in order."""
        return bool(self._call("GET", "/info").get("LiveRestoreEnabled"))

    def kept_by(self, started: Moment | None) -> bool | None:
        """`keeps_containers` of the engine that was started then and answers now, asked once of each; None: unknown."""
        if started is None:
            return None
        known = self._keeps
        if known is None or not same_engine(known[0], started):
            try:
                known = self._keeps = (started, self.keeps_containers())
            except EngineRefused:
                return None
        return known[1]

    # --- images ----------------------------------------------------------------------------------------

    def image(self, reference: str, *, fresh: bool = False) -> ImageInfo | None:
        """What the engine has under this name; None: nothing. An answer is good for IMAGE_FOR seconds."""
        known = self._images.get(reference)
        if known and not fresh and time.monotonic() - known[0] < IMAGE_FOR:
            return known[1]
        self._images.pop(reference, None)
        try:
            info = parse_image(self._call("GET", f"/images/{quote(reference, safe='/:@')}/json"))
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
        query = urlencode({"fromImage": repository, "tag": tag})
        return self._stream("POST", f"/images/create?{query}", headers=_credentials(repository), await_head=await_head)

    # --- containers ------------------------------------------------------------------------------------

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container; its id. Raises NameTaken, EngineRefused (404: the image is not there)."""
        try:
            return str(self._call("POST", f"/containers/create?name={quote(name)}", body)["Id"])
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
        self._call("POST", f"/containers/{quote(container)}/start")

    def wait(self, container: str) -> EngineStream:
        """A stream that ends with its exit code as JSON once it does not run any more. Raises EngineRefused."""
        return self._stream("POST", f"/containers/{quote(container)}/wait")

    def kill(self, container: str, signal: str) -> bool:
        """Send a signal; False: it does not run (any more)."""
        try:
            self._call("POST", f"/containers/{quote(container)}/kill?signal={signal}")
        except EngineRefused as refused:
            if refused.status in (404, 409) or "not running" in refused.words:
                return False
            raise
        return True

    def inspect(self, container: str) -> Found | None:
        """What is known of it; None: it is not there."""
        try:
            return parse_found(self._ask(f"/containers/{quote(container)}/json"))
        except EngineRefused as refused:
            if refused.status == 404:
                return None
            raise

    def saw_end(self, container: str, engine_started: Moment) -> bool:
        """Whether the engine that was started then has told of this container's end. It remembers some 256 events.

        Raises EngineUnavailable also where another engine answers by now. One that tells no events is taken to have.
        """
        filters = json.dumps({"container": [container], "event": ["die"]})
        now = time.time()
        query = urlencode({"since": int(engine_started.wall) - 1, "until": f"{now:.9f}", "filters": filters})
        try:
            told = call_for_lines(self._address, self._versioned(f"/events?{query}"), timeout=CALL_TIMEOUT)
        except EngineRefused:
            return True
        if not told and not same_engine(engine_started, self.started_at()):
            raise EngineUnavailable("the engine that was asked is gone")
        return bool(told)

    def list(self, labels: Mapping[str, str]) -> list[Found]:
        """All containers, running or not, that carry these labels; of each only what a list tells."""
        filters = json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
        query = urlencode({"all": "1", "filters": filters})
        return [parse_listed(raw) for raw in self._ask(f"/containers/json?{query}")]

    def remove(self, container: str) -> None:
        """Kill it if it runs and delete it with its anonymous volumes. One that is gone is removed."""
        try:
            self._call("DELETE", f"/containers/{quote(container)}?force=1&v=1")
        except EngineRefused as refused:
            if refused.status not in (404, 409):  # 409: it is being removed already
                raise
        end_survivors(container)

    def _ask(self, path: str) -> Any:
        """What is known of containers. An engine that cannot say that now is as good as away."""
        try:
            return self._call("GET", path)
        except EngineRefused as refused:
            if refused.status < 500:
                raise
            raise EngineUnavailable(f"the engine cannot say: {refused.words}") from None

    # --- the edge --------------------------------------------------------------------------------------

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        try:
            return call(self._address, method, self._versioned(path), body, timeout=CALL_TIMEOUT)
        except EngineUnavailable:
            self._version = ""  # an engine that comes back may be another version
            raise

    def _stream(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        await_head: Callable[[int], None] | None = None,
    ) -> EngineStream:
        url = self._versioned(path)
        return open_stream(self._address, method, url, headers=headers, timeout=OPEN_TIMEOUT, await_head=await_head)

    def _versioned(self, path: str) -> str:
        """The path with the version that both sides know; asked once."""
        self._check_enabled()
        version = self._version
        if not version:
            said = call(self._address, "GET", "/version", timeout=OPEN_TIMEOUT)
            version = self._version = common_version(said["ApiVersion"], said.get("MinAPIVersion", ""))
        return f"/v{version}{path}"

    def _check_enabled(self) -> None:
        if not self._enabled:
            raise EngineUnavailable("the container engine is switched off (HIVEMIND_DOCKER_ENABLED)")


def common_version(newest: str, oldest: str) -> str:
    """The engine's newest version of the API, or ours where that is older and the engine still speaks it."""

    def parts(text: str) -> tuple[int, ...]:
        return tuple(int(word) for word in text.split(".") if word.isdigit())

    chosen = max(min(parts(newest), NEWEST), parts(oldest))
    return ".".join(str(number) for number in chosen)


def _credentials(repository: str) -> dict[str, str]:
    """The header with this machine's login for the image's registry, from Docker's own files; none: no header."""
    import docker.auth  # here, because it brings 15 MB along and most nodes never pull

    registry, _ = docker.auth.resolve_repository_name(repository)
    known = docker.auth.resolve_authconfig(docker.auth.load_config(), registry)
    return {"X-Registry-Auth": docker.auth.encode_header(known).decode("ascii")} if known else {}
