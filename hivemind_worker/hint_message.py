"""A hint as Celery's consumer reads it from Redis. Admission puts it there in the very step that reserves."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from kombu import Queue, serialization
from kombu.utils.json import dumps

from hivemind_worker.store.keys import TASK


def hint_message(app: Any, queue: Queue, task_id: str, attempt: int) -> str:
    """What `send_task(TASK, args=[task_id, attempt], task_id=task_id, queue=queue, ignore_result=True)` puts there.

    The task's part is Celery's own; around it goes kombu's envelope of a virtual transport: `prepare_message` and
    `_inplace_augment_message` of kombu/transport/virtual/base.py. A test holds it against what `send_task` puts there.
    """
    task = app.amqp.as_task_v2(task_id, TASK, args=[task_id, attempt], ignore_result=True)
    content_type, content_encoding, body = serialization.dumps(task.body, "json")
    properties = {
        **task.properties,
        "delivery_mode": 1,
        "delivery_info": {"exchange": "", "routing_key": queue.name},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    return str(
        dumps(
            {
                "body": base64.b64encode(body.encode()).decode(),
                "content-encoding": content_encoding,
                "content-type": content_type,
                "headers": task.headers,
                "properties": properties,
            }
        )
    )
