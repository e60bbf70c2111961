"""A text job: statistics over the story that lies beside it in the bundle."""

import csv
import json
import re
import time
from collections import Counter
from pathlib import Path

WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


def by_frequency(item: tuple[str, int]) -> tuple[int, str]:
    """Most frequent first, then by the alphabet."""
    return -item[1], item[0]


def main() -> None:
    """Read text.txt paragraph by paragraph; leave statistics.json and words.csv."""
    text = Path("text.txt").read_text(encoding="utf-8")
    words: Counter[str] = Counter()
    sentences, longest = 0, ""
    paragraphs = [part for part in text.split("\n\n") if part.strip()]
    for number, paragraph in enumerate(paragraphs, start=1):
        found = WORD.findall(paragraph.lower())
        words.update(found)
        sentences += len(re.findall(r"[.!?](?:\s|$)", paragraph))
        longest = max([longest, *found], key=len)
        print(
            f"paragraph {number:2d} of {len(paragraphs)}: {len(found):3d} words, {len(words):4d} different so far",
            flush=True,
        )
        time.sleep(0.3)  # so that there is something to watch
    statistics = {
        "characters": len(text),
        "paragraphs": len(paragraphs),
        "sentences": sentences,
        "words": words.total(),
        "different_words": len(words),
        "longest_word": longest,
        "words_per_sentence": round(words.total() / sentences, 2),
    }
    Path("statistics.json").write_text(json.dumps(statistics, indent=2) + "\n", encoding="utf-8")
    with Path("words.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["word", "count"])
        ranked = sorted(words.items(), key=by_frequency)
        table.writerows(ranked)
    print("most frequent:", ", ".join(f"{word} ({count})" for word, count in words.most_common(5)))


if __name__ == "__main__":
    main()
