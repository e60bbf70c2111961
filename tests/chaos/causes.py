"""Whether a job's outcome says truly why it ended, held against what the job itself told the witness. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.story import Story

#: faults of the infrastructure, and how many of them a job is forgiven
INFRASTRUCTURE, BUDGET = ("engine", "internal", "node_lost"), 3
#: exit codes that a program of ours never chooses: it was killed or told to end
NOT_ITS_OWN = (137, 143, 255)
#: seconds by which a deadline may be met early, as clocks of hundredths see it
EARLY = 0.3


def complaints(story: Story) -> Iterator[str]:
    """What is wrong with the outcome."""
    record, kind = story.record, story.order.get("what", "")
    cause, code, attempt = record.get("cause"), record.get("exit_code"), record.get("attempt", 0)
    if not cause or not kind:
        return
    ends = story.ends(attempt)
    if cause in ("ok", "exit"):
        if not ends:
            yield f"cause {cause} with exit code {code}, but the program never came to its end"
        elif ends[-1]["code"] != code:
            yield f"exit code {code}, but the program ended with {ends[-1]['code']}"
        if (cause == "ok") != (code == 0):
            yield f"cause {cause} with exit code {code}"
        if code in NOT_ITS_OWN:
            yield f"it is blamed for an exit code of {code}, which was not its own doing: {record.get('evidence')}"
        if code == 9 and kind != "failing":
            yield "its workspace did not hold what its bundle brought"
    elif cause == "cancelled":
        if not story.of("cancel"):
            yield "cancelled, but nobody asked for it"
    elif cause == "timeout":
        yield from _timeout(story)
    elif cause == "disk":
        if kind != "greedy":
            yield f"cause disk, but it did not outgrow its disk: {record.get('evidence')}"
    elif cause == "image":
        if kind != "homeless":
            yield f"cause image, but its image is there: {record.get('evidence')}"
    elif cause in INFRASTRUCTURE:
        yield from _given_up(story)
    else:
        yield f"cause {cause}, for which there was no reason: {record.get('evidence')}"
    if cause in ("exit", "timeout", "oom"):
        yield from _retries(story, cause)


def _timeout(story: Story) -> Iterator[str]:
    life, allowed = story.last_life, story.order["timeout"]
    if life is None:
        yield "cause timeout, but it never ran"
    elif life.ended is not None and life.ended - life.started < allowed - EARLY:
        yield f"timed out after {life.ended - life.started:.1f} s of {allowed:.1f} s"


def _given_up(story: Story) -> Iterator[str]:
    """An infrastructure's failure is the last word only when its budget is used up, or a stop was asked for."""
    forgiven = [e for e in story.events if e["state"] == "waiting" and e["cause"] in INFRASTRUCTURE]
    if len(forgiven) < BUDGET and not story.of("cancel"):
        yield (
            f"given up for {story.record['cause']} after {len(forgiven)} retries on the infrastructure's account: "
            f"{story.record.get('evidence')}"
        )


def _retries(story: Story, cause: str) -> Iterator[str]:
    """Its own retries are used up before its own failure is the last word, and no more of them than it asked for."""
    own = [e for e in story.events if e["state"] == "waiting" and e["cause"] in ("exit", "timeout", "oom")]
    asked = story.order.get("retries", 0)
    if len(own) < asked and not story.of("cancel"):
        yield f"ended by {cause} after {len(own)} of {asked} retries"
    if len(own) > asked:
        yield f"{len(own)} retries of its own, but it asked for {asked}"
