"""All texts of a step at once learn what each alone does, and compiled passes compute what plain ones do."""

import shutil
import tempfile
import unittest
from pathlib import Path

import torch
from bitmar.model import packed
from bitmar.train import recipe
from bitmar.train.captioning import Captioning
from bitmar.train.settings import Run
from bitmar.train.stages import do, model_of, tokenizer_of
from bitmar.train.trainer import seed

RECIPE = '''
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
size = 64

[[stage]]
do = "caption"
steps = 1
batch = 16
captions_each = 3
dropout = 0.0
blind = 0.5
text = true
unseen = 7
asked = 5
'''


class Together(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        work = Path(cls.folder.name)
        file = work / "small.toml"
        smoke = (recipe.FOLDER / "smoke.toml").read_text()
        file.write_text(smoke[:smoke.index("[[stage]]")] + RECIPE)
        chosen = recipe.load(str(file))
        run = Run(work / "data", work, chosen.config)
        for name in ("photos", "tokenizer", "views"):
            do(*chosen.stages[name], run)
        (work / "data/questions.jsonl").write_text("".join(
            f'{{"question": "what is {thing} made of?", "answer": "{answer}", "type": "object"}}\n'
            for thing in ("a bag", "the old bag of the man", "it") for answer in ("red", "blue green red", "a bag")))
        settings = chosen.stages["caption"][1]
        vocabulary = tokenizer_of(run)
        seed(0)
        model = model_of(settings, run, vocabulary)
        for norm in [p for name, p in model.named_parameters() if p.ndim == 1 and not name.startswith("vision")]:
            norm.data.copy_(torch.rand(norm.shape) + 0.5)  # at one, a norm's weight could be forgotten
        cls.stage = Captioning(settings, run, model, vocabulary)

    def of(self, losses, step=0) -> tuple[dict, dict]:
        """Losses and gradients of a step"""
        model = self.stage.model
        seed(step)
        model.zero_grad(set_to_none=True)
        values = losses()
        sum(values.values()).backward()
        return {name: float(value.detach()) for name, value in values.items()}, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    def test_losses_and_gradients_are_those_of_each_text_alone(self):
        for step in range(3):
            (wanted, wanted_grads), (got, grads) = self.of(self.stage.losses_one_by_one, step), self.of(self.stage.losses_together, step)
            self.assertEqual(wanted.keys(), got.keys())
            self.assertEqual(wanted_grads.keys(), grads.keys())
            for name in ("lm", "answer", "unseen", "text", "infonce"):
                self.assertGreater(wanted[name], 0, name)
            for name, value in wanted.items():
                self.assertAlmostEqual(got[name], value, delta=1e-3 * value, msg=name)
            # A sum in another order may round an activation to the next integer.
            for name, grad in wanted_grads.items():
                self.assertLess(float((grads[name] - grad).norm()), 0.03 * float(grad.norm()) + 1e-7, name)

    @unittest.skipUnless(hasattr(torch, "compile") and shutil.which("g++"), "nothing to compile with")
    def test_compiled_passes_are_plain_ones(self):
        torch.manual_seed(0)
        x, grad, weight, gamma = torch.randn(6, 64), torch.randn(6, 64), torch.rand(64) + 0.5, torch.rand(64) + 0.1
        s, targets, smoothing = torch.rand(6, 1) + 0.1, torch.randint(64, (6, 1)), torch.tensor([[0.1], [0.0]] * 3)
        total = (x * s * gamma).logsumexp(-1, keepdim=True)
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)
        calls = [(packed.norm_gradient, (grad, x, inverse, weight)), (packed.square_norm_gradients, (grad, x, s, gamma, weight, inverse, torch.float32)),
                 (packed.surprise, (x, s, gamma[None], targets, smoothing)),
                 (packed.surprise_gradients, (s, x, s, gamma[None], targets, smoothing, total, torch.float32))]
        plain = [call(*operands) for call, operands in calls]
        packed.compiling(True)
        self.addCleanup(packed.compiling, False)
        for (call, operands), wanted in zip(calls, plain):
            for a, b in zip(call(*operands), wanted):
                self.assertTrue(torch.allclose(a, b, atol=1e-5, rtol=1e-4))


if __name__ == "__main__":
    unittest.main()
