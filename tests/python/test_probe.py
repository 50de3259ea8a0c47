"""The probe of a teacher: naming by nearest neighbours, and the whole of it on made-up photos by a teacher that is no network."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from bitmar.eval import probe
from PIL import Image
from prepared import encoded, run, write_rows
from test_views import Teacher


class Probe(unittest.TestCase):
    def test_naming_is_the_share_of_neighbours_with_the_same_label(self):
        centres = torch.tensor([[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]])
        torch.manual_seed(0)
        means = centres.repeat_interleave(4, 0) + torch.rand(12, 3) + 100  # that all share much is no likeness
        labels = [name for name in ("cat", "cup", "car") for _ in range(4)]
        self.assertEqual(probe.naming(means, labels), 1.0)
        self.assertAlmostEqual(probe.naming(means, ["cat", "dog", "cow", "pig", *labels[4:]]), 8 / 12)
        self.assertEqual(probe.naming(means, [str(i) for i in range(12)]), 0.0)

    def test_which_photos_are_named(self):
        rows = [{"id": f"a/{i}", "set": "a", "labels": [label]} for i, label in enumerate(("cat", "cup", "cat", "happiness", "happiness", "lamp"))]
        rows += [{"id": "b/0", "set": "b", "labels": ["cup"]}, {"id": "b/1", "set": "b", "labels": []}]
        self.assertEqual({row["id"] for row in probe.labelled(rows, ["a"], 99)}, {"a/0", "a/2"})
        self.assertEqual({row["id"] for row in probe.labelled(rows, [], 99)}, {"a/0", "a/2", "a/1", "b/0"})

    def test_all_of_it(self):
        colours = {"cat": (200, 30, 30), "cup": (30, 200, 30), "car": (30, 30, 200)}
        with tempfile.TemporaryDirectory() as work:
            rows, rng = [], np.random.default_rng(0)
            for i in range(18):
                label = list(colours)[i % 3]
                data = encoded(Image.fromarray((np.array(colours[label]) + rng.integers(-20, 20, (32, 32, 3))).astype(np.uint8)))
                (Path(work) / f"{i}.png").write_bytes(data)
                rows.append({"file": f"{work}/{i}.png", "bytes": len(data), "labels": [label], "captions": [[f"a {label} {end}", "human"] for end in "abcde"]})
            write_rows(Path(work), rows[:12], rows[12:])
            with mock.patch.dict(probe.TEACHERS, fake=Teacher), mock.patch.object(probe, "EPOCHS", 6):
                printed = run(probe, "--data", work, "--teacher", "fake", "--sets", "--labelled")
                self.assertIn("1-NN of 18 photos of 3 labels: by each grid 1.000 1.000, by all 1.000", printed)
                self.assertRegex(printed, r"epoch 6: text -> image [01]\.\d{3}, image -> text [01]\.\d{3}")
                with self.assertRaisesRegex(SystemExit, "no photos of flickr8k with 5 captions"):
                    run(probe, "--data", work, "--teacher", "fake")


if __name__ == "__main__":
    unittest.main()
