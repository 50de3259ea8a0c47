"""Caption metrics from their definitions: BLEU (Papineni et al. 2002), ROUGE-L (Lin 2004) and CIDEr
(Vedantam et al. 2015; the CIDEr-D of the COCO evaluation server: clipped, with a length penalty); and recall among the ten
nearest.

Texts are lower-cased and split on anything that is not a letter or a digit, which removes
punctuation as the COCO tokeniser does.
"""

from __future__ import annotations

import math
import re
from collections import Counter


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def ngrams(tokens: list[str], n: int) -> Counter:
    return Counter(tuple(tokens[i:i + n]) for i in range(len(tokens) - n + 1))


def bleu(candidates: list[list[str]], references: list[list[list[str]]]) -> list[float]:
    """Corpus BLEU-1..4 with the closest reference's length in the brevity penalty."""
    matched, total, length, closest = [0] * 4, [0] * 4, 0, 0
    for candidate, refs in zip(candidates, references):
        length += len(candidate)
        closest += min((abs(len(r) - len(candidate)), len(r)) for r in refs)[1]
        for n in range(1, 5):
            most = Counter()
            for ref in refs:
                most |= ngrams(ref, n)
            grams = ngrams(candidate, n)
            matched[n - 1] += sum((grams & most).values())
            total[n - 1] += sum(grams.values())
    if not length:
        return [0.0] * 4
    penalty = min(1.0, math.exp(1 - closest / length))
    out, logs = [], 0.0
    for n in range(4):
        if not matched[n]:
            return out + [0.0] * (4 - n)
        logs += math.log(matched[n] / total[n])
        out.append(penalty * math.exp(logs / (n + 1)))
    return out


def rouge_l(candidates: list[list[str]], references: list[list[list[str]]], beta: float = 1.2) -> float:
    """Mean F-measure of the longest common subsequence, best precision and recall over references."""
    scores = []
    for candidate, refs in zip(candidates, references):
        precision = recall = 0.0
        for ref in refs:
            row = [0] * (len(ref) + 1)
            for a in candidate:
                previous = 0
                for j, b in enumerate(ref, 1):
                    previous, row[j] = row[j], previous + 1 if a == b else max(row[j], row[j - 1])
            if candidate and ref:
                precision, recall = max(precision, row[-1] / len(candidate)), max(recall, row[-1] / len(ref))
        scores.append((1 + beta**2) * precision * recall / (recall + beta**2 * precision) if precision else 0.0)
    return sum(scores) / len(scores)


class Cider:
    """CIDEr-D, times 10 per n-gram order as published; 1.0 is roughly human agreement on COCO.

    references: of every photo; their n-grams' document frequencies weigh the words."""

    def __init__(self, references: list[list[list[str]]], sigma: float = 6.0):
        self.sigma, self.documents = sigma, Counter()
        self.known: dict[tuple[str, ...], tuple] = {}  # vectors of references, which come again
        for refs in references:
            self.documents.update({g for ref in refs for n in range(1, 5) for g in ngrams(ref, n)})
        self.log_count = math.log(len(references))

    def vector(self, tokens: list[str]):
        parts, norms = [], []
        for n in range(1, 5):
            part = {g: c * (self.log_count - math.log(max(1, self.documents[g]))) for g, c in ngrams(tokens, n).items()}
            parts.append(part)
            norms.append(math.sqrt(sum(v * v for v in part.values())))
        return parts, norms, len(tokens)

    def of_reference(self, tokens: list[str]):
        key = tuple(tokens)
        if key not in self.known:
            self.known[key] = self.vector(tokens)
        return self.known[key]

    def __call__(self, candidate: list[str], refs: list[list[str]]) -> float:
        c_parts, c_norms, c_length = self.vector(candidate)
        value = 0.0
        for ref in refs:
            r_parts, r_norms, r_length = self.of_reference(ref)
            near = math.exp(-((c_length - r_length) ** 2) / (2 * self.sigma**2))
            for cp, cn, rp, rn in zip(c_parts, c_norms, r_parts, r_norms):
                if cn and rn:
                    value += near * sum(min(v, rp.get(g, 0.0)) * rp.get(g, 0.0) for g, v in cp.items()) / (cn * rn)
        return 10 * value / 4 / len(refs)


def cider(candidates: list[list[str]], references: list[list[list[str]]]) -> float:
    metric = Cider(references)
    return sum(metric(c, refs) for c, refs in zip(candidates, references)) / len(candidates)


def score(candidates: list[str], references: list[list[str]]) -> dict[str, float]:
    """BLEU-1..4, ROUGE-L and CIDEr of one caption a photo against its references."""
    split, refs = [words(c) for c in candidates], [[words(r) for r in rows] for rows in references]
    result = {f"BLEU-{n}": value for n, value in enumerate(bleu(split, refs), 1)}
    result |= {"ROUGE-L": rouge_l(split, refs), "CIDEr": cider(split, refs)}
    return {name: round(value, 4) for name, value in result.items()}


def recall_at_10(queries, keys, belongs) -> float:
    """Share of queries with one of their own keys among the ten likest: tensors [Q, C] and [K, C] of unit vectors, belongs [Q, K] bool."""
    nearest = (queries @ keys.t()).topk(min(10, len(keys)), 1).indices
    return float(belongs.gather(1, nearest).any(1).float().mean())
