"""What libraries do for us gives what our own code says it does."""

import json
import tempfile
import unittest
from collections import Counter
from pathlib import Path

import tokenizers
import torch
import torch.nn.functional as F
from bitmar.data import tokenizer
from bitmar.data.dataset import clean_caption
from bitmar.eval.calibrate import fit
from bitmar.teachers.networks import WithoutPadding


class Logistic(unittest.TestCase):
    def test_the_fit_is_where_the_likelihood_is_greatest(self):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(4000, 2, generator=generator).double()
        chance = torch.sigmoid(x @ torch.tensor([2.0, -1.0]).double() + 0.5)
        y = (torch.rand(4000, generator=generator).double() < chance).double()
        theta = fit(x, y)
        for found, wanted in zip(theta.tolist(), (2.0, -1.0, 0.5)):
            self.assertAlmostEqual(found, wanted, delta=0.15)
        features = torch.cat([x, torch.ones(4000, 1).double()], 1)
        slope = features.t() @ (y - torch.sigmoid(features @ theta)) - 1e-3 * theta  # of the logarithm of the likelihood, and of the ridge
        self.assertLess(float(slope.abs().max()), 1e-3)

    def test_it_is_finite_where_one_line_parts_right_from_wrong(self):
        x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]).double()
        theta = fit(x, (x[:, 0] > 0).double())
        self.assertTrue(torch.isfinite(theta).all() and theta[0] > 1, theta)


class Vocabulary(unittest.TestCase):
    LINES = ["a dog runs on the grass", "two dogs play with a ball", "A man's red T-shirt", "the dog and the man", "caf\u00e9 \u65e5"] * 3

    def test_special_tokens_bytes_and_then_the_most_frequent_pairs(self):
        vocabulary, merges = tokenizer.train(map(clean_caption, self.LINES), 290)
        self.assertEqual(vocabulary[:3], tokenizer.SPECIAL)
        self.assertEqual(vocabulary[3:259], sorted(tokenizer.BYTES.values()))
        self.assertEqual(vocabulary[259:], ["".join(pair) for pair in merges])
        self.assertEqual(len(vocabulary), 290)
        pairs = Counter(pair for line in self.LINES for piece in tokenizer.split(line.lower()) for pair in zip(piece, piece[1:]))
        self.assertEqual(pairs[merges[0]], max(pairs.values()))

    def test_gpt2s_own_files_are_converted(self):
        vocabulary, merges = tokenizer.train(["A Dog runs"] * 3, 280)
        tokens = [*vocabulary[len(tokenizer.SPECIAL):], "Do", "<|endoftext|>"]  # its one special token is the last
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder)
            (files / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
            (files / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges), "D o", ""]), encoding="utf-8")
            tokenizer.convert_gpt2(files, files / "tokenizer.json")
            own = tokenizer.Tokenizer(files / "tokenizer.json")
            library = tokenizers.Tokenizer.from_file(str(files / "tokenizer.json"))
        for text in ("Dog", "A Dog runs", "<|endoftext|> Dog", "caf\u00e9 \U0001f600\n"):
            self.assertEqual(own.decode(own.encode(text)), text)  # in its own case
        self.assertEqual(own.encode("Dog runs"), library.encode("Dog runs").ids)
        self.assertEqual(own.special, {"<|endoftext|>": len(tokens) - 1})

    def test_a_pair_that_is_there_once_is_none(self):
        self.assertEqual(tokenizer.train(["abc"], 300)[1], [])

    def test_ours_reads_what_the_library_learned_as_the_library_does(self):
        import tokenizers
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tokenizer.json"
            tokenizer.write(file, *tokenizer.train(self.LINES, 290), tokenizer.ADDED)
            ours, theirs = tokenizer.Tokenizer(file), tokenizers.Tokenizer.from_file(str(file))
            for text in (*self.LINES, "Nothing  of this\twas there: 12 caf\u00e9s!", ""):
                self.assertEqual(ours.encode(text), theirs.encode(text).ids, text)
            self.assertIsInstance(json.loads(file.read_text())["model"]["merges"][0], str)  # the form that all versions read


class Averages(unittest.TestCase):
    def test_zeros_around_the_map_do_not_count(self):
        x = torch.randn(2, 5, 6, 7)
        wanted = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        self.assertTrue(torch.allclose(WithoutPadding()(F.avg_pool2d(x, 3, 1, 1)), wanted, atol=1e-6))


if __name__ == "__main__":
    unittest.main()
