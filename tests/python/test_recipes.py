"""Recipes: those that are shipped, what is refused, going on, and the recipe `smoke` from drawn photos to captions."""

import json
import tempfile
import unittest
from pathlib import Path

import torch
from bitmar.data.dataset import load_rows
from bitmar.data.prepare import open_at
from bitmar.data.shapes import SHAPES
from bitmar.data.tokenizer import Tokenizer
from bitmar.data.views import open_photo, whole
from bitmar.model.export import import_model
from bitmar.model.quant import BitLinear, Precision, computing, fast_products, set_precision
from bitmar.train import __main__ as train
from bitmar.train import recipe, stages
from prepared import prepared, read_rows, run, source, tiny_model

NAMING = ("start", "tutors", "through", "first_convolutions", "found", "checkpoint", "begin", "end", "like", "extend", "model", "views", "grids_of")  # other stages


def named_by(settings) -> set[str]:
    out = set()
    for key in NAMING:
        value = getattr(settings, key, None)
        out |= set(value.values()) if isinstance(value, dict) else {value} if isinstance(value, str) else set(value) if isinstance(value, tuple) else set()
    return out - {""}


class Shipped(unittest.TestCase):
    def test_each_is_whole_and_names_only_what_is_made_before(self):
        files = sorted(recipe.FOLDER.glob("*.toml"))
        self.assertEqual([file.stem for file in files], ["all-of-coco", "from-scratch", "go-on", "smoke", "text-small", "text"])
        for file in files:
            chosen = recipe.load(str(file))
            self.assertTrue(chosen.about.endswith("."), file)
            made = {"shipped"}
            for name, (kind, settings) in chosen.stages.items():
                self.assertLessEqual(named_by(settings), made, f"{file.name}: {name}")
                self.assertIn(kind, {**stages.LEARN, **stages.MAKE})
                made.add(name)
            self.assertIn("tokenizer", made)
            self.assertIn("export", [kind for kind, _ in chosen.stages.values()])


    def test_the_one_in_the_documents_is_a_recipe(self):
        text = (recipe.FOLDER.parents[1] / "docs/training.md").read_text()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "my.toml").write_text(text.split("```toml\n")[1].split("```")[0])
            chosen = recipe.load(f"{folder}/my.toml")
        self.assertEqual(list(chosen.stages), ["tokenizer", "views", "seen", "caption"])
        for kind in stages.LEARN | stages.MAKE:
            self.assertIn(f"| `{kind}` |", text)


class Refused(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def fails(self, message, text, *changes):
        (self.folder / "own.toml").write_text(text)
        with self.assertRaisesRegex(SystemExit, message):
            recipe.load(str(self.folder / "own.toml"), list(changes))

    def test_what_is_wrong_is_named(self):
        stage = '[[stage]]\ndo = "caption"\n'
        self.fails("no kind of stage is called 'captoin'", '[[stage]]\ndo = "captoin"\n')
        self.fails("no kind of stage is called 'None'", '[[stage]]\nname = "x"\n')
        self.fails("'caption' has no setting 'speed'; it has name, steps", stage + "speed = 1\n")
        for setting in ('steps = "many"', "steps = true", "steps = 1.5", "rate = true", 'tutors = "caption"', 'start = ["caption"]', "start = { vision = 1 }", "ternary = 1"):
            self.fails(f"{setting.split()[0]} = .* is no", stage + setting + "\n")
        self.fails("two stages have one name", stage + stage)
        self.fails("own.toml: ", "stage = [")
        self.fails("has no stage 'joint'; it has caption", stage, "joint.steps=1")
        self.fails("STAGE.SETTING=VALUE is wanted", stage, "steps")
        with self.assertRaisesRegex(SystemExit, "no such recipe; there are all-of-coco, from-scratch, go-on, smoke"):
            recipe.load("nothing")
        with self.assertRaisesRegex(SystemExit, "name the folder that bitmar.prepare filled"):
            run(train, "go-on", "--work", self.folder / "work")
        with self.assertRaisesRegex(SystemExit, "no stage 'capton' in smoke"):
            run(train, "smoke", "--work", self.folder / "work", "--only", "capton")

    def test_settings_are_those_of_the_table_and_of_the_command_line(self):
        (self.folder / "own.toml").write_text('[config.vision]\nfeature_size = 8\n[[stage]]\ndo = "caption"\nname = "tutor"\nrate = 1\ntutors = ["a", "b"]\n')
        chosen = recipe.load(str(self.folder / "own.toml"), ["tutor.steps=7", "tutor.found=told", "tutor.consistency=false"])
        kind, settings = chosen.stages["tutor"]
        self.assertEqual((kind, settings.name, settings.rate, settings.steps, settings.found, settings.tutors, settings.consistency, settings.batch),
                         ("caption", "tutor", 1, 7, "told", ("a", "b"), False, 32))
        self.assertEqual((chosen.config["vision"]["feature_size"], chosen.config["vision"]["grid_size"]), (8, 8))

    def test_a_stage_is_done_once_and_not_by_other_settings(self):
        data, work = self.folder / "data", self.folder / "work"
        prepared(source(self.folder / "mine", [{"image": f"{i}.png", "captions": [f"a dog {i}"] * 3} for i in range(4)]), data)
        (self.folder / "own.toml").write_text('[[stage]]\ndo = "tokenizer"\nsize = 262\n')
        again = lambda *more: run(train, self.folder / "own.toml", "--data", data, "--work", work, *more)
        self.assertIn("tokenizer: tokenizer, stage 1 of 1", again())
        self.assertEqual(len(Tokenizer(work / "tokenizer.json").vocabulary), 262)
        self.assertIn("tokenizer: done before", again())
        with self.assertRaisesRegex(SystemExit, "by other settings: size = 262, now 263"):
            again("--set", "tokenizer.size=263")


class Computing(unittest.TestCase):
    def test_a_precision_is_a_models_own(self):
        one, other, x = tiny_model(), tiny_model(), torch.randn(2, 24)
        layer, same = (model.vision.layers[0].ffn.up_proj for model in (one, other))
        exact = layer(x)
        set_precision(one, Precision(torch.bfloat16))
        self.assertFalse(torch.equal(layer(x), exact))
        self.assertTrue(torch.equal(same(x), exact))
        with computing(one, products=torch.float32):
            self.assertTrue(torch.equal(layer(x), exact))
            with computing(one, ternary=False):
                self.assertTrue(torch.equal(layer(x), x @ layer.weight.T))
        self.assertEqual(layer.precision, Precision(torch.bfloat16))
        self.assertEqual(BitLinear(2, 2).precision, Precision())

    def test_products_are_in_what_the_device_is_fast_at(self):
        self.assertEqual(fast_products("cuda"), torch.bfloat16)
        self.assertIn(fast_products("cpu"), (torch.float32, torch.bfloat16))


class Smoke(unittest.TestCase):
    # So few steps that it takes half a minute of one core.
    LESS = {"photos.count": 120, "photos.held": 12, "language.steps": 20, "encoder.steps": 60, "caption.steps": 200, "joint.steps": 4, "self_critical.steps": 4, "recall.steps": 20,
            "bag_of_words.steps": 60, "evaluate.limit": 4}

    def test_from_drawn_photos_to_captions(self):
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            smoke = lambda *more: run(train, "smoke", "--work", work, "--device", "cpu", "--products", "float32", *more,
                                      *(part for key, value in self.LESS.items() for part in ("--set", f"{key}={value}")))
            with self.assertRaisesRegex(SystemExit, "language.pt: the time is up at step 0 of 20; run again to go on"):
                smoke("--minutes", 0)
            printed = smoke()
            for part in ("photos: done before", "views: done before", "language: language, stage 4 of 14", "evaluate: evaluate, stage 14 of 14"):
                self.assertIn(part, printed)
            losses = [row["lm"] for row in read_rows(work / "caption.jsonl") if "lm" in row]
            self.assertEqual(len(losses), 4)
            self.assertLess(losses[-1], losses[0] / 2)
            model, tokenizer = import_model(work / "model"), Tokenizer(work / "model/tokenizer.json")
            rows = load_rows(work / "data", "val")[:4]
            with torch.no_grad():
                vision = model.compressor(model.vision(torch.from_numpy(whole([open_photo(open_at(row)) for row in rows], 64)).permute(0, 3, 1, 2)))
                text, keep = model.encode_text(torch.full((len(rows), 1), model.config["bos_token_id"]))
                said = [tokenizer.decode(ids).strip() for ids in model.greedy(*model.condition(None, model.fuse(text, keep, vision)[0], keep, vision))]
            self.assertEqual(list(json.loads((work / "evaluate.json").read_text())["captions"].values()), said)
            self.assertGreater(sum(any(shape in caption for shape in SHAPES) for caption in said), 2, said)
            self.assertEqual(smoke().count("done before"), 14)


if __name__ == "__main__":
    unittest.main()
