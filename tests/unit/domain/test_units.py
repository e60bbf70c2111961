"""Resources in the wrong unit or kind are refused with the field and what would be right."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hivemind_worker.domain.assignment import Assignment
from hivemind_worker.domain.errors import InvalidField
from hivemind_worker.domain.resources import GIB, MIB

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"cpu": math.nan}, "cpu", "finite number of cores, as in 0.5"),
    ({"cpu": math.inf}, "cpu", "finite number"),
    ({"cpu": "500m"}, "cpu", "as in 0.5"),
    ({"cpu": "two"}, "cpu", "give a number of cores"),
    ({"cpu": True}, "cpu", "number of cores"),
    ({"cpu": 500000}, "cpu", "500000 thousandths are 500"),
    ({"cpu_limit": math.nan}, "cpu_limit", "finite"),
    ({"cpu_limit": 0.1}, "cpu_limit", "between cpu, which is 1"),
    ({"memory": "256M"}, "memory", "as in 268435456"),
    ({"memory": "lots"}, "memory", "as in 268435456 for 256M"),
    ({"memory": 256}, "memory", "256 megabytes are 268435456"),
    ({"memory": 4}, "memory", "4 gigabytes are 4294967296"),
    ({"memory": math.nan}, "memory", "whole number of bytes"),
    ({"memory": 1.5}, "memory", "whole number of bytes, not 1.5"),
    ({"memory": None}, "memory", "whole number of bytes"),
    ({"disk": 5}, "disk", "5 megabytes are 5242880"),
    ({"gpus": 1.5}, "gpus", "whole number of devices"),
    ({"gpus": "all"}, "gpus", "whole number of devices"),
    ({"gpus": 1, "gpu_memory": 4}, "gpu_memory", "must be at least 64M (67108864), not 4"),
    ({"gpus": 1, "gpu_memory": "4G"}, "gpu_memory", "as in 4294967296"),
    ({"gpu_memory": GIB}, "gpu_memory", "ask for gpus as well"),
    ({"pids": 0}, "pids", "must be greater than or equal to 1"),
    ({"vram": 3}, "vram", "there is no such field"),
]


@pytest.mark.parametrize(("change", "field", "remedy"), WRONG)
def test_a_resource_in_a_wrong_unit_is_refused_with_the_remedy(change: dict[str, Any], field: str, remedy: str) -> None:
    asked = {"cpu": 1.0, "memory": 256 * MIB, "disk": GIB, "pids": 9} | change
    with pytest.raises(InvalidField) as caught:
        Assignment.parse({"task_id": "t", "image": "b", "timeout_seconds": 9.0, "requests": asked})
    assert caught.value.field == f"requests.{field}"
    assert remedy in caught.value.reason


def test_a_whole_number_may_come_as_a_float() -> None:
    asked = {"cpu": 1, "memory": float(256 * MIB), "disk": GIB, "pids": 9.0}
    made = Assignment.parse({"task_id": "t", "image": "b", "timeout_seconds": 9.0, "requests": asked})
    assert (made.requests.memory, made.requests.pids) == (256 * MIB, 9)
