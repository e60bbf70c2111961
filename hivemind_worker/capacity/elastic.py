"""How far CPU is lent beyond what there is: raised in steps while the machine is calm, lowered when it is pressed.

A request that sits idle is room for others. `factor` says how much of it is lent: 1 is none. It rises slowly, so that
what was admitted last is seen at work first, and falls fast. What has started is never ended for it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

#: calm: less than this part of all cores in use, and less of the time some task waits for one (per cent)
CALM_USE, CALM_PRESSURE = 70.0, 5.0
#: pressed: more than this of the time some task waits for a core
HIGH_PRESSURE = 20.0
#: looks in a row that must be calm before a step up; the steps
CALM_LOOKS = 5
STEP_UP, STEP_DOWN = 0.1, 0.2


@dataclass(frozen=True, slots=True)
class Elastic:
    """Where the factor is, and for how many looks in a row the machine has been calm."""

    factor: float = 1.0
    calm: int = 0

    def after(self, *, use: float, pressure: float, ceiling: float) -> Elastic:
        """The next state. `use` and `pressure` in per cent, `ceiling` the highest factor allowed."""
        if pressure > HIGH_PRESSURE:
            return Elastic(_within(self.factor - STEP_DOWN, ceiling))
        if use >= CALM_USE or pressure >= CALM_PRESSURE:
            return Elastic(_within(self.factor, ceiling))
        if self.calm + 1 < CALM_LOOKS:
            return Elastic(_within(self.factor, ceiling), self.calm + 1)
        return Elastic(_within(self.factor + STEP_UP, ceiling))


def _within(factor: float, ceiling: float) -> float:
    return max(1.0, min(round(factor, 3), ceiling))


def pressure_of(psi: str, load: float, cores: float) -> float:
    """Per cent of the last ten seconds in which some task waited for a core.

    `psi` is /proc/pressure/cpu; a kernel without it has the load, of which what is beyond the cores waits.
    """
    for word in psi.partition("\n")[0].split():
        if word.startswith("avg10="):
            return float(word.removeprefix("avg10="))
    return max(0.0, min(100.0, (load / max(cores, 0.001) - 1) * 100))
