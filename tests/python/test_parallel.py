"""Two processes with gloo, as torchrun starts them, learn what one learns from the same batches."""

import shutil
import tempfile
import unittest
from pathlib import Path

import torch
from bitmar.train import recipe
from bitmar.train.parallel import Processes
from prepared import read_rows, together

# Nothing that each process would draw for itself: no dropout, nothing hidden.
MADE = '''
[[stage]]
do = "photos"
count = 32
held = 8

[[stage]]
do = "tokenizer"
size = 300

[[stage]]
do = "views"
teacher = "smoke"
views = 1
mixed = 1
size = 64
'''
LEARNED = '''
[[stage]]
do = "language"
steps = 1
batch = 15

[[stage]]
do = "encoder"
steps = 1
batch = 16
whole = true
mixed = 0.25

[[stage]]
do = "caption"
steps = 1
batch = 16
captions_each = 3
dropout = 0.0
blind = 0.0
text = true

[[stage]]
do = "joint"
steps = 1
batch = 16
captions_each = 2
dropout = 0.0
blind = 0.0
tutors = ["caption"]
start = { vision = "encoder", captioner = "caption" }

[[stage]]
do = "self_critical"
steps = 2
batch = 8
captions_each = 2
evaluate_every = 1
tutors = ["caption"]
start = { "vision,captioner" = "joint" }

[[stage]]
do = "recall"
steps = 2
batch = 8
start = { "vision,captioner" = "self_critical" }
'''


class Parts(unittest.TestCase):
    def test_all_items_are_in_one_part(self):
        for count in (1, 2, 3, 5):
            for items in (0, 1, 7, 30):
                parts = [range(items)[Processes(rank, count).part(items)] for rank in range(count)]
                self.assertEqual([i for part in parts for i in part], list(range(items)))


def moments_of(optimizer: dict | list[dict]) -> list[torch.Tensor]:
    parts = optimizer if isinstance(optimizer, list) else [optimizer]
    return [state["exp_avg"] if "exp_avg" in state else state["momentum_buffer"] for part in parts for state in part["state"].values()]


class Together(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        config = (recipe.FOLDER / "smoke.toml").read_text()
        (self.folder / "own.toml").write_text(config[:config.index("[[stage]]")] + MADE + LEARNED)

    def train(self, work: Path, processes=1, *more: str) -> list[str]:
        """What each process printed"""
        return together(processes, "bitmar.train", self.folder / "own.toml", "--work", work, "--device", "cpu", "--products", "float32", *more)

    def test_two_processes_have_the_losses_of_one(self):
        one, two = self.folder / "one", self.folder / "two"
        self.train(one, 1, "--only", "photos", "tokenizer", "views")
        shutil.copytree(one, two)
        self.train(one)
        first, second = self.train(two, 2)
        self.assertIn("recall: recall, stage 9 of 9", first)
        self.assertNotIn("stage", second)  # the first alone speaks and writes
        for stage in ("language", "encoder", "caption", "joint"):
            alone, together = (read_rows(work / f"{stage}.jsonl") for work in (one, two))
            self.assertEqual(len(together), len(alone), stage)
            compared = 0
            for a, b in zip(alone, together):
                self.assertEqual(a.keys(), b.keys(), stage)
                for name, value in a.items():
                    if isinstance(value, float) and not name.startswith("val_"):
                        self.assertAlmostEqual(b[name], value, delta=2e-4 * max(1, abs(value)), msg=f"{stage}: {name}")
                        compared += 1
            self.assertGreater(compared, 0, stage)
            # After one step AdamW's first moment is a tenth of the gradient, and Muon's momentum a twentieth.
            moments = [moments_of(torch.load(work / f"{stage}.pt", map_location="cpu")["optimizer"]) for work in (one, two)]
            self.assertEqual(len(moments[0]), len(moments[1]), stage)
            whole, parts = (torch.cat([moment.flatten() for moment in each]) for each in moments)
            self.assertLess(float((whole - parts).norm() / whole.norm()), 1e-3, stage)
        curve = read_rows(two / "self_critical.jsonl")  # its samples are each process's own
        self.assertEqual(curve[-1]["step"], 2)
        self.assertTrue(any("self_critical" in row for row in curve), curve)


if __name__ == "__main__":
    unittest.main()
