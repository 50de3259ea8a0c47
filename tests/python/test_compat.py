"""The converter of the authors' checkpoints, and the pass that it preserves. Run: PYTHONPATH=models python -m unittest discover tests/python"""

import argparse
import ast
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
from bitmar.compat.convert import CheckpointError, check, convert, main, read_directory, read_state
from bitmar.compat.golden import SIZES, random_state
from bitmar.compat.layout import Sizes, published
from bitmar.compat.reference import Linear, Reference, Weights, code, ternary, weights_of_state_dict
from safetensors.torch import save_file

TINY = Path(__file__).parents[1] / "golden" / "tiny"
FACTS = Path(__file__).with_name("compat_layout.tsv")  # name, shape and kind of every tensor of a published checkpoint
SMALL = ["--size", *" --size ".join(f"{name}={value}" for name, value in vars(SIZES).items()).split()]
TOKENS, VISION = [40, 260, 71, 9, 288], torch.linspace(-2, 3, SIZES.vision_input)


class LayoutTest(unittest.TestCase):
    def test_it_is_the_published_one(self):
        rows = [line.split("\t") for line in FACTS.read_text().splitlines()]
        facts = {name: tuple(ast.literal_eval(shape)) for name, shape, _ in rows}
        self.assertEqual(len(facts), 383)
        self.assertEqual({name: entry.shape for name, entry in published().items()}, facts)

    def test_what_is_packed_is_ternary_there(self):
        kinds = {name: kind for name, _, kind in (line.split("\t") for line in FACTS.read_text().splitlines())}
        unused = {name for name, entry in published().items() if entry.kind == "unused"}
        for name, entry in published().items():
            if name not in unused:
                self.assertEqual(entry.kind == "ternary", kinds[name] == "tern", name)
        self.assertTrue(all(name.startswith(("text_decoder.token_embedding", "text_decoder.causal_mask", "memory.", "fusion.cross_attention_layers."))
                            for name in unused))


class ArithmeticTest(unittest.TestCase):
    def test_weights_below_two_thirds_of_the_mean_are_zero(self):
        weight = torch.tensor([[0.5, -0.5, 1.5, -1.5], [1.0, -1.0, 0.7, -1.3]])  # mean|w| 1
        t, scale = ternary(weight)
        self.assertEqual(float(scale), 1)
        self.assertEqual(t.tolist(), [[0, 0, 1, -1], [1, -1, 1, -1]])
        # Gaussian weights: two of five are zero, as the paper reports of the published model, and not 31 % as beyond one half
        zeros = (ternary(torch.randn(500, 500, generator=torch.Generator().manual_seed(0)))[0] == 0).float().mean()
        self.assertAlmostEqual(float(zeros), 0.405, delta=0.005)

    def test_threads_and_strides_do_not_change_the_mean(self):
        before = torch.get_num_threads()
        self.addCleanup(torch.set_num_threads, before)
        for seed in range(8):
            weight = torch.randn(512, 128, generator=torch.Generator().manual_seed(seed))
            scales = set()
            for threads in (1, 2, 3, 8):
                torch.set_num_threads(threads)
                scales |= {float(ternary(weight)[1]), float(ternary(weight.t().contiguous().t())[1])}
                self.assertEqual(torch.get_num_threads(), threads)
            self.assertEqual(len(scales), 1, seed)

    def test_activations_share_one_range(self):
        q, scale, zero = code(torch.tensor([[-1.0, 0.0], [0.5, 4.1]]))
        self.assertEqual(float(zero), 50)
        self.assertEqual(q.tolist(), [[0, 50], [75, 255]])
        self.assertAlmostEqual(float(scale), 0.02, places=6)
        self.assertIsNone(code(torch.full((2, 3), 7.0)))
        # Where zero is not within the range values saturate.
        q, _, zero = code(torch.tensor([1.0, 2.0]))
        self.assertEqual((float(zero), q.tolist()), (0, [255, 255]))

    def test_a_constant_is_multiplied_as_it_is(self):
        layer = Linear(torch.tensor([[1.0, 1.0, -1.0]]), torch.tensor(0.5), torch.tensor([0.25]))
        reference = Reference(Weights({"x": layer}, {"memory.memory_importance": torch.ones(1)}), Sizes())
        self.assertEqual(reference.linear("x", torch.full((2, 3), 3.0)).tolist(), [[1.75], [1.75]])


class PassTest(unittest.TestCase):
    def setUp(self):
        self.reference = Reference(weights_of_state_dict(random_state(3), SIZES), SIZES)

    def logits(self, tokens, vision=None):
        return self.reference.run(tokens, vision)["logits"]

    def test_later_tokens_change_what_earlier_positions_say(self):
        first, second = self.logits(TOKENS), self.logits([*TOKENS[:-1], 7])
        self.assertGreater(float((first[:-1] - second[:-1]).abs().max()), 1e-3)

    def test_the_vision_vector_matters_and_so_does_the_rule_without_one(self):
        plain = self.logits(TOKENS)
        self.assertGreater(float((plain - self.logits(TOKENS, VISION)).abs().max()), 1e-3)
        # A vector of zeros is seen: its biases come through.
        self.assertGreater(float((plain - self.logits(TOKENS, torch.zeros_like(VISION))).abs().max()), 1e-3)
        self.reference.keep_vision_bias = False
        self.assertGreater(float((plain - self.logits(TOKENS)).abs().max()), 1e-3)

    def test_reads_change_the_memory_when_they_are_counted(self):
        first = self.reference.run(TOKENS)
        self.assertTrue(torch.equal(first["logits"], self.logits(TOKENS)))
        for _ in range(20):
            self.reference.count_read(self.reference.run(TOKENS)["shares"])
        self.assertGreater(float((first["shares"] - self.reference.run(TOKENS)["shares"]).abs().max()), 1e-4)

    def test_positions_end(self):
        self.logits([5] * SIZES.positions)
        for tokens in ([], [5] * (SIZES.positions + 1)):
            with self.assertRaises(ValueError):
                self.logits(tokens)


class ConvertTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.out = Path(self.folder.name) / "model"

    def command(self, checkpoint, *options):
        """Exit status and what went to standard error"""
        given = [str(checkpoint), "--tokenizer", str(TINY), "--out", str(self.out), "--end-token", "2", *SMALL, *options]
        with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
            return main(given), err.getvalue()

    def test_the_pass_of_what_was_converted_is_that_of_the_checkpoint(self):
        state = random_state(3)
        wanted = Reference(weights_of_state_dict(state, SIZES), SIZES)
        convert(state, TINY, self.out, SIZES, end=2)
        got = read_directory(self.out)
        for vision in (None, VISION):
            stages = wanted.run(TOKENS, vision)
            for name, value in got.run(TOKENS, vision).items():
                self.assertTrue(torch.equal(value, stages[name]), name)

    def test_a_whole_published_checkpoint_converts(self):
        state = random_state(0, Sizes())
        state["text_decoder.lm_head.input_scale"] = torch.zeros(1)
        tokenizer = Path(self.folder.name)
        vocabulary = {token: i for i, token in enumerate([*(chr(0x4E00 + i) for i in range(256)), *map(str, range(50000)), "<|endoftext|>"])}
        (tokenizer / "vocab.json").write_text(json.dumps(vocabulary))
        (tokenizer / "merges.txt").write_text("#version: 0.2\n")
        size = convert(state, tokenizer, self.out)
        self.assertLess(size, 30e6)
        tokens, vision = [50256, 17, 4000], torch.linspace(-1, 1, 768)
        wanted = Reference(weights_of_state_dict(state), Sizes()).run(tokens, vision)["logits"]
        self.assertTrue(torch.equal(read_directory(self.out).run(tokens, vision)["logits"], wanted))

    def test_files_of_all_kinds(self):
        folder = Path(self.folder.name)
        state = random_state(3)
        torch.save({"model_state_dict": state, "epoch": 3}, folder / "under.bin")
        torch.save(state, folder / "flat.bin")
        save_file({name: value.contiguous() for name, value in state.items()}, folder / "flat.safetensors")
        written = set()
        torch.save(state, folder / "old.bin", _use_new_zipfile_serialization=False)
        torch.save({"state_dict": {f"model.module.{name}": value for name, value in state.items()}, "model": "small"}, folder / "wrapped.bin")
        torch.save({"model": {f"_orig_mod.{name}": torch.nn.Parameter(value, value.is_floating_point()) for name, value in state.items()}},
                   folder / "compiled.bin")
        torch.save({name: value.t().contiguous().t() if value.dim() == 2 else value for name, value in state.items()}, folder / "strided.bin")
        shutil.copy(folder / "flat.safetensors", folder / "misnamed.bin")
        shutil.copy(folder / "flat.bin", folder / "misnamed.safetensors")
        for name in ("under.bin", "flat.bin", "flat.safetensors", "old.bin", "wrapped.bin", "compiled.bin", "strided.bin", "misnamed.bin",
                     "misnamed.safetensors"):
            self.assertEqual(self.command(folder / name), (0, ""))
            written.add((self.out / "model.safetensors").read_bytes())
        self.assertEqual(len(written), 1)

    def test_a_prefix_that_only_some_names_have_stays(self):
        path = Path(self.folder.name) / "mixed.bin"
        torch.save({"module.a": torch.zeros(1), "b": torch.zeros(1)}, path)
        self.assertEqual(set(read_state(path)), {"module.a", "b"})
        torch.save({}, path)
        self.assertEqual(read_state(path), {})

    def test_whoever_may_read_new_files_may_read_the_weights(self):
        before = os.umask(0o027)
        self.addCleanup(os.umask, before)
        convert(random_state(3), TINY, self.out, SIZES, end=2)
        self.assertEqual({oct((self.out / name).stat().st_mode & 0o777) for name in ("model.safetensors", "config.json")}, {"0o640"})

    def test_every_tensor_that_is_missing_wrong_or_not_finite_is_named(self):
        whole = random_state(3)
        for name, entry in published(SIZES).items():
            if entry.kind == "cache":
                check({k: v for k, v in whole.items() if k != name}, SIZES)
            else:
                self.refuses({k: v for k, v in whole.items() if k != name}, f"{name} is missing")
            self.refuses({**whole, name: torch.zeros(2, 1)}, f"{name} has shape [2, 1], not {list(entry.shape)}")
            if entry.kind != "cache" and not name.endswith("causal_mask"):
                self.refuses({**whole, name: torch.full(entry.shape, float("nan"))}, f"{name} holds a number that is not finite")
            self.refuses({**whole, name: whole[name].to("meta")}, f"{name} has no numbers: its device is meta")
            if entry.shape:
                self.refuses({**whole, name: torch.zeros(entry.shape).to_sparse()}, f"{name} is sparse or nested")
            if name.endswith(("causal_mask", "update_count")):
                check({**whole, name: torch.ones(entry.shape, dtype=torch.int64)}, SIZES)
            elif entry.kind != "cache":
                self.refuses({**whole, name: torch.zeros(entry.shape, dtype=torch.int32)}, f"{name} has type int32")
            if entry.kind != "cache":
                for dtype in (torch.complex64, getattr(torch, "float8_e4m3fn", torch.complex128)):  # PyTorch 1.13 has no float8
                    self.refuses({**whole, name: torch.zeros(entry.shape, dtype=dtype)}, f"{name} has type {str(dtype)[6:]}")
        self.refuses({**whole, "memory.query_compress.weight": torch.zeros(1)}, "memory.query_compress.weight is no part")
        self.refuses({**whole, "fusion.text_proj.bias": "text"}, "fusion.text_proj.bias is a str")
        if hasattr(torch, "jagged"):
            self.refuses({**whole, "fusion.text_proj.bias": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged)},
                         "fusion.text_proj.bias is sparse or nested")
        self.refuses({**whole, "memory.memory_std": -torch.ones(SIZES.width)}, "memory.memory_std holds a negative number")
        self.refuses({**whole, "memory.memory_importance": -torch.ones(SIZES.slots)}, "memory.memory_importance holds a negative number")

    def refuses(self, state, message):
        with self.assertRaises(CheckpointError) as raised:
            check(state, SIZES)
        self.assertEqual(str(raised.exception)[:len(message)], message)

    def test_unknown_names_come_before_missing_ones(self):
        self.refuses({f"student.{name}": value for name, value in random_state(3).items()}, "student.text_encoder.token_embedding.weight is no part")

    def test_many_problems_are_counted(self):
        with self.assertRaisesRegex(CheckpointError, "text_encoder.token_embedding.weight is missing.*and [0-9]+ more"):
            check({}, SIZES)

    def test_the_command_says_what_is_wrong_and_leaves_nothing(self):
        folder = Path(self.folder.name)
        state = random_state(3)
        del state["memory.key_net.3.bias"]
        torch.save(state, folder / "partial.bin")
        (folder / "text.bin").write_text("no checkpoint")
        (folder / "text.safetensors").write_text("no checkpoint")
        torch.save([1, 2], folder / "list.bin")
        torch.save(random_state(3), folder / "good.bin")
        (folder / "empty.bin").write_bytes(b"")
        (folder / "cut.bin").write_bytes((folder / "good.bin").read_bytes()[:3000])
        (folder / "cut.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{]")
        torch.save({**random_state(3), "\x1b[1mred": torch.zeros(1)}, folder / "escape.bin")
        torch.save({**random_state(3), "fusion.text_proj.bias": torch.zeros(SIZES.width, device="meta")}, folder / "meta.bin")
        for name, document in (("other", {"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": []}), ("broken", [1])):
            (folder / name).mkdir()
            (folder / name / "tokenizer.json").write_text(json.dumps(document))
        for name, options, message in (
                ("partial.bin", (), "memory.key_net.3.bias is missing"), ("text.bin", (), "is neither a torch.save file nor a safetensors file"),
                ("text.safetensors", (), "is neither a torch.save file"), ("empty.bin", (), "is neither a torch.save file"),
                ("cut.bin", (), "begins like a torch.save file, but"), ("cut.safetensors", (), "begins like a safetensors file, but"),
                ("escape.bin", (), "\\x1b[1mred is no part"), ("meta.bin", (), "fusion.text_proj.bias has no numbers"),
                ("list.bin", (), "list"), ("none.bin", (), "there is no file"), ("good.bin", ("--tokenizer", str(folder)), "neither vocab.json"),
                ("good.bin", ("--tokenizer", str(folder / "other")), "has 1 tokens, the checkpoint 305"),
                ("good.bin", ("--tokenizer", str(folder / "broken")), "is damaged"), ("good.bin", ("--out", str(folder / "good.bin")), "good.bin"),
                ("good.bin", ("--size", "slots=0"), "slots is 0"), ("good.bin", ("--size", "depth=2"), "--size wants"),
                ("good.bin", ("--size", "slots=5"), "memory.memory has shape [8, 32], not [5, 32]"),
                ("good.bin", ("--end-token", "305"), "no token 305")):
            status, complaint = self.command(folder / name, *options)
            self.assertEqual(status, 1, name)
            self.assertIn(message, complaint)
            self.assertEqual(len(complaint.splitlines()), 1, complaint)
            self.assertFalse((self.out / "model.safetensors").exists())

    def test_the_exit_status_is_the_command_s(self):
        done = subprocess.run([sys.executable, "-m", "bitmar.compat.convert", "none.bin", "--tokenizer", str(TINY), "--out", str(self.out)],
                              capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (1, "python -m bitmar.compat.convert: there is no file none.bin\n"))

    def test_other_number_types_are_read(self):
        state = random_state(3)
        check({name: value.half() if value.is_floating_point() else value for name, value in state.items()}, SIZES)

    def test_code_in_a_checkpoint_is_not_run(self):
        class Bomb:
            def __reduce__(self):
                return exec, ("raise SystemExit('ran')",)
        for value, name, new in ((Bomb(), "exec", True), (Bomb(), "exec", False), (argparse.Namespace(epochs=3), "argparse.Namespace", True)):
            path = Path(self.folder.name) / "objects.bin"
            torch.save({"model_state_dict": random_state(3), "args": value}, path, _use_new_zipfile_serialization=new)
            status, complaint = self.command(path)
            self.assertEqual(status, 1)
            self.assertIn(f"holds an object of another kind, {name}:", complaint)
            self.assertNotIn("weights_only", complaint)

    def test_damaged_files_are_told_of(self):
        folder, state = Path(self.folder.name), {"fusion.text_proj.bias": torch.ones(3), "text": "abc"}
        torch.save(state, folder / "new.bin")
        torch.save(state, folder / "old.bin", _use_new_zipfile_serialization=False)
        save_file({"fusion.text_proj.bias": torch.ones(3)}, folder / "flat.safetensors")
        random = np.random.default_rng(0)
        for name in ("new.bin", "old.bin", "flat.safetensors"):
            whole, refused = (folder / name).read_bytes(), 0
            for _ in range(150):
                damaged = bytearray(whole)
                for at in random.integers(0, len(whole), 3):
                    damaged[at] = random.integers(256)
                (folder / "damaged").write_bytes(damaged[:random.integers(len(whole) // 2, 2 * len(whole))])
                try:
                    check(read_state(folder / "damaged"), SIZES)
                except CheckpointError:
                    refused += 1
            self.assertEqual(refused, 150, name)


if __name__ == "__main__":
    unittest.main()
