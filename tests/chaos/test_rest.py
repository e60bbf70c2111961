"""What is looked for when all is at rest, and how it is read: nothing that cannot be read may pass for read."""

from __future__ import annotations

import zipfile
from typing import Any

import pytest
import redis

from tests.chaos import rest
from tests.chaos.journal import Journal

#: what a site at rest has
QUIET = {"job:j": "hash", "log:j": "stream", "runs:used": "zset", "outbox:reports": "hash", "lease:n1:w2@n1": "string"}
#: what may be forgotten, and what it is called
FORGOTTEN = {
    "waiting": "waiting", "waiting:1000/1": "waiting", "waiting/ada": "waiting", "owners": "owners",
    "delayed": "delayed", "promise": "promise", "shapes": "shapes", "secrets:j": "secrets", "active": "active",
    "quarantine": "quarantine", "quarantine:rows": "quarantine", "lease:n1:old@n1": "lease", "something": "something",
    "reservations:n1": "reservation", "job:k": "record that no index knows",
}  # fmt: skip


def put(client: redis.Redis, name: str) -> None:
    """A key of that name; what has to have an end has one."""
    key = "{hivemind}:" + name
    client.hset(key, "j", "{}")
    if name.partition(":")[0] in ("job", "log"):
        client.expire(key, 600)


@pytest.fixture
def quiet(client: redis.Redis) -> redis.Redis:
    """A site at rest, with the job j that has ended."""
    client.flushall()
    for name in QUIET:
        put(client, name)
    client.zadd("{hivemind}:index", {"j": 1})
    return client


def test_a_site_at_rest_has_nothing_left(quiet: redis.Redis) -> None:
    assert rest._in_redis(quiet) == []


@pytest.mark.parametrize("name", FORGOTTEN)
def test_what_is_forgotten_in_redis_is_found(quiet: redis.Redis, name: str) -> None:
    put(quiet, name)
    assert FORGOTTEN[name] in {what for what, _ in rest._in_redis(quiet)}


def test_strays_messages_and_records_without_an_end_are_found(quiet: redis.Redis) -> None:
    quiet.zadd("{hivemind}:index", {"gone": 1})
    quiet.rpush("node.n1", "a hint")
    quiet.persist("{hivemind}:log:j")
    assert {what for what, _ in rest._in_redis(quiet)} == {
        "place in the index without a record", "message", "log without an end",
    }  # fmt: skip


class Doors:
    """A client of which everything can be read but for one job."""

    def get(self, job: str) -> dict[str, Any]:
        raise zipfile.BadZipFile("File is not a zip file")


def test_what_cannot_be_read_for_whatever_reason_is_noted(quiet: redis.Redis) -> None:
    journal = Journal()
    rest.read_job(journal, quiet, Doors(), "j")  # type: ignore[arg-type]
    assert [(entry["job"], entry["code"]) for entry in journal.of("unread")] == [("j", "BadZipFile")]


def test_a_thread_that_dies_leaves_a_word_in_the_journal() -> None:
    journal = Journal()

    def act(number: int) -> None:
        raise KeyError(number)

    with pytest.raises(KeyError):
        journal.guarded("lane quick", act)(7)
    assert [(entry["who"], entry["why"]) for entry in journal.of("broke")] == [("lane quick", "KeyError: 7")]
