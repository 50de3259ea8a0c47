"""Validation photos as files for bench/language."""

import tempfile
import unittest
from pathlib import Path

from bitmar.data.prepare import open_at
from bitmar.data.views import open_photo
from bitmar.eval import as_png
from PIL import Image
from prepared import prepared, read_rows, run, source


class AsPng(unittest.TestCase):
    def test_each_validation_photo_that_is_told_of_has_a_file_and_a_row(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows = [{"id": f"a{i}", "image": f"{i}.png", "captions": [f"a dog number {i} runs on the grass"] if i % 2 else [], "labels": ["dog"]} for i in range(60)]
            told = {row["id"]: row for row in prepared(source(folder / "a", rows), folder / "data") if row["split"] == "val" and row["captions"]}
            self.assertGreater(len(told), 0)
            printed = run(as_png, "--data", folder / "data", "--out", folder / "out")
            written = read_rows(folder / "out/photos.jsonl")
            self.assertEqual(printed, f"{len(told)} photos\n")
            self.assertEqual({row["id"] for row in written}, set(told))
            for row in written:
                file = Path(row["file"])
                self.assertTrue(file.is_absolute())
                self.assertEqual((row["offset"], row["bytes"], row["captions"]), (0, file.stat().st_size, told[row["id"]]["captions"]))
                self.assertEqual(Image.open(file).tobytes(), open_photo(open_at(told[row["id"]])).tobytes())


if __name__ == "__main__":
    unittest.main()
