"""Where a word ends and its ending begins, for a tokenizer that never merges across that place.

English inflection alone: walk|ed, cat|s, stopp|ing, tall|er, quick|ly. A word is split where its stem is a word of the text too (also with an e
added, or without the last of two equal letters), and where the text does not have the word at all: an invented word is split by the same rule as
those that were learned. A word of the text whose stem is none (this, never, sister) stays whole. Where the rest happens to be a word the split is
wrong (moth|er): there is no dictionary here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ENDING = re.compile(r"[^\W\d_]{2,}(ing|est|ed|es|er|ly|s)$")
WORD = re.compile(r"[^\W\d_]+")


class Endings:
    """Splits texts by the words of one text."""

    def __init__(self, words: Iterable[str]):
        self.words = frozenset(words)
        self.known: dict[str, int] = {}  # words that were met, and the length of their ending

    @classmethod
    def of(cls, lines: Iterable[str], at_least=5) -> Endings:
        """By the words that are in the lines so many times"""
        counts = Counter(word for line in lines for word in WORD.findall(line.lower()))
        return cls(word for word, count in counts.items() if count >= at_least)

    @classmethod
    def read(cls, file: Path) -> Endings:
        return cls(file.read_text(encoding="utf-8").split())

    def write(self, file: Path) -> None:
        file.write_text("\n".join(sorted(self.words)) + "\n", encoding="utf-8")

    def ending(self, word: str) -> int:
        """The length of a word's ending; 0 where it stays whole"""
        word = word.lower()
        if word not in self.known:
            self.known[word] = self._ending(word)
        return self.known[word]

    def _ending(self, word: str) -> int:
        found = ENDING.match(word)
        if not found:
            return 0
        stem = word[:found.start(1)]
        stems = {stem, stem + "e", stem[:-1] if stem[-1] == stem[-2] else stem}
        return len(found[1]) if stems & self.words or word not in self.words else 0

    def pieces(self, text: str) -> list[str]:
        """The text, cut before each ending; together they are the text."""
        out, begin = [], 0
        for found in WORD.finditer(text):
            if length := self.ending(found[0]):
                out.append(text[begin:found.end() - length])
                begin = found.end() - length
        return [*out, text[begin:]]
