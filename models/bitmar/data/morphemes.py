"""Where the ending of a word begins, for a tokenizer that keeps endings apart (merges.py).

English inflection and -ly: walk|ed, cat|s, box|es, stopp|ing, tall|er, quick|ly. A word that is often in a text has an ending if its stem is in the text
too (also with an e added, or without the last of two equal letters), not much more rarely than the word itself: that keeps after, water and mother
whole, which are no forms of aft, wat and moth. A rare word is judged by its letters alone. Both err at times: there is no dictionary here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

WORD = re.compile(r"[^\W\d_]+")
ENDINGS = ("s", "es", "ed", "ing", "er", "est", "ly")  # of a word in the table the first that fits, of any other the longest
OFTEN = 5  # times that a word has to be in the text, not to be judged by its letters alone
RARER = 20  # times that a stem may be rarer than its form
SIBILANT = ("s", "x", "z", "ch", "sh")


def fits(stem: str, ending: str) -> bool:
    """Whether a stem can have the ending, by its letters"""
    if len(stem) < 3 or not re.search("[aeiouy]", stem):
        return False
    if ending == "s":
        return not stem.endswith(("i", "u", *SIBILANT))
    return ending != "es" or stem.endswith(SIBILANT)


def stems(stem: str, ending: str) -> set[str]:
    """The words that a stem may stand for"""
    if ending not in ("ed", "ing", "er", "est"):
        return {stem}
    return {stem, stem + "e", stem[:-1] if stem[-1] == stem[-2] else stem}


class Endings:
    """Words that are often in a text are in a table, with the length of their ending."""

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
            for ending in ENDINGS:
                stem = word[:-len(ending)]
                if word.endswith(ending) and fits(stem, ending):
                    if max(counts[each] for each in stems(stem, ending)) * RARER >= count:
                        table[word] = len(ending)
                        break
        return cls(table)

    def ending(self, word: str) -> int:
        """The length of a word's ending; 0 where it has none"""
        word = word.lower()
        if word not in self.table:
            return max((len(ending) for ending in ENDINGS if word.endswith(ending) and fits(word[:-len(ending)], ending)), default=0)
        return self.table[word]
