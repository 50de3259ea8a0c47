"""What export writes, import reads back: same logits. Run: PYTHONPATH=models python -m unittest discover tests/python"""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
from bitmar.data import tokenizer
from bitmar.data.dataset import pad
from bitmar.eval import golden
from bitmar.model.export import export_model, import_model, model_tensors, pack_ternary, read_checkpoint, unpack_ternary
from safetensors.numpy import load_file

TINY = Path(__file__).parents[1] / "golden" / "tiny"


class ExportTest(unittest.TestCase):
    def test_packing_keeps_every_value_and_row(self):
        t = np.random.default_rng(0).integers(-1, 2, (12, 5)).astype(np.int8)
        packed = pack_ternary(t)
        self.assertEqual(packed.shape, (3, 5))
        self.assertTrue((unpack_ternary(packed) == t).all())
        # Row i * (out/4) + r sits in bits 2i..2i+1 of packed row r.
        self.assertEqual(int(packed[1, 2] >> 4 & 3) - 1, int(t[2 * 3 + 1, 2]))
        with self.assertRaises(ValueError):
            pack_ternary(t[:10])

    @torch.no_grad()
    def test_import_computes_what_was_exported(self):
        model = golden.tiny_model(5)
        with tempfile.TemporaryDirectory() as folder:
            export_model(model, TINY / "tokenizer.json", Path(folder))
            back = import_model(Path(folder))
        pixels = torch.randint(0, 256, (2, 3, 32, 32))
        tokens = torch.randint(3, 300, (2, 6))

        def logits(m):
            text, keep = m.encode_text(tokens)
            vision = m.compressor(m.vision(pixels))
            fused, _ = m.fuse(text, keep, vision)
            return m.logits(tokens, *m.condition(None, fused, keep, vision))

        wanted, got = logits(model), logits(back)
        self.assertLess(float((wanted - got).abs().max() / wanted.abs().max()), 1e-3)

    def test_what_is_shipped_can_be_trained_further(self):
        state = read_checkpoint(TINY)
        model = golden.tiny_model(5)
        model.load_state_dict(state["model"])
        again, shipped = model_tensors(model), load_file(TINY / "model.safetensors")
        self.assertEqual(again.keys(), shipped.keys())
        for name, value in shipped.items():
            if value.dtype == np.float32:
                self.assertTrue(np.allclose(again[name], value, rtol=1e-5), name)
            else:
                self.assertTrue(np.array_equal(again[name], value), name)

    def test_too_many_bytes_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaises(ValueError):
                export_model(golden.tiny_model(5), TINY / "tokenizer.json", Path(folder), limit=1000)
            self.assertFalse((Path(folder) / "model.safetensors").exists())

    def test_golden_files_are_small_and_say_what_the_model_says(self):
        self.assertLess(sum(f.stat().st_size for f in TINY.iterdir()), 420_000)
        tensors, model = load_file(TINY / "golden.safetensors"), import_model(TINY)
        prompt = tensors["prompted/prompt"].tolist()
        case, _ = golden.run_case(model, "prompted", prompt, tensors["pixels"])
        self.assertEqual(case["prompted/greedy"].tolist(), tensors["prompted/greedy"].tolist())
        self.assertEqual(case["prompted/beam"].tolist(), tensors["prompted/beam"].tolist())

    def test_the_golden_answer_is_that_of_the_question_alone_and_in_a_batch(self):
        tensors, model = load_file(TINY / "golden.safetensors"), import_model(TINY)
        vision = model.compressor(model.vision(torch.tensor(tensors["pixels"]).permute(2, 0, 1)[None]))
        asked = [[model.config["ask"]["token_id"], *row] for row in (tensors["ask/prompt"].tolist(), [70, 71], list(range(100, 111)))]
        together, totals = model.ask(pad(asked, model.config["pad_token_id"]), vision.expand(len(asked), -1, -1))
        self.assertEqual(together[0], tensors["ask/greedy"].tolist())
        self.assertAlmostEqual(totals[0], float(tensors["ask/log_probability"][0]), places=4)
        for row, answer, total in zip(asked, together, totals):
            (alone,), (own,) = model.ask(torch.tensor([row]), vision)
            self.assertEqual(alone, answer)
            self.assertAlmostEqual(own, total, places=4)

    def test_markers_are_no_text(self):
        vocabulary, merges = tokenizer.train(["a dog", "a dog"], 262)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tokenizer.json"
            tokenizer.write(file, vocabulary, merges, tokenizer.ADDED)
            made = tokenizer.Tokenizer(file)
        self.assertEqual([made.special[m] for m in tokenizer.ADDED], list(range(len(vocabulary), len(vocabulary) + 5)))
        self.assertEqual(made.decode([*made.special.values(), *made.encode("a dog")]), "a dog")
        for marker in made.special:
            self.assertFalse(set(made.encode(f"{marker} a {marker}")) & set(made.special.values()))
            self.assertEqual(made.decode(made.encode(marker)), marker)


if __name__ == "__main__":
    unittest.main()
