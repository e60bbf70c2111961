"""One round of admission for one node: look, plan, put the plan's part for this node before the guard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from hivemind_worker.admission.devices import free_by_node
from hivemind_worker.admission.policy import plan
from hivemind_worker.admission.rules import Place, Plan, Rules
from hivemind_worker.admission.shares import accrue
from hivemind_worker.domain.job import iso
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.line import Claim, Promise, Window
from hivemind_worker.domain.node import Node, Reservation
from hivemind_worker.killpoints import reach
from hivemind_worker.store.hints import HintQueue
from hivemind_worker.store.ledger import Ledger

log = structlog.get_logger()


class Admitter:
    """Owned by the admission thread.

    `queue`: where this worker's consumer is told of admitted attempts; `hinted` is called with each of them.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        node: str,
        worker: str,
        rules: Rules,
        queue: HintQueue | None = None,
        hinted: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        self._ledger, self._name, self._worker, self._rules = ledger, node, worker, rules
        self._queue, self._hinted = queue, hinted
        self._nodes: Sequence[Node] = ()
        self._cores: int | None = None

    @property
    def cores(self) -> int | None:
        """What this node lends one container at most, in thousandths, as of the last look; None: before the first.

        Any thread may ask: jobs' bodies do, who shall not wait for Redis on the way to their container.
        """
        return self._cores

    def forget_nodes(self) -> None:
        """Some node has changed: look again."""
        self._nodes = ()

    def look(self) -> None:
        """Know the nodes anew, before anybody asks for `cores`."""
        self.forget_nodes()
        self._known_nodes()

    def make_up_accounts(self) -> None:
        """At every beat, where owners have weights: note what each has held since the accounts were made up last."""
        if not self._rules.weights:
            return
        nodes = self._known_nodes()
        books = self._ledger.books(node.node for node in nodes)
        places = [Place(node, books.rows[node.node]) for node in nodes]
        self._ledger.note_usage(books.usage, accrue(books.usage, places, books.now, self._rules.half_life))

    def once(self) -> bool:
        """One plan. Whether another is due at once: part of it was stale, or there is more to see."""
        nodes = self._known_nodes()
        if not any(node.node == self._name for node in nodes):
            return False
        books = self._ledger.books(node.node for node in nodes)
        places = [Place(node, books.rows[node.node]) for node in nodes]
        promise = books.promise
        window = self._look(places, promise)
        if not window.candidates and promise is None:
            return False
        made = plan(
            window.candidates,
            places,
            worker=self._worker,
            now=books.now,
            rules=self._rules,
            promise=promise,
            owners=self._owners(books.rows.values()),
            usage=books.usage,
            reasons=False,
        )
        if made.broken:
            log.warning("a promise could not be kept", job_id=made.broken.task_id, promised=iso(made.broken.at))
        mine = [claim for claim in made.claims if claim.node == self._name]
        return self._carry_out(made, mine, promise) or (bool(mine) and not window.whole)

    def _look(self, places: Sequence[Place], promise: Promise | None) -> Window:
        free = free_by_node(places)
        also = [promise.task_id] if promise else []
        return self._ledger.window(free, *also, by_turns=bool(self._rules.weights))

    def _carry_out(self, made: Plan, mine: Sequence[Claim], promise: Promise | None) -> bool:
        """Note the promise and reserve. Whether some of the plan was stale."""
        if promise is None or all(claim.task_id != promise.task_id for claim in made.claims):
            if made.promise != promise and not self._ledger.note_promise(promise, made.promise):
                return True
            return self._reserve(mine)
        # The head starts. Its promise is let go once it has: by whoever started it, or by the next plan.
        stale = self._reserve(mine)
        if not stale and any(claim.task_id == promise.task_id for claim in mine):
            self._ledger.note_promise(promise, made.promise)
        return stale

    def _reserve(self, claims: Sequence[Claim]) -> bool:
        answers = self._ledger.reserve(self._name, self._worker, claims, self._queue)
        for claim, answer in zip(claims, answers, strict=True):
            if answer == "ok":
                self._hinted(claim.task_id, claim.row.attempt)
                reach("reserved", claim.task_id)
        stale = any(answer not in ("ok", "owner", "elsewhere") for answer in answers)
        if stale:
            self._nodes = ()
        return stale and "closed" not in answers

    def _owners(self, held: Iterable[Mapping[str, Reservation]]) -> OwnersRunning:
        most = self._ledger.max_running_per_owner
        return OwnersRunning.of(most, (row for rows in held for row in rows.values()))

    def _known_nodes(self) -> Sequence[Node]:
        if not self._nodes:
            self._nodes = tuple(self._ledger.nodes())
            self._cores = next((node.cores for node in self._nodes if node.node == self._name), self._cores)
        return self._nodes
