"""How long a job will probably run: as its owner's last runs of the same program (Tsafrir et al., 2007). Pure.

The mean of the last two is hard to beat and follows a change at once. Runs of the same size come first; where there are
none, any size of the same program will do. A prediction is never believed beyond the declared timeout.
"""

from __future__ import annotations

from collections.abc import Sequence

#: runs that are remembered of each kind
REMEMBERED = 2


def predict(same_size: Sequence[float], any_size: Sequence[float]) -> float | None:
    """Seconds, from the run times of earlier jobs, the latest first or last; None where there was none."""
    runs = same_size or any_size
    return sum(runs) / len(runs) if runs else None
