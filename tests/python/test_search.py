"""Beam search in PyTorch, and what is made of it."""

import json
import unittest
from pathlib import Path

import numpy as np
import torch
from bitmar.eval.price import ratio_interval
from bitmar.eval.search import Speaker, beam_search
from bitmar.model import BitMar

TINY = Path(__file__).parents[1] / "golden/tiny/config.json"
BEAMS, STEPS = 4, 8


class Search(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(5)
        self.model = BitMar(json.loads(TINY.read_text())).eval()
        self.conditioning = torch.randn(1, 6, self.model.config["hidden_size"])
        self.mask = torch.zeros(1, 1, 1, 6)
        self.mask[..., 2] = float("-inf")

    def recomputed(self, tokens, _):
        """Logits of all tokens anew, one hypothesis after another."""
        bos = self.model.config["bos_token_id"]
        return torch.stack([self.model.logits(torch.tensor([[bos, *row]]), self.conditioning, self.mask)[0, -1] for row in tokens])

    def search(self, next_logits, **settings):
        with torch.no_grad():
            return beam_search(next_logits, self.model.config["eos_token_id"], BEAMS, STEPS, **settings)

    def test_kept_keys_and_values_change_nothing(self):
        branched = []

        def watched(tokens, parents):
            branched.append(parents)
            return speaker(tokens, parents)

        speaker = Speaker(self.model, self.conditioning, self.mask)
        kept, score, gap = self.search(watched)
        again, score_again, _ = self.search(self.recomputed)
        self.assertGreater(gap, 1e-5)
        self.assertEqual(kept, again)
        self.assertAlmostEqual(score, score_again, places=4)
        self.assertTrue(any(parents != list(range(len(parents))) for parents in branched[2:]))  # beams did change their places

    def test_score_is_that_of_the_tokens(self):
        tokens, score, _ = self.search(self.recomputed, length_penalty=0.5)
        ids = torch.tensor([[self.model.config["bos_token_id"], *tokens]])
        with torch.no_grad():
            each = self.model.logits(ids, self.conditioning, self.mask)[0].double().log_softmax(-1)
        counted = tokens if len(tokens) == STEPS else [*tokens, self.model.config["eos_token_id"]]
        self.assertAlmostEqual(score, float(sum(row[t] for row, t in zip(each, counted))) / len(counted) ** 0.5, places=4)

    def test_it_says_what_is_expected_when_that_weighs_enough(self):
        model, expected = self.model, [9, 40, 77]
        wanted = torch.zeros(model.config["vocab_size"])
        wanted[expected] = 3**-0.5
        model.bag_of_words.rarity.fill_(1)
        tokens, score, _ = self.search(self.recomputed, guidance=1e3, rerank_weight=1e3, agreements=lambda said: model.bag_of_words.agreements(wanted, said))
        self.assertEqual(set(tokens), set(expected))
        self.assertGreater(score, 1e3 - 200)
        self.assertNotEqual(set(self.search(self.recomputed)[0]), set(expected))


class Price(unittest.TestCase):
    def test_an_interval_is_of_pairs(self):
        below = np.random.default_rng(0).exponential(size=300)
        self.assertTrue(np.allclose(ratio_interval(0.9 * below, below), 0.9))  # sure, however much photos differ
        low, high = ratio_interval(np.random.default_rng(1).permutation(below), below)
        self.assertTrue(0.7 < low < 0.95 and 1.05 < high < 1.4, (low, high))


if __name__ == "__main__":
    unittest.main()
