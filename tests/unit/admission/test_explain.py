"""A waiting job always has a reason that a person understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hivemind_worker.admission.explain import places_behind, waiting_info
from hivemind_worker.admission.intake import with_defaults
from hivemind_worker.admission.outlook import Forecast, Outlook, outlook_of
from hivemind_worker.admission.possible import never_fits
from hivemind_worker.admission.rules import Place
from hivemind_worker.domain.job import Job, Promised, WaitingInfo
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.line import Candidate
from hivemind_worker.domain.node import Gpu, Node, NodeCaps, NodeState, Reservation, cap_words
from hivemind_worker.domain.resources import GIB, MIB
from hivemind_worker.settings import Settings
from tests.builders import assignment, candidate, job, node, request, row


def told(
    waiting: Job,
    position: int | None = 1,
    nodes: Sequence[Node] = (),
    rows: Mapping[str, Mapping[str, Reservation]] | None = None,
    others: Sequence[Candidate] = (),
    **given: Any,
) -> WaitingInfo:
    """What is said about a job, behind `others` in the line."""
    spec = waiting.assignment
    own = candidate(
        "t1", rank=1.0, owner=spec.owner, timeout=spec.timeout_seconds, home=spec.home, **spec.requests.model_dump()
    )
    places = [Place(each, (rows or {}).get(each.node, {})) for each in nodes]
    return waiting_info(waiting, position, outlook_of([*others, own], places, 0, **given))


def test_without_a_node_the_reason_says_so() -> None:
    assert "no worker" in told(job()).reason


def test_a_draining_or_silent_node_is_named() -> None:
    assert told(job(), nodes=[node(state=NodeState.DRAINING)]).reason == "node n1 is draining"
    assert told(job(), nodes=[node(state=NodeState.DOWN)]).reason == "no worker is up"


def test_a_node_in_trouble_is_named_with_its_trouble() -> None:
    here = node().model_copy(update={"trouble": "the container engine does not answer"})
    assert told(job(), nodes=[here]).reason == "node n1: the container engine does not answer"


LARGE = job(assignment=assignment(requests=request(cpu=4.0)))


def test_what_is_missing_is_named_with_its_amount_and_when_it_will_be_there() -> None:
    held = row(cpu=1.5).model_copy(update={"deadline": 125_000})
    reason = told(LARGE, nodes=[node()], rows={"n1": {"x": held}}).reason
    assert reason == "needs 1.5 cores more than is free now; it is next and starts on n1 by 00:02:05 UTC"


def test_who_is_before_it_is_named_with_its_promise() -> None:
    held = row(cpu=1.5).model_copy(update={"deadline": 3 * 86_400_000})
    reason = told(LARGE, 2, [node()], {"n1": {"x": held}}, [candidate("t0", cpu=3.0)]).reason
    assert reason == "needs 1.5 cores more than is free now; t0 is before it and starts on n1 by 1970-01-04 00:00 UTC"


def test_a_reason_has_a_word_for_programs_and_the_promise_it_waits_for() -> None:
    held = {"n1": {"x": row(cpu=1.5).model_copy(update={"deadline": 125_000})}}
    head = told(LARGE, 1, [node()], held)
    own = Promised(task_id=LARGE.task_id, node="n1", at="1970-01-01T00:02:05.000Z")
    assert (head.kind, head.promise) == ("head", own)
    second = told(LARGE, 2, [node()], held, [candidate("t0", cpu=4.0)])
    assert second.kind == "full"
    assert second.promise is not None
    assert second.promise.task_id == "t0"
    assert told(LARGE, nodes=[node(state=NodeState.DRAINING)]).promise is None
    assert (told(job(), nodes=[node()]).kind, told(job(), nodes=[node()]).promise) == ("starting", None)


def test_a_job_that_fits_but_would_delay_the_head_says_whom() -> None:
    held = row(cpu=2.0).model_copy(update={"deadline": 5_000})
    small = job(assignment=assignment(requests=request(cpu=1.0)))
    reason = told(small, 2, [node()], {"n1": {"x": held}}, [candidate("t0", cpu=4.0)]).reason
    assert reason == "fits, but would delay t0, which starts on n1 by 00:00:05 UTC"


def test_a_job_that_is_about_to_start_says_so_and_one_that_no_open_node_could_hold() -> None:
    assert told(job(), nodes=[node()]).reason == "fits; about to start"
    assert "before it" in told(job(), 7, [node()]).reason
    too_large = job(assignment=assignment(requests=request(cpu=64.0)))
    assert told(too_large, nodes=[node()]).reason == "needs 60 cores more than n1 has, even empty"


def test_a_job_that_may_not_start_yet_says_when_it_may() -> None:
    waiting = job("other").model_copy(update={"not_before": 61_000})
    assert told(waiting, nodes=[node()]).reason == "waits until 00:01:01 UTC before its next attempt"


def test_an_eta_is_the_forecasts_and_behind_the_front_as_the_front_moves() -> None:
    outlook = Outlook(now=10_000, forecast=Forecast({"a": 12_500, "b": 20_000, "late": 9_000}, 2, 20_000))
    assert outlook.eta_seconds("a", 1) == 2.5
    assert outlook.eta_seconds("late", 1) == 0.0
    assert outlook.eta_seconds("c", 6) == 30.0
    assert outlook.eta_seconds("unknown", None) is None
    assert Outlook(now=0).eta_seconds("a", 5) is None


def test_a_request_beyond_every_node_is_refused_with_asked_and_allocatable() -> None:
    refusal = never_fits(request(cpu=64.0), [node(), node("n2", millicores=8000)])
    assert refusal is not None
    assert "64 cores" in str(refusal)
    assert "8 cores" in str(refusal)


def test_a_request_is_not_refused_while_no_node_is_known_or_one_could_hold_it() -> None:
    assert never_fits(request(cpu=64.0), []) is None
    assert never_fits(request(cpu=6.0), [node(), node("n2", millicores=8000)]) is None


def lending(now: Mapping[str, int], ever: Mapping[str, int], caps: NodeCaps | None = None) -> Node:
    """A node that lends so much now and at most, within an operator's caps."""
    here = node(**now)
    lends, caps = here.allocatable, caps or NodeCaps()
    changes = {"most": lends.model_copy(update=ever), "lends": lends, "caps": caps, "allocatable": caps.within(lends)}
    return here.model_copy(update=changes)


BUSY = lending({"millicores": 2000, "spare": 2000}, {"millicores": 3000, "spare": 4000})


def test_what_fits_once_cores_are_idle_is_taken_while_they_are_not() -> None:
    for most, reclaimable in ((3.0, False), (4.0, True)):
        assert never_fits(request(cpu=2.1, reclaimable=reclaimable), [BUSY]) is None
        assert never_fits(request(cpu=most, reclaimable=reclaimable), [BUSY]) is None
        assert f"is {most:g}" in str(never_fits(request(cpu=most + 0.1, reclaimable=reclaimable), [BUSY]))


def test_what_waits_for_idle_cores_says_so() -> None:
    for reclaimable, cores in ((False, "cores"), (True, "idle cores")):
        waits = job(assignment=assignment(requests=request(cpu=2.1, reclaimable=reclaimable)))
        info = told(waits, nodes=[BUSY])
        assert info.kind == "withheld"
        assert info.promise is None
        assert info.reason == (
            f"needs 0.1 {cores} more than n1 lends now, even empty; it lends more while its cores are idle"
        )


def test_what_an_operators_cap_keeps_out_is_taken_and_says_which() -> None:
    for caps, lacking in (
        (NodeCaps(slots=0), "1 slot"),
        (NodeCaps(millicores=0), "1 core"),
        (NodeCaps(memory=0), "64M of memory"),
    ):
        here = lending({}, {}, caps)
        assert never_fits(request(), [here]) is None
        info = told(job(), nodes=[here])
        ((name, cap),) = caps.model_dump(exclude_none=True).items()
        assert info.kind == "withheld"
        assert info.reason == (
            f"needs {lacking} more than n1 lends now, even empty; an operator set {cap_words(name, cap)}"
        )


def test_a_cap_at_run_time_on_top_of_what_can_never_be_is_no_excuse() -> None:
    capped = lending({}, {}, NodeCaps(millicores=1000))
    assert "4 cores" in str(never_fits(request(cpu=5.0), [capped]))
    assert told(job(assignment=assignment(requests=request(cpu=5.0))), nodes=[capped]).kind == "nowhere"


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
    held = {"n1": {"x": row(owner="ann")}}
    info = told(waits, 1, [node()], held, owners=OwnersRunning.of(1, held["n1"].values()))
    assert "owner ann runs 1 job, and 1 may run" in info.reason
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
    lent_now = here.allocatable.model_copy(update={"gpus": 0})
    assert (
        never_fits(request(gpus=1), [here.model_copy(update={"allocatable": lent_now, "lends": here.allocatable})])
        is None
    )


def test_more_devices_than_the_nodes_settings_lend_are_refused_whatever_is_cordoned() -> None:
    two = (Gpu(uuid="a", name="x", memory=1, cordoned=True), Gpu(uuid="b", name="x", memory=1))
    here = node(gpus=two)
    lends = here.allocatable.model_copy(update={"gpus": 1})
    capped = here.model_copy(update={"allocatable": lends, "lends": lends})
    assert "the most a node can lend is 1" in str(never_fits(request(gpus=2), [capped]))
    assert never_fits(request(gpus=1), [capped]) is None


BUNDLED = job(assignment=assignment(bundle_sha256="a" * 64, home="n2", requests=request(cpu=4.0)))
SECRET = job(assignment=assignment(home="n2"))


def test_a_job_whose_home_takes_nothing_names_it_and_says_why_it_must_be_that_one() -> None:
    away = {
        "is down": node("n2", state=NodeState.DOWN),
        "is draining": node("n2", state=NodeState.DRAINING),
        "takes nothing now: no engine": node("n2").model_copy(update={"trouble": "no engine"}),
        "has not announced itself to this site": node("n3"),
    }
    for why, home in away.items():
        assert told(BUNDLED, nodes=[node(), home]).reason == f"its bundle is on node n2, which {why}"
        assert told(SECRET, nodes=[node(), home]).reason == f"its secrets are on node n2, which {why}"


def test_a_job_whose_home_is_full_says_what_is_missing_there() -> None:
    held = row(cpu=1.5).model_copy(update={"deadline": 125_000})
    reason = told(BUNDLED, nodes=[node(), node("n2")], rows={"n2": {"x": held}}).reason
    assert reason == (
        "needs 1.5 cores more than is free now on n2, where its bundle is; it is next and starts on n2 by 00:02:05 UTC"
    )


def test_what_its_home_cannot_hold_even_empty_says_so_and_is_refused_when_it_comes_in() -> None:
    small = node("n2", millicores=2000)
    assert (
        told(BUNDLED, nodes=[node(), small]).reason == "needs 2 cores more than n2 has, even empty, where its bundle is"
    )
    refusal = str(never_fits(request(cpu=4.0), [small], "n2"))
    assert (
        "asked for 4 cores, but the most node n2, where its bundle or secrets are, can allocate is 2 cores" in refusal
    )


def test_who_has_the_reservation_is_first_and_those_who_came_before_it_since_one_further_back() -> None:
    assert places_behind("head", {"urgent": 1, "head": 3, "late": 4}) == {"urgent": 2, "head": 1, "late": 4}
    assert places_behind("", {"first": 1, "second": 2}) == {"first": 1, "second": 2}
    assert places_behind("started", {"first": 1}) == {"first": 1}


GPU_JOB = job(assignment=assignment(requests=request(gpus=1, gpu_memory=GIB)))
DEAD = "the NVIDIA driver does not answer: Unknown Error"


def gpus(amount: int, *devices: Gpu, **changes: Any) -> Node:
    here = node(gpus=devices)
    return here.model_copy(update={"allocatable": here.allocatable.model_copy(update={"gpus": amount}), **changes})


def test_a_job_that_waits_for_devices_is_told_what_is_wrong_with_them() -> None:
    dead = gpus(0, Gpu(uuid="a", name="x", memory=16 * GIB, trouble=DEAD), gpu_trouble=DEAD)
    assert told(GPU_JOB, nodes=[dead]).reason == f"needs 1 GPU more than n1 has, even empty (n1: {DEAD})"
    blind = gpus(0, gpu_trouble=DEAD)
    assert told(GPU_JOB, nodes=[blind]).reason == f"needs 1 GPU more than n1 has, even empty (n1: {DEAD})"
    ill = gpus(0, Gpu(uuid="a", name="x", memory=16 * GIB, index=3, trouble="it has fallen off the bus"))
    assert told(GPU_JOB, nodes=[ill]).reason.endswith("even empty (GPU 3 of n1 is out: it has fallen off the bus)")
    kept = gpus(0, Gpu(uuid="a", name="x", memory=16 * GIB, cordoned=True))
    kept = kept.model_copy(update={"lends": kept.allocatable.model_copy(update={"gpus": 1})})
    assert (
        told(GPU_JOB, nodes=[kept]).reason == "needs 1 GPU more than n1 lends now, even empty (GPU 0 of n1 is cordoned)"
    )
    assert told(GPU_JOB, nodes=[kept]).kind == "withheld"
    capped = kept.model_copy(update={"gpus": (Gpu(uuid="a", name="x", memory=16 * GIB),), "caps": NodeCaps(gpus=0)})
    assert "an operator set the cap of 0 GPUs" in told(GPU_JOB, nodes=[capped]).reason
    assert "GPU" not in told(LARGE, nodes=[dead], rows={"n1": {"x": row(cpu=1.5)}}).reason


def test_a_job_that_waits_for_the_device_that_is_left_is_told_of_the_other() -> None:
    well = Gpu(uuid="b", name="x", memory=16 * GIB, index=1)
    here = gpus(1, Gpu(uuid="a", name="x", memory=16 * GIB, trouble="it has fallen off the bus"), well)
    held = row(gpus=("b",)).model_copy(update={"deadline": 5_000})
    reason = told(GPU_JOB, nodes=[here], rows={"n1": {"x": held}}).reason
    assert "more than is free now (GPU 0 of n1 is out: it has fallen off the bus); it is next" in reason


def test_a_dead_driver_is_named_once_however_many_devices_it_takes_along() -> None:
    devices = [Gpu(uuid=each, name="x", memory=GIB, trouble=DEAD) for each in "abc"]
    refusal = str(never_fits(request(gpus=1), [gpus(0, *devices, gpu_trouble=DEAD)]))
    assert refusal.count(DEAD) == 1
