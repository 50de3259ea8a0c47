"""The caption metrics on examples small enough to work out by hand."""

import json
import math
import unittest
from pathlib import Path

import torch
from bitmar.eval.metrics import Cider, bleu, cider, recall_at_10, rouge_l, score, words


class Bleu(unittest.TestCase):
    def test_clipped_unigrams(self):
        # Papineni et al. 2002, example 2: "the" seven times against two references: 2 / 7.
        candidate = words("the the the the the the the")
        references = [words("The cat is on the mat."), words("There is a cat on the mat.")]
        self.assertAlmostEqual(bleu([candidate], [references])[0], 2 / 7)

    def test_bigrams_and_brevity(self):
        # 3 of 3 unigrams, 2 of 2 bigrams, 1 of 1 trigram; reference of 5: exp(1 - 5/3).
        result = bleu([words("a dog runs")], [[words("a dog runs on grass")]])
        for value in result[:3]:
            self.assertAlmostEqual(value, math.exp(1 - 5 / 3))
        self.assertEqual(result[3], 0.0)

    def test_closest_reference_length(self):
        # References of 2 and 4 words are equally close to 3: the shorter one counts, so no penalty.
        self.assertAlmostEqual(bleu([words("a b c")], [[words("a b"), words("a b c d")]])[0], 1.0)

    def test_nothing_said(self):
        self.assertEqual(bleu([[]], [[words("a dog")]]), [0.0] * 4)


class RougeL(unittest.TestCase):
    def test_lin_2004(self):
        # Lin 2004: "police kill the gunman" / "police killed the gunman": LCS 3, P = R = 3/4.
        self.assertAlmostEqual(rouge_l([words("police kill the gunman")], [[words("police killed the gunman")]]), 0.75)

    def test_precision_and_recall_differ(self):
        precision, recall, beta = 1.0, 0.5, 1.2
        expected = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
        self.assertAlmostEqual(rouge_l([words("a c")], [[words("a b c d")]]), expected)


class CiderByHand(unittest.TestCase):
    def test_worked_example(self):
        # Two photos. Candidate 1 repeats its only reference: all four cosines are 1, so 10.
        # Candidate 2 shares one word with a reference of the same length 4 ("sand"; "a" is in both
        # photos, so idf 0). Unigram vectors: candidate {cat, on, sand}, reference {boy, digs, sand},
        # each weight log 2: cosine 1/3, longer n-grams share nothing: 10 * (1/3) / 4.
        candidates = [words("a dog runs fast"), words("a cat on sand")]
        references = [[words("a dog runs fast")], [words("a boy digs sand")]]
        self.assertAlmostEqual(cider(candidates, references), (10 + 10 / 3 / 4) / 2)

    def test_length_penalty(self):
        # Candidate twice as long; unigram "dog" counted twice is clipped to the reference's one.
        candidates, references = [words("dog dog"), words("x")], [[words("dog")], [words("y")]]
        near = math.exp(-1 / 72)
        # candidate vector 2 log2, reference log2: clipped min * ref / (norms) = 1/2.
        self.assertAlmostEqual(cider(candidates, references), 10 * near * 0.5 / 4 / 2)

    def test_score_keys(self):
        result = score(["a dog"], [["a dog", "the dog"]])
        self.assertEqual(list(result), ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"])


class Pycocoevalcap(unittest.TestCase):
    """Scores that pycocoevalcap gave twenty made-up captions (pycocoevalcap_scores.py)"""

    def test_scores_are_those_of_pycocoevalcap(self):
        stored = json.loads(Path(__file__).with_name("pycocoevalcap_scores.json").read_text())
        said, references = [words(c) for c in stored["captions"]], [[words(r) for r in rows] for rows in stored["references"]]
        metric = Cider(references)
        for caption, rows, wanted in zip(said, references, stored["cider_each"]):
            self.assertAlmostEqual(metric(caption, rows), wanted, delta=1e-6, msg=" ".join(caption))
        self.assertAlmostEqual(cider(said, references), stored["cider"], delta=1e-6)
        self.assertAlmostEqual(rouge_l(said, references), stored["rouge_l"], delta=1e-6)
        for got, wanted in zip(bleu(said, references), stored["bleu"]):
            self.assertAlmostEqual(got, wanted, delta=1e-6)


class Recall(unittest.TestCase):
    def test_any_of_its_own_among_the_ten_nearest(self):
        angles = torch.arange(12) * 0.1  # the keys, further and further from the queries at 0
        keys = torch.stack([angles.cos(), angles.sin()], 1)
        queries = keys[:1].expand(3, -1)
        belongs = torch.zeros(3, 12, dtype=torch.bool)
        belongs[0, 9] = belongs[1, 10] = belongs[2, 11] = belongs[2, 0] = True  # tenth; eleventh; first of its two
        self.assertAlmostEqual(recall_at_10(queries, keys, belongs), 2 / 3)
        self.assertEqual(recall_at_10(queries, keys[:4], belongs[:, 8:]), 1.0)  # fewer than ten


if __name__ == "__main__":
    unittest.main()
