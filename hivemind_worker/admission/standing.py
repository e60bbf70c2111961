"""Places in the line where owners take turns: who starts next as turns come, not who came first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from hivemind_worker.admission.rules import Place, Rules
from hivemind_worker.admission.shares import Turns
from hivemind_worker.domain.line import Candidate, Front
from hivemind_worker.domain.node import NodeState
from hivemind_worker.domain.usage import Usage


@dataclass(frozen=True, slots=True)
class Standing:
    """Whose turn comes when, as far as the line's front tells. `places`: job → place, 1 is next."""

    places: Mapping[str, int] = field(default_factory=dict)
    #: how many of those places each owner has
    owners: Mapping[str, int] = field(default_factory=dict)

    def about(self, owner: str, own: int) -> int | None:
        """Roughly the place of the `own`-th of an owner's jobs, if turns go on as they do here. None: unknown."""
        has = self.owners.get(owner, 0)
        return own * len(self.places) // has if has else None

    def by_starts(self, starts: Mapping[str, int], head: str = "") -> Standing:
        """The same jobs in the order of their probable starts; the head is first, and who has no start known is last.

        Turns are those of now: as jobs end, what owners hold changes, and with it whose turn is next.
        """
        order = sorted(self.places, key=lambda each: (each != head, starts.get(each, inf), self.places[each]))
        return Standing({task_id: place for place, task_id in enumerate(order, start=1)}, self.owners)


def standing_of(
    front: Front,
    places: Sequence[Place],
    now: int,
    rules: Rules,
    usage: Usage = Usage(),  # noqa: B008 - frozen
    head: str = "",
) -> Standing:
    """The places of the front's jobs. `head`: who has the reservation; it is first. `now` in epoch ms.

    Places end where an owner's part of the front does although more of its jobs wait: behind that, nobody knows whose
    turn it is. Where some owners were not looked at, there are none.
    """
    if front.unseen_owners:
        return Standing()
    open_ = [place for place in places if place.node.state is NodeState.UP and not place.node.trouble]
    turns = Turns(front.candidates, open_, rules, usage, now)
    first = [each for each in front.candidates if each.task_id == head]
    for each in first:
        turns.start(each)
    others = turns.order(each for each in front.candidates if each.task_id != head)
    known = [*first, *others[: _known(others, front)]]
    return Standing(
        {each.task_id: place for place, each in enumerate(known, start=1)}, Counter(each.owner for each in known)
    )


def _known(order: Sequence[Candidate], front: Front) -> int:
    """How many turns are certain: those until the first owner of whom more wait has no other here."""
    last = {each.owner: place for place, each in enumerate(order, start=1)}
    return min((last.get(owner, 0) for owner in front.longer), default=len(order))
