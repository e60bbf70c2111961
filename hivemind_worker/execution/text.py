"""Words from outside (a program, a registry, an engine) made fit for one line of evidence. Pure."""

from __future__ import annotations


def one_line(text: str, most: int = 600) -> str:
    """The last `most` characters on one line; what a terminal would obey becomes '?'."""
    line = " ".join(text.split())[-most:]
    return "".join(char if char.isprintable() else "?" for char in line)
