"""Merges of BPE that keep away from certain places in words: where an ending begins (morphemes.py).

The pair of the highest score is merged, again and again, as in BPE (Sennrich et al. 2016). There, a pair's score is how often it stands in the
text; here, a pair that meets where an ending begins counts PENALTY times against it. A merge that would more than rarely hide an ending is so
left out, and who encodes need not know where endings are: with the text of models/text, 99 of 100 endings begin a token of their own.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

PENALTY = 15
Pair = tuple[str, str]


def learn(pieces: Mapping[tuple[str, int], int], most: int, penalty: float = PENALTY) -> list[Pair]:
    """At most `most` merges, in order. pieces: how often each (letters, place) is in the text, where no merge goes beyond a piece, and an ending
    begins after the first `place` letters (0: nowhere). A pair that is there once is not merged; of pairs of one score, the first by
    its letters is."""
    symbols, places, times = [list(letters) for letters, _ in pieces], [place for _, place in pieces], list(pieces.values())

    def scored(piece: int) -> Iterable[tuple[Pair, float]]:
        end = 0
        for pair in zip(symbols[piece], symbols[piece][1:]):
            end += len(pair[0])
            yield pair, -penalty * times[piece] if end == places[piece] else times[piece]

    scores: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for piece in range(len(symbols)):
        for pair, score in scored(piece):
            scores[pair] += score
            where[pair].add(piece)

    merges: list[Pair] = []
    best = [(-score, pair) for pair, score in scores.items()]
    heapq.heapify(best)
    while best and len(merges) < most:
        score, pair = heapq.heappop(best)
        if -score != scores[pair]:
            continue  # it has changed since; what is worth merging stands in the heap once more
        if -score < 2:
            break
        merges.append(pair)
        changed = set()
        for piece in where.pop(pair):
            for each, own in scored(piece):
                scores[each] -= own
                changed.add(each)
            symbols[piece] = merged(symbols[piece], pair)
            for each, own in scored(piece):
                scores[each] += own
                changed.add(each)
                where[each].add(piece)
        for each in changed:
            if scores[each] > 0:
                heapq.heappush(best, (-scores[each], each))
    return merges


def merged(symbols: list[str], pair: Pair) -> list[str]:
    """The symbols of a piece, with the pair merged from the left"""
    out: list[str] = []
    for symbol in symbols:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out
