"""BoolQ by folds: what can be learned is learned, and no question is answered by a model that has seen it."""

import json
import random
import tempfile
import unittest
from pathlib import Path

import torch
from bitmar.data import tokenizer
from bitmar.eval import boolq
from bitmar.model.bitmar import BitMar
from bitmar.model.export import export_model
from bitmar.train import recipe
from prepared import run
from test_text import RECIPE


class BoolQ(unittest.TestCase):
    def test_folds_part_the_questions(self):
        folds = boolq.folded(23, 5)
        self.assertEqual(sorted(i for fold in folds for i in fold), list(range(23)))
        self.assertEqual(folds, boolq.folded(23, 5))

    def test_the_interval_is_wilsons(self):
        # Newcombe 1998, table I
        for share, n, wanted in ((81 / 263, 263, (0.2553, 0.3662)), (0.0, 20, (0.0, 0.1611))):
            for found, expected in zip(boolq.wilson(share, n), wanted):
                self.assertAlmostEqual(found, expected, places=4)

    def test_it_learns_what_is_there_to_learn(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "small.toml").write_text(RECIPE)
            rows = [{"context": f"the {thing} {i} is {how}", "question": "is it hot", "choices": ["no", "yes"], "answer": int(how == "hot")}
                    for thing in ("sun", "moon", "tea", "soup", "snow", "stone", "sea", "fire") for i, how in enumerate(("hot", "cold", "hot", "cold", "hot"))]
            drawn = random.Random(5)
            unknown = [{**row, "answer": drawn.randrange(2)} for row in rows]  # nothing in the text tells
            (folder / "boolq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            (folder / "text").write_text("is it hot? no yes no yes\n" * 3)
            run(tokenizer, "--out", folder / "tokenizer.json", "--size", 280, folder / "text")
            torch.manual_seed(0)
            model = BitMar(recipe.merged(recipe.load(str(folder / "small.toml")).config, {"vocab_size": len(tokenizer.Tokenizer(folder / "tokenizer.json").tokens)}))
            export_model(model.eval(), folder / "tokenizer.json", folder / "model")
            args = ["--model", folder / "model", "--data", folder / "boolq.jsonl", "--folds", 4, "--length", 64]
            printed = run(boolq, *args, "--epochs", 30, "--rate", 3e-3).splitlines()
            self.assertEqual(len(printed), 5)
            found = json.loads(printed[-1])
            self.assertEqual((found["questions"], found["majority"]), (40, 0.6))
            self.assertGreater(found["right"], 0.9)
            self.assertLess(found["before"], 0.9)
            (folder / "boolq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unknown))
            self.assertLess(json.loads(run(boolq, *args, "--epochs", 30, "--rate", 3e-3).splitlines()[-1])["right"], 0.75)


if __name__ == "__main__":
    unittest.main()
