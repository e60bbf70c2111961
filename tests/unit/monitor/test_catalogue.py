"""The pages' words: every word that a page uses exists, and every language has all of them."""

from __future__ import annotations

import re
import string
from importlib import resources
from typing import Any, get_args

import pytest

from hivemind_worker.admission.summary import REASONS
from hivemind_worker.domain.job import State
from hivemind_worker.domain.node import NodeState
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.monitor.catalogue import FALLBACK, LANGUAGES, choose_language, load_catalogues
from hivemind_worker.settings import Settings

FOLDER = resources.files("hivemind_worker.monitor")
#: words for a setting's values
SETTINGS = {"partition": "on_partition", "durability": "durability"}
ENGLISH = load_catalogues()[FALLBACK].words


def sources() -> str:
    files = [*(FOLDER / "templates").iterdir(), *(FOLDER / "static").iterdir()]
    return "\n".join(file.read_text("utf-8") for file in files if file.name.endswith((".html", ".js")))


def annotation(name: str) -> Any:
    return Settings.model_fields[name].annotation


def used() -> set[str]:
    """Keys written out in templates and scripts, and those that are put together from values."""
    written = {key for key in re.findall(r"""\bt\(["'`]([a-z_.]+)["'`]""", sources()) if not key.endswith(".")}
    written |= {key for key in re.findall(r'"([a-z_.]+)"', sources()) if key in ENGLISH}
    made = {f"state.{state}" for state in State} | {f"cause.{cause}" for cause in Cause}
    made |= {f"node.{state}" for state in NodeState} | {f"health.{status}" for status in ("ok", "fail", "skipped")}
    made |= {f"page.{page}" for page in ("dashboard", "tasks", "task", "node", "monitor")}
    made |= {f"wait.{reason}" for reason in REASONS if reason != "unseen"} | {"fault.user", "fault.infrastructure"}
    made |= {f"{kind}.{value}" for kind, name in SETTINGS.items() for value in get_args(annotation(name))}
    return written | made


def test_every_word_in_use_is_in_the_catalogue() -> None:
    assert used() - set(ENGLISH) == set()


def test_no_word_lies_unused() -> None:
    put_together = ("page.", "state.", "cause.", "node.", "health.", "count.", "col.", "task.", "resource.", "live.")
    put_together += ("part.", "amount.", "capped.", "fact.", "note.kind.", "paid.")
    assert {key for key in set(ENGLISH) - used() if not key.startswith(put_together)} == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_word_with_the_same_values_in_it(language: str) -> None:
    import json

    words = json.loads((FOLDER / "templates" / f"words.{language}.json").read_text("utf-8"))
    assert set(words) == set(ENGLISH)
    for key, text in words.items():
        names = {name for _, name, _, _ in string.Formatter().parse(text) if name}
        assert names == {name for _, name, _, _ in string.Formatter().parse(ENGLISH[key]) if name}, key
        assert text.strip(), key


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"), ("de", "de"), ("de-AT,de;q=0.9,en;q=0.8", "de"), ("fr,de;q=0.4,en;q=0.5", "en"), ("fr", "en"),
        ("en;q=0,de;q=0.1", "de"), ("de;q=x", "en"), ("*", "en"), ("," * 5000, "en"), ("de;q=nan", "en"),
    ],
)  # fmt: skip
def test_the_language_is_the_readers_best_of_ours(header: str, language: str) -> None:
    assert choose_language(header) == language


def test_nothing_in_the_pages_comes_from_elsewhere_or_runs_inline() -> None:
    text = sources() + (FOLDER / "static" / "style.css").read_text("utf-8")
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"']+", text) == []
    assert re.findall(r"\son\w+=|style=|javascript:|innerHTML|insertAdjacentHTML|document\.write|eval\(", text) == []
