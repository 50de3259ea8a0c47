"""Scoring of answers, and the way to the engine and back through a program that answers by rule."""

import json
import math
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import torch
from bitmar.data.texts import normalised, same_answer
from bitmar.data.tokenizer import Tokenizer
from bitmar.eval.answers import by_type, engine_answers, photo_files, reliability
from bitmar.model.export import import_model
from PIL import Image
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
MODELS, TINY = ROOT / "models", ROOT / "tests/golden/tiny"
ENGINE = next((p for kind in ("release", "debug") if (p := ROOT / f"build/native-{kind}/src/bitmar").exists()), None)


class Matching(unittest.TestCase):
    def test_case_articles_digits_and_final_punctuation_do_not_count(self):
        for said, wanted in [("A Dog", "dog"), ("the red cup.", "red cup"), ("2", "two"), ("24 birds!", "twenty-four birds"),
                             ("an  apple", "apple"), ("30", "thirty"), ("yes", "Yes"), ("0", "zero"), ("19", "nineteen"), ("100", "100")]:
            self.assertTrue(same_answer(said, wanted), (said, wanted))

    def test_anything_else_does(self):
        for said, wanted in [("dogs", "dog"), ("dog park", "dog"), ("", "dog"), ("dog", ""), ("the", ""), ("red", "dark red"), ("21", "12"),
                             ("no.1", "no one")]:
            self.assertFalse(same_answer(said, wanted), (said, wanted))
        self.assertEqual(normalised("a"), "a")  # a letter, where it is all there is
        self.assertEqual(normalised("10:30"), "10:30")
        self.assertEqual(normalised("a 1000 b"), "1000 b")


def answers(*said, confidence=0.5):
    return [{"answer": text, "declined": not text, "confidence": confidence} for text in said]


class Tables(unittest.TestCase):
    rows = [{"type": "color", "answer": a} for a in ("red", "Red", "blue", "white")] + [{"type": "who", "answer": ""}] * 2

    def test_share_right_and_majority_answer_of_each_type(self):
        table = by_type(self.rows, answers("red", "the red", "green", "white.", "", "bob"))
        self.assertEqual(table["color"], {"questions": 4, "right": 0.75, "declined": 0, "floor": 0.5, "majority": "red"})
        self.assertEqual(table["who"], {"questions": 2, "right": 0.5, "declined": 0.5, "floor": 1, "majority": ""})
        self.assertEqual(table["all"]["questions"], 6)
        self.assertAlmostEqual(table["all"]["right"], 4 / 6)
        self.assertAlmostEqual(table["all"]["floor"], 4 / 6)  # of each type its own
        self.assertAlmostEqual(table["all"]["declined"], 1 / 6)

    def test_calibration_error_is_of_bins(self):
        self.assertAlmostEqual(reliability([0.25, 0.25, 0.25, 0.25], [True, False, False, False])[0], 0)
        error, bins = reliability([1.0, 0.95, 0.05, 0.05], [True, False, False, True])
        self.assertEqual([n for n, _, _ in bins], [2, 2])
        self.assertAlmostEqual(bins[0][1], 0.05)
        self.assertAlmostEqual(bins[1][2], 0.5)
        self.assertAlmostEqual(error, (abs(0.05 - 0.5) + abs(0.975 - 0.5)) / 2)


# Says the last word of the question but its mark, surer of longer ones, and nothing of questions about "who".
PROGRAM = """#!{python}
import json, sys
arguments = dict(zip(sys.argv[2::2], sys.argv[3::2]))
assert sys.argv[1] == "ask" and "--jsonl" in sys.argv and sys.argv[sys.argv.index("--beams") + 1] == "4"
for line in open(sys.argv[sys.argv.index("--list") + 1]):
    photo, question = line.rstrip("\\n").split("\\t")
    assert open(photo, "rb").read(4) == b"\\x89PNG"
    said = "" if question.startswith("who") else question.rstrip("?").split()[-1]
    print(json.dumps({{"answer": said, "declined": not said, "confidence": len(said) / 10, "photo": photo}}))
"""


class Program(unittest.TestCase):
    def test_from_questions_to_tables(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            Image.new("RGB", (8, 8), "red").save(folder / "b.webp")
            Image.new("RGB", (8, 8), "blue").save(folder / "a.png")
            engine = folder / "engine"
            engine.write_text(PROGRAM.format(python=sys.executable))
            engine.chmod(engine.stat().st_mode | stat.S_IXUSR)
            rows = [("b.webp", "is it red or\tgreen?", "green", "color"), ("a.png", "who is it?", "", "person"),
                    ("b.webp", "what is red", "cup", "object"), ("a.png", "is it a sky?", "sky", "object")]
            (folder / "questions.jsonl").write_text("".join(
                json.dumps(dict(zip(("image", "question", "answer", "type"), row))) + "\n" for row in rows))
            done = subprocess.run(
                [sys.executable, "-m", "bitmar.answers", "--model", name, "--engine", str(engine), "--beams", "4",
                 "--questions", str(folder / "questions.jsonl"), "--out", str(folder / "out.jsonl")],
                env={"PYTHONPATH": str(MODELS)}, capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            for line in ("| color | 1 | 100.0% | 100.0% (green) | 0.0% |", "| object | 2 | 50.0% | 50.0% (sky) | 0.0% |",
                         "| person | 1 | 100.0% | 100.0% (none) | 100.0% |", "| all | 4 | 75.0% | 75.0% | 25.0% |"):
                self.assertIn(line, done.stdout)
            self.assertIn("expected calibration error of the confidence, 10 bins: 0.", done.stdout)
            out = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
            self.assertEqual([(o["image"], o["said"], o["right"]) for o in out],
                             [("a.png", "", True), ("a.png", "sky", True), ("b.webp", "green", True), ("b.webp", "red", False)])

    def test_of_prepared_validation_photos(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            Image.new("RGB", (8, 8), "red").save(folder / "photos.webp")
            photo = (folder / "photos.webp").read_bytes()
            (folder / "photos.tar").write_bytes(b"before" + photo)
            place = {"file": str(folder / "photos.tar"), "offset": 6, "bytes": len(photo)}
            rows = [{"id": "mine/a.webp", "split": "val", **place, "questions": [["is it red?", "red", "color"], ["is it a cup?", "a mug", "object"]]},
                    {"id": "mine/b.webp", "split": "train", **place, "questions": [["is it learned?", "yes", "color"]]}]
            (folder / "photos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            engine = folder / "engine"
            engine.write_text(PROGRAM.format(python=sys.executable))
            engine.chmod(engine.stat().st_mode | stat.S_IXUSR)
            command = [sys.executable, "-m", "bitmar.answers", "--model", name, "--engine", str(engine), "--beams", "4", "--data", name]
            for types, lines in (([], ["| color | 1 | 100.0% | 100.0% (red) | 0.0% |", "| all | 2 | 50.0% | 100.0% | 0.0% |"]),
                                 (["--types", "object"], ["| all | 1 | 0.0% | 100.0% | 0.0% |"])):
                done = subprocess.run([*command, *types], env={"PYTHONPATH": str(MODELS)}, capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
                for line in lines:
                    self.assertIn(line, done.stdout)
            none = subprocess.run([*command, "--types", "nothing"], env={"PYTHONPATH": str(MODELS)}, capture_output=True, text=True, check=False)
            self.assertIn("no such questions", none.stderr)

    def test_photos_the_engine_reads_stay_as_they_are(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "made").mkdir()
            Image.new("RGB", (8, 8)).save(folder / "b.webp")
            files = photo_files(["x/a.JPG", "b.webp", "b.webp"], folder, folder / "made")
            self.assertEqual(files["x/a.JPG"], folder / "x/a.JPG")
            self.assertEqual([f.suffix for f in (folder / "made").iterdir()], [".png"])


@unittest.skipUnless(ENGINE, "the native command line is not built (npm test -- native)")
class Engine(unittest.TestCase):
    def test_answers_are_those_of_the_reference(self):
        model, tokenizer = import_model(TINY), Tokenizer(TINY / "tokenizer.json")
        pixels = load_file(TINY / "golden.safetensors")["pixels"]
        vision = model.compressor(model.vision(torch.tensor(pixels).permute(2, 0, 1)[None]))
        questions = ["is the dog on sand?", "a dog", "is  it a\tman ?", "is the dog on sand?"]
        with tempfile.TemporaryDirectory() as name:
            photo = Path(name) / "photo.png"
            Image.fromarray(pixels).save(photo)
            said = engine_answers([str(ENGINE)], TINY, [(photo, question) for question in questions], 1)
        for question, answer in zip(questions, said):
            ids = tokenizer.encode(" ".join(question.split()))
            (tokens,), (total,) = model.ask(torch.tensor([[model.config["ask"]["token_id"], *ids]]), vision)
            self.assertEqual(answer["tokens"], tokens, question)
            self.assertAlmostEqual(answer["log_probability"], total, places=3)
            self.assertAlmostEqual(answer["confidence"] / math.exp(total), 1, places=3)
            self.assertEqual(answer["declined"], not tokens)


if __name__ == "__main__":
    unittest.main()
