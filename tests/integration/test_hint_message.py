"""A hint that goes with its reservation is the message that Celery itself would have sent."""

from __future__ import annotations

import base64
import json
from typing import Any

from celery import Celery

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.line import Claim
from hivemind_worker.hint_message import hint_message
from hivemind_worker.settings import Settings
from hivemind_worker.step import own_queue
from hivemind_worker.store.hints import HintQueue
from hivemind_worker.store.keys import TASK
from tests.builders import assignment, new_job, row
from tests.integration.store_kit import announce

#: what differs from message to message
ONCE = ("delivery_tag", "reply_to")
MINE = HintQueue("mine", lambda task_id, attempt: f"{task_id} {attempt}")


def read(raw: str | bytes) -> dict[str, Any]:
    message = json.loads(raw)
    message["body"] = json.loads(base64.b64decode(message["body"]))
    message["properties"] = {name: value for name, value in message["properties"].items() if name not in ONCE}
    return dict(message)


def test_it_is_what_send_task_puts_into_the_queue(settings: Settings, stores: Stores) -> None:
    app = Celery("plain", broker=settings.celery_broker)
    app.conf.update(task_serializer="json", task_ignore_result=True)
    queue = own_queue(app, settings, "celery@w1")
    app.amqp.queues.select_add(queue)
    app.send_task(TASK, args=["t1", 2], task_id="t1", queue=queue, delivery_mode=1, ignore_result=True)
    (sent,) = stores.redis.lrange(queue.name, 0, -1)
    assert read(hint_message(app, queue, "t1", 2)) == read(sent)
    app.close()


def test_each_that_is_admitted_is_told_of_in_the_same_step_and_no_other(stores: Stores) -> None:
    announce(stores, millicores=2500)
    stores.jobs.create_many([new_job(f"j{i}") for i in range(3)])
    claims = [Claim(f"j{i}", assignment().line, row()) for i in range(3)]
    assert stores.ledger.reserve("n1", "w1", claims, MINE) == ["ok", "ok", "full"]
    assert stores.redis.lrange("mine", 0, -1) == [b"j1 1", b"j0 1"]  # read from the end
    assert stores.ledger.reserve("n1", "w1", claims, MINE) == ["gone", "gone", "full"]
    assert stores.redis.llen("mine") == 2


def test_one_that_was_missed_is_told_again(stores: Stores) -> None:
    stores.ledger.hint(MINE, "j0", 3)
    assert stores.redis.lrange("mine", 0, -1) == [b"j0 3"]


def test_a_queue_that_is_no_list_breaks_no_reservation_off_half_done(stores: Stores) -> None:
    announce(stores)
    stores.jobs.create_many([new_job(f"j{i}") for i in range(2)])
    stores.redis.set("mine", "something else")
    claims = [Claim(f"j{i}", assignment().line, row()) for i in range(2)]
    assert stores.ledger.reserve("n1", "w1", claims, MINE) == ["ok", "ok"]
    assert stores.ledger.rows("n1").keys() == {"j0", "j1"}
