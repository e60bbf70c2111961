"""How much memory the system keeps for itself where nobody says: more on a larger machine, by a falling part. Pure.

The steps are those that Google Kubernetes Engine publishes for what a node keeps of its memory ("Plan GKE Standard node
sizes", memory and CPU reservations): enough for the system, the engine and this node's own processes, so that the
kernel need not choose between a job and them. docs/capacity.md has a table.
"""

from __future__ import annotations

from hivemind_worker.domain.resources import GIB, MIB

#: of a machine too small for steps
SMALL = 255 * MIB
#: (up to so many bytes of the machine, this part of them is kept)
STEPS = ((4 * GIB, 0.25), (8 * GIB, 0.20), (16 * GIB, 0.10), (128 * GIB, 0.06), (1 << 62, 0.02))


def memory_reserve(machine: int) -> int:
    """Bytes that the system keeps of a machine with this many."""
    if machine < GIB:
        return min(machine, SMALL)
    kept, below = 0.0, 0
    for upto, part in STEPS:
        kept += part * (min(machine, upto) - below)
        below = upto
        if machine <= upto:
            break
    return int(kept)
