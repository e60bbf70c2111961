"""Who is to blame when a call fails: the connection, or the bridge that answered."""

from __future__ import annotations

import grpc
import pytest

from bridge.call_error import CallError


class Failure:
    """As much of grpc.RpcError as is looked at."""

    def __init__(self, details: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self._details, self._code = details, code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize(
    "details",
    [
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Failed to connect to remote host",
        "errors resolving nohost.invalid:1: [field:hostname lookup error:Domain name not found]",
        "DNS resolution failed for nohost.invalid:1",
        "Stream removed (Socket closed)",
        "Socket closed",
        "ipv4:127.0.0.1:9: Connection reset by peer",
        "recvmsg:Connection reset by peer",
        "GOAWAY received",
    ],
)
def test_a_connection_that_fails_is_a_bridge_that_is_away(details: str) -> None:
    error = CallError.of(Failure(details), "127.0.0.1:9")
    assert error.message == "no bridge answers at 127.0.0.1:9; is the node up? `hivemind up` starts one"


@pytest.mark.parametrize(
    "details",
    [
        "Redis does not answer: Error 111 connecting to 10.0.0.1:6379. Connection refused.",
        "Redis does not answer: Connection reset by peer",
        "the engine at unix:///var/run/docker.sock does not answer: Broken pipe",
    ],
)
def test_what_the_bridge_says_is_passed_on_whatever_words_are_in_it(details: str) -> None:
    assert CallError.of(Failure(details), "127.0.0.1:9").message == details


def test_a_call_that_a_stopping_bridge_cut_off_can_be_made_again_and_one_that_we_cancelled_cannot() -> None:
    cut_off = CallError.of(Failure("CANCELLED", grpc.StatusCode.CANCELLED), "127.0.0.1:9")
    assert (cut_off.code, "127.0.0.1:9" in cut_off.message) == ("UNAVAILABLE", True)
    for ours in ("Locally cancelled by application!", "Channel closed!"):
        assert CallError.of(Failure(ours, grpc.StatusCode.CANCELLED), "127.0.0.1:9").code == "CANCELLED"
