"""The pages' words: one JSON catalogue per language beside the templates; English is the complete one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources

FALLBACK = "en"
LANGUAGES = ("en", "de")


class Catalogue:
    """The words of one language, with English where a word is missing."""

    def __init__(self, language: str, words: Mapping[str, str]) -> None:
        self.language = language
        self.words = dict(words)

    def t(self, key: str, **values: object) -> str:
        """The word for a key, its {names} filled in. Raises KeyError: a key without a word is a mistake of ours."""
        return self.words[key].format(**values)


def load_catalogues() -> dict[str, Catalogue]:
    """All languages, by code."""
    words = {language: _read(language) for language in LANGUAGES}
    return {language: Catalogue(language, {**words[FALLBACK], **words[language]}) for language in LANGUAGES}


def _read(language: str) -> dict[str, str]:
    file = resources.files("hivemind_worker.monitor") / "templates" / f"words.{language}.json"
    words: dict[str, str] = json.loads(file.read_text("utf-8"))
    return words


def choose_language(accept_language: str) -> str:
    """The best of ours for an Accept-Language header (RFC 9110, 12.5.4). Pure."""
    best, best_weight = FALLBACK, 0.0
    for part in accept_language[:1000].split(","):
        tag, _, parameter = part.strip().partition(";")
        language = tag.strip().partition("-")[0].lower()
        weight = _weight(parameter)
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return min(float(value), 1.0)
    except ValueError:
        return 0.0
