"""Addresses in gRPC's spelling."""

import pytest

from bridge.options import endpoint


@pytest.mark.parametrize(
    ("host", "spelled"),
    [
        ("127.0.0.1", "127.0.0.1:50053"),
        ("localhost", "localhost:50053"),
        ("::1", "[::1]:50053"),
        ("[::1]", "[::1]:50053"),
        ("unix:/run/b.sock", "unix:/run/b.sock"),
    ],
)
def test_each_kind_of_host_is_spelled_as_grpc_wants_it(host: str, spelled: str) -> None:
    assert endpoint(host, 50053) == spelled
