"""The plan: which waiting jobs may start now, and where. Pure; the guard in reserve.lua has the last word.

The line is ordered by rank: creation time less a head start per priority level, so that whoever waits overtakes in turn
what came `levels × ageing` seconds after it; with weights, owners take turns by what they had (shares.py).

The first of the line, the head, has a reservation: the earliest time at which the running jobs' declared ends free
enough for it. That promise stands until it starts. A later job starts now only if the promise holds all the same, by
declared ends: a wrong prediction costs efficiency, never the promise. As jobs mostly end before their limits, the head
could often start before it was promised to; that slack goes to two kinds of jobs that repay it:
short ones, as predicted from earlier runs, because they wait longest for their size, where the head is known to be long
itself; and jobs as large as a node while the node is empty, because emptying it again for each of them is what costs
utilisation most.
All others fill what is free beside the head, in the line's order. See docs/admission.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

from hivemind_worker.admission.possible import could_ever_hold
from hivemind_worker.admission.rules import Passed, Place, Plan, Rules
from hivemind_worker.admission.shares import Turns
from hivemind_worker.admission.space import Need, Space, need_of, twice
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.line import Candidate, Claim, Promise
from hivemind_worker.domain.node import NodeState, Reservation
from hivemind_worker.domain.usage import Usage


def plan(
    waiting: Sequence[Candidate],
    places: Sequence[Place],
    *,
    worker: str,
    now: int,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    promise: Promise | None = None,
    owners: OwnersRunning = OwnersRunning(),  # noqa: B008 - frozen
    usage: Usage = Usage(),  # noqa: B008 - frozen
    reasons: bool = True,
) -> Plan:
    """Choose from the waiting line, in its order, what starts now on which of the site's nodes.

    `now` in epoch ms; `promise`: the head's reservation as the plan before left it; `usage`: what owners have held,
    which counts where they have weights. Without `reasons` the plan does not say why jobs were passed over, and is made
    faster.
    """
    open_ = sorted(
        (place for place in places if place.node.state is NodeState.UP and not place.node.trouble),
        key=lambda place: place.node.node,
    )
    turns = Turns(waiting, open_, rules, usage, now) if rules.weights else None
    line = turns.order(waiting) if turns else waiting
    planning = _Planning(line, open_, worker, now, rules, promise, owners, turns)
    planning.run()
    return Plan(
        tuple(planning.claims),
        planning.promise,
        planning.passed() if reasons else {},
        planning.broken,
    )


class _Planning:
    """One plan in the making."""

    def __init__(
        self,
        line: Sequence[Candidate],
        places: Sequence[Place],
        worker: str,
        now: int,
        rules: Rules,
        promise: Promise | None,
        owners: OwnersRunning,
        turns: Turns | None,
    ) -> None:
        self._turns = turns
        self._line, self._worker, self._now, self._rules, self._owners = line, worker, now, rules, owners
        self._spaces = [Space(place.node, place.rows, now) for place in places]
        self._homes = {space.name: [space] for space in self._spaces}
        self._started: set[str] = set()
        self._covered: dict[str, bool] = {}
        #: whose room was looked at since something started
        self._looked: set[str] = set()
        self._able: dict[str, bool] = {}
        #: need → an end by which it was declared to be gone, and would have cost the head its room
        self._unspared: dict[str, int] = {}
        self.claims: list[Claim] = []
        self.promise = promise
        self.broken: Promise | None = None

    def run(self) -> None:
        """Decide."""
        head = self._find_head()
        self._let_down(head)
        if head is None:
            self.promise = None
            return
        fair, promised = self._turns is not None, head.task_id
        fitting = self._fitting(self._line)
        if fitting:
            self._reserve(head, with_slack=True)
        if fair:
            # The head may have been promised its start at another owner's turn.
            self._start_all(takewhile(lambda each: each.task_id != promised, fitting), "fill", head)
        elif fitting:
            self._start_all(self._shorter(fitting, head), "short", head)
            self._start_all(self._wide(fitting, head), "wide", head)
        while head is not None and self._covers(head):
            self._start(head, "turn", head)
            head = self._find_head()
        if head is None:
            self.promise = None
            return
        if self._started:
            fitting = self._fitting(each for each in fitting if each.task_id not in self._started)
        if not fitting and self._holds(head):
            return
        self._reserve(head, with_slack=True)
        if fair:
            self._reserve(head, with_slack=False)
            self._start_all(fitting, "fill", head)
            return
        self._start_all(self._short(fitting, head), "short", head)
        self._reserve(head, with_slack=False)
        self._start_all(fitting, "fill", head)

    def _holds(self, head: Candidate) -> bool:
        """Whether the head has a promise that declared ends still bear out. A late start may have moved one."""
        known = self.promise
        if known is None or known.task_id != head.task_id or known.at <= self._now:
            return False
        need = need_of(head.shape)
        return any(space.keep(need, known.at) for space in self._spaces_for(head) if space.name == known.node)

    def _let_down(self, head: Candidate | None) -> None:
        """Who waits with a promise and is not the head any more can start nowhere now: its promise is broken."""
        known = self.promise
        if known is not None and (head is None or head.task_id != known.task_id):
            self.broken = next((known for each in self._line if each.task_id == known.task_id), None)

    # --- who --------------------------------------------------------------------------------------------

    def _find_head(self) -> Candidate | None:
        """Who has the reservation already, else the first of the line that some open node could hold."""
        first = None
        for candidate in self._line:
            if candidate.task_id in self._started or not self._could_hold(candidate):
                continue
            if self.promise is None or candidate.task_id == self.promise.task_id:
                return candidate
            first = first or candidate
        return first

    def _could_hold(self, candidate: Candidate) -> bool:
        able = self._able.get(candidate.need)
        if able is None:
            need = need_of(candidate.shape)
            able = self._able[candidate.need] = any(space.could_hold(need) for space in self._spaces_for(candidate))
        return able and not self._owners.full(candidate.owner)

    def _spaces_for(self, candidate: Candidate) -> Sequence[Space]:
        """The open nodes that may hold it: its home alone, if it has one."""
        return self._homes.get(candidate.home, ()) if candidate.home else self._spaces

    def _fitting(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Those for whom some node has room now. Each need is looked at once."""
        known: dict[str, bool] = {}
        found = []
        for each in candidates:
            alike = each.need if each.home else each.shape
            covered = known.get(alike)
            if covered is None:
                covered = known[alike] = self._covers(each)
            if covered:
                found.append(each)
        return found

    def _covers(self, candidate: Candidate) -> bool:
        """Whether some node has room now. What did not fit once does not fit later in the same plan."""
        alike = candidate.need
        covered = self._covered.get(alike)
        if covered is None or (covered and alike not in self._looked):
            need = need_of(candidate.shape)
            covered = False
            for space in self._spaces_for(candidate):
                if space.covers(need):
                    covered = True
                    break
            self._covered[alike] = covered
            self._looked.add(alike)
        return covered

    def _short(self, fitting: Iterable[Candidate], head: Candidate) -> list[Candidate]:
        """The short ones of at least the head's priority: the highest first, and of one the shortest.

        None where the head is not known to be long: its wait would cost more than theirs.
        """
        if head.known <= self._rules.giving:
            return []
        short, level = self._rules.short, head.created - head.rank
        chosen = [
            each
            for each in fitting
            if (each.timeout_seconds <= short or (each.predicted is not None and each.predicted <= short))
            and each.created - each.rank >= level
        ]
        levels = _levels(chosen)
        return sorted(chosen, key=lambda each: (-levels[each.task_id], each.expected))

    def _shorter(self, fitting: Iterable[Candidate], head: Candidate) -> list[Candidate]:
        """The short ones; only those that are shorter than the head where it could start as well."""
        short = self._short(fitting, head)
        return [each for each in short if each.expected < head.expected] if self._covers(head) else short

    def _wide(self, fitting: Iterable[Candidate], head: Candidate) -> list[Candidate]:
        """Those that take nearly a node, in the line's order, if they have waited a good part of the head's time."""
        least, level = self._rules.wide_age * (self._now - head.created), head.created - head.rank
        wide: dict[str, bool] = {}
        chosen = []
        for each in fitting:
            if self._now - each.created < least or each.created - each.rank < level:
                continue
            alike = each.need if each.home else each.shape
            if alike not in wide:
                wide[alike] = self._takes_a_node(each)
            if wide[alike]:
                chosen.append(each)
        return chosen

    def _takes_a_node(self, candidate: Candidate) -> bool:
        need = need_of(candidate.shape)
        return any(
            space.share(need) >= self._rules.wide and space.covers(need) for space in self._spaces_for(candidate)
        )

    # --- where and when ---------------------------------------------------------------------------------

    def _reserve(self, head: Candidate, *, with_slack: bool) -> None:
        """Keep room for the head until it was promised to start, or, without slack, until it could start."""
        need = need_of(head.shape)
        known = self.promise if self.promise is not None and self.promise.task_id == head.task_id else None
        found = [(at, space) for space in self._spaces_for(head) if (at := space.earliest(need)) is not None]
        at, space = min(found, key=lambda each: (each[0], known is None or each[1].name != known.node, each[1].name))
        if known is None or known.at < at:
            self.broken = known or self.broken
            known = Promise(head.task_id, space.name, self._promised_at(need, space, at))
        self.promise = Promise(head.task_id, space.name, known.at)
        for each in self._spaces:
            each.let_go()
        soon = space.earliest(need, probably=True) if self._turns else None
        space.keep(need, known.at if with_slack else at, soon)
        self._unspared.clear()

    def _promised_at(self, need: Need, space: Space, at: int) -> int:
        """When it can start; with weights, when another of its size could too: slack for whose turn comes meanwhile."""
        if self._turns is None or at <= self._now:
            return at
        later = space.earliest(twice(need))
        return at if later is None else later

    def _start_all(self, chosen: Iterable[Candidate], why: str, head: Candidate) -> None:
        for candidate in chosen:
            if candidate.task_id in self._started or candidate.task_id == head.task_id:
                continue
            if candidate.owner != head.owner or not self._owners.with_one_more(head.owner).full(head.owner):
                self._start(candidate, why, head)

    def _start(self, candidate: Candidate, why: str, head: Candidate) -> None:
        """Start it where it leaves the largest holes whole; does nothing where it would cost the head its room."""
        if self._covered.get(candidate.need) is False or self._owners.full(candidate.owner):
            return
        need, until = need_of(candidate.shape), self._until(candidate)
        if why == "turn":
            for space in self._spaces:
                space.let_go()
        elif until >= self._unspared.get(candidate.need, until + 1):
            return
        fitting = [space for space in self._spaces_for(candidate) if space.covers(need)]
        if not fitting:
            self._covered[candidate.need] = False
            return
        humble = self._turns is not None and self._turns.ahead(candidate.owner, head)
        sparing = [space for space in fitting if space.spares(need, until, humble=humble)]
        if not sparing:
            if self._turns is None and not need.request.gpus:
                # Room only shrinks until it is kept anew. Of devices that does not hold: another may be the next.
                self._unspared[candidate.need] = min(until, self._unspared.get(candidate.need, until))
            return
        space = sparing[0] if len(sparing) == 1 else min(sparing, key=lambda each: (each.tightness(need), each.name))
        gpus = space.place(need)
        probably = self._now + int(candidate.likely * 1000)
        space.take(need, gpus, until, probably)
        self._started.add(candidate.task_id)
        if self._turns is not None:
            self._turns.start(candidate)
        self._looked.clear()
        self._owners = self._owners.with_one_more(candidate.owner)
        row = Reservation.of(
            need.request,
            attempt=candidate.attempt,
            worker=self._worker,
            gpus=gpus,
            deadline=until,
            from_start=int((candidate.timeout_seconds + self._rules.ending) * 1000) if self._rules.starting else 0,
            owner=candidate.owner,
            expected=probably,
        )
        self.claims.append(Claim(candidate.task_id, candidate.line or candidate.shape, row, space.name, why))
        if self.promise is not None and self.promise.task_id == candidate.task_id:
            self.promise = None

    def _until(self, candidate: Candidate) -> int:
        """By when it is declared to be gone again, if it starts now."""
        rules = self._rules
        return self._now + int((rules.starting + candidate.timeout_seconds + rules.ending) * 1000)

    # --- why not ----------------------------------------------------------------------------------------

    def passed(self) -> Mapping[str, Passed]:
        """For each job that does not start, why."""
        full: dict[str, Passed] = {}
        return {each.task_id: self._passed(each, full) for each in self._line if each.task_id not in self._started}

    def _passed(self, candidate: Candidate, full: dict[str, Passed]) -> Passed:
        if not self._spaces:
            return Passed("closed")
        if self._owners.full(candidate.owner):
            return Passed("owner")
        spaces = self._spaces_for(candidate)
        if not spaces:
            return Passed("home", candidate.home)
        alike = candidate.need
        if alike not in full:
            need = need_of(candidate.shape)
            if self._could_hold(candidate):
                lacking, name = _least((space.lacks(need), space.name) for space in spaces if space.could_hold(need))
                full[alike] = Passed("full" if lacking else "behind", name, lacking)
            else:
                able = [space for space in spaces if could_ever_hold(need.request, space.node)]
                lacking, name = _least((space.lacks_empty(need), space.name) for space in able or spaces)
                full[alike] = Passed("withheld" if able else "nowhere", name, lacking)
        if self.promise is not None and candidate.task_id == self.promise.task_id:
            return Passed("head", self.promise.node, full[alike].lacking)
        return full[alike]


def _levels(candidates: Sequence[Candidate]) -> dict[str, float]:
    """Their priorities, as their head starts: ms. Who has waited as long as a higher one's is worth counts as that."""
    levels, highest = dict[str, float](), 0.0
    for each in sorted(candidates, key=lambda each: each.rank, reverse=True):
        highest = levels[each.task_id] = max(highest, each.created - each.rank)
    return levels


def _least(missing: Iterable[tuple[dict[str, int], str]]) -> tuple[dict[str, int], str]:
    """What is missing on the node that comes closest, and which that is."""
    return min(missing, key=lambda each: (bool(each[0]), sum(each[0].values()), each[1]))
