"""A waiting job always has a reason that a person understands."""

from __future__ import annotations

from hivemind_worker.admission.explain import waiting_info
from hivemind_worker.admission.intake import never_fits, with_defaults
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.node import Gpu, NodeState
from hivemind_worker.domain.resources import GIB, MIB
from hivemind_worker.settings import Settings
from tests.builders import assignment, job, node, request, row


def test_without_a_node_the_reason_says_so() -> None:
    assert "no worker" in waiting_info(job(), 1, [], {}).reason


def test_a_draining_or_silent_node_is_named() -> None:
    assert waiting_info(job(), 1, [node(state=NodeState.DRAINING)], {}).reason == "node n1 is draining"
    assert waiting_info(job(), 1, [node(state=NodeState.DOWN)], {}).reason == "no worker is up"


def test_a_node_in_trouble_is_named_with_its_trouble() -> None:
    here = node().model_copy(update={"trouble": "the container engine does not answer"})
    assert waiting_info(job(), 1, [here], {}).reason == "node n1: the container engine does not answer"


def test_what_is_missing_is_named_with_its_amount() -> None:
    waiting = job(assignment=assignment(requests=request(cpu=4.0)))
    reason = waiting_info(waiting, 2, [node()], {"n1": [row(cpu=1.5)]}).reason
    assert reason == "needs 1.5 cores more than is free now"


def test_a_job_that_fits_but_is_not_first_waits_for_those_before_it() -> None:
    assert "before it" in waiting_info(job(), 7, [node()], {}).reason


def test_a_request_beyond_every_node_is_refused_with_asked_and_allocatable() -> None:
    refusal = never_fits(request(cpu=64.0), [node(), node("n2", millicores=8000)])
    assert refusal is not None
    assert "64 cores" in str(refusal)
    assert "8 cores" in str(refusal)


def test_a_request_is_not_refused_while_no_node_is_known_or_one_could_hold_it() -> None:
    assert never_fits(request(cpu=64.0), []) is None
    assert never_fits(request(cpu=6.0), [node(), node("n2", millicores=8000)]) is None


def test_more_gpus_or_gpu_memory_than_any_node_has_is_refused_by_name() -> None:
    assert "gpus" in str(never_fits(request(gpus=1), [node()]))


def test_absent_fields_get_the_nodes_defaults_and_given_ones_stay(settings: Settings) -> None:
    full = with_defaults({"task_id": "a", "requests": {"cpu": 2.0, "memory": None}, "priority": None}, settings)
    assert full["requests"]["cpu"] == 2.0
    assert full["requests"]["memory"] == 256 * MIB
    assert full["image"] == settings.default_image
    assert full["priority"] == 5


def test_a_job_whose_owner_runs_as_many_as_it_may_says_so() -> None:
    waits = job(assignment=assignment(owner="ann"))
    held = {"n1": [row(owner="ann")]}
    info = waiting_info(waits, 1, [node()], held, OwnersRunning.of(1, held["n1"]))
    assert "owner ann runs 1 jobs" in info.reason
    assert "HIVEMIND_MAX_RUNNING_PER_OWNER" in info.reason


def test_a_device_that_is_ill_is_named_when_a_job_cannot_have_it() -> None:
    ill = Gpu(uuid="a", name="x", memory=16 * GIB, index=3, trouble="it has fallen off the bus")
    assert "GPU 3 of n1 is out: it has fallen off the bus" in str(never_fits(request(gpus=1), [node(gpus=(ill,))]))


def test_a_share_larger_than_any_device_is_refused_with_the_largest() -> None:
    refusal = str(
        never_fits(request(gpus=1, gpu_memory=20 * GIB), [node(gpus=(Gpu(uuid="a", name="x", memory=16 * GIB),))])
    )
    assert refusal.startswith("requests.gpu_memory")
    assert "the largest device lends 16G" in refusal


def test_a_cordoned_device_may_be_waited_for() -> None:
    here = node(gpus=(Gpu(uuid="a", name="x", memory=1, cordoned=True),))
    here = here.model_copy(update={"allocatable": here.allocatable.model_copy(update={"gpus": 0})})
    assert never_fits(request(gpus=1), [here]) is None
