"""Where a word ends and its ending begins, for a tokenizer that never merges across that place.

English inflection and -ly: walk|ed, cat|s, box|es, stopp|ing, tall|er, quick|ly. A word that is often in a text is cut if its stem is in the text
too (also with an e added, or without the last of two equal letters), not much more rarely than the word itself: that keeps after, water and mother
whole, which are no forms of aft, wat and moth. A rare word, such as an invented one, is cut by its letters alone. Both err at times: there is no dictionary here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

WORD = re.compile(r"[^\W\d_]+")
ENDINGS = ("s", "es", "ed", "ing", "er", "est", "ly")  # the first that fits
OFTEN = 5  # times that a word has to be in the text, not to be cut by its letters alone
RARER = 20  # times that a stem may be rarer than its form
SIBILANT = ("s", "x", "z", "ch", "sh")


def fits(stem: str, ending: str) -> bool:
    """Whether a stem can have the ending, by its letters"""
    if len(stem) < 3 or not re.search("[aeiouy]", stem):
        return False
    if ending == "s":
        return not stem.endswith(("i", "u", *SIBILANT)) and not (stem.endswith("e") and stem[:-1].endswith(SIBILANT))
    return ending != "es" or stem.endswith(SIBILANT)


def stems(stem: str, ending: str) -> set[str]:
    """The words that a stem may stand for"""
    if ending not in ("ed", "ing", "er", "est"):
        return {stem}
    return {stem, stem + "e", stem[:-1] if stem[-1] == stem[-2] else stem}


class Endings:
    """Cuts texts. Words that are often in the text that it was made of are in a table, with the length of their ending."""

    def __init__(self, table: dict[str, int]):
        self.table = dict(table)

    @classmethod
    def of(cls, lines: Iterable[str]) -> Endings:
        counts = Counter(word for line in lines for word in WORD.findall(line.lower()))
        table = {}
        for word, count in counts.items():
            if count < OFTEN:
                continue
            table[word] = 0
            # horse|s before box|es: the letters of horses would allow both
            for ending in ENDINGS:
                stem = word[:-len(ending)]
                if word.endswith(ending) and (fits(stem, ending) or ending == "s" and fits(stem[:-1], "es")):
                    if max(counts[each] for each in stems(stem, ending)) * RARER >= count:
                        table[word] = len(ending)
                        break
        return cls(table)

    @classmethod
    def read(cls, file: Path) -> Endings:
        words = [line.split("|") for line in file.read_text(encoding="utf-8").split("\n") if line]
        return cls({"".join(parts): len(parts[1]) if len(parts) > 1 else 0 for parts in words})

    def write(self, file: Path) -> None:
        """A word a line, cut by | before its ending"""
        cut = (f"{word[:-length]}|{word[-length:]}" if length else word for word, length in sorted(self.table.items()))
        file.write_text("\n".join(cut) + "\n", encoding="utf-8")

    def ending(self, word: str) -> int:
        """The length of a word's ending; 0 where it stays whole"""
        word = word.lower()
        if word not in self.table:
            return max((len(ending) for ending in ENDINGS if word.endswith(ending) and fits(word[:-len(ending)], ending)), default=0)
        return self.table[word]

    def pieces(self, text: str) -> list[str]:
        """The text, cut before each ending; together they are the text."""
        out, begin = [], 0
        for found in WORD.finditer(text):
            if length := self.ending(found[0]):
                out.append(text[begin:found.end() - length])
                begin = found.end() - length
        return [*out, text[begin:]]
