"""When waiting jobs will probably start: the policy itself, played forward with predicted run times. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from hivemind_worker.admission.policy import plan
from hivemind_worker.admission.rules import Place, Rules
from hivemind_worker.admission.shares import accrue
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.line import Candidate, Promise
from hivemind_worker.domain.usage import Usage

#: plans made for one forecast; what has not started by then has no forecast
STEPS = 400


def forecast(
    waiting: Sequence[Candidate],
    places: Sequence[Place],
    *,
    now: int,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    promise: Promise | None = None,
    most_running: int | None = None,
    usage: Usage = Usage(),  # noqa: B008 - frozen
    wanted: Collection[str] = (),
    steps: int = STEPS,
) -> dict[str, int]:
    """Job → when it will probably start (epoch ms), as far as `steps` plans reach. Ends early once all `wanted` did."""
    # The line is read after the rows: who was taken back into it meanwhile holds none any more.
    waits = {candidate.task_id for candidate in waiting}
    rows = {
        place.node.node: {task_id: row for task_id, row in place.rows.items() if task_id not in waits}
        for place in places
    }
    ends = [(row.probably_ends(now), name, task_id) for name, held in rows.items() for task_id, row in held.items()]
    heapq.heapify(ends)
    left, missing, starts = list(waiting), set(wanted), dict[str, int]()
    for _ in range(steps):
        current = [Place(place.node, rows[place.node.node]) for place in places]
        owners = OwnersRunning.of(most_running, (row for held in rows.values() for row in held.values()))
        made = plan(
            left,
            current,
            worker="",
            now=now,
            rules=rules,
            promise=promise,
            owners=owners,
            usage=usage,
            reasons=False,
        )
        promise = made.promise
        for claim in made.claims:
            starts[claim.task_id] = now
            rows[claim.node][claim.task_id] = claim.row
            heapq.heappush(ends, (claim.row.probably_ends(now), claim.node, claim.task_id))
        if made.claims:
            missing.difference_update(claim.task_id for claim in made.claims)
            left = [each for each in left if each.task_id not in starts]
        if not left or (wanted and not missing) or not ends:
            break
        now = ends[0][0]
        if rules.weights:
            current = [Place(place.node, rows[place.node.node]) for place in places]
            usage = accrue(usage, current, now, rules.half_life)
        while ends and ends[0][0] <= now:
            _, name, task_id = heapq.heappop(ends)
            del rows[name][task_id]
    return starts
