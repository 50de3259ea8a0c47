"""Muon beside AdamW: each weight by one of them, kernels as matrices, and a state that can be gone on from."""

import unittest
from pathlib import Path

import torch
from bitmar.model.bitmar import VisionEncoder, load_config
from bitmar.model.quant import BitConv2d, BitLinear
from bitmar.train.muon import muon


MODELS = Path(__file__).parents[2] / "models"


@unittest.skipUnless(hasattr(torch.optim, "Muon"), "this PyTorch has no Muon")
class Muon(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)

    def step(self, layers, optimizer):
        optimizer.zero_grad()
        x = torch.randn(2, 3, 8, 8)
        layers[1](layers[0](x).flatten(1)).square().sum().backward()
        optimizer.step()

    def layers(self):
        torch.manual_seed(1)
        return torch.nn.ModuleList([BitConv2d(3, 4, 3, 2), BitLinear(64, 5)])

    def test_every_weight_is_moved_by_one_of_the_two(self):
        config = load_config(MODELS / "bitmar/model/default_config.json")
        vision = VisionEncoder(config["vision"], config["rms_norm_eps"])
        vision.stem[:2].requires_grad_(False)
        optimizer = muon([vision], vision.parameters(), 1e-3, 0.1)
        moved = [weight.data_ptr() for group in optimizer.param_groups for weight in group["params"]]
        self.assertEqual(sorted(moved), sorted(weight.data_ptr() for weight in vision.parameters() if weight.requires_grad))
        self.assertEqual(len(moved), len(set(moved)))
        by_muon = {weight.data_ptr() for weight in optimizer.parts[0].param_groups[0]["params"]}
        self.assertIn(vision.stem[2].weight.data_ptr(), by_muon)
        self.assertIn(vision.layers[0].ffn.up_proj.weight.data_ptr(), by_muon)
        self.assertNotIn(vision.position_embedding.data_ptr(), by_muon)

    def test_a_kernel_is_moved_as_the_matrix_that_it_is(self):
        layers = self.layers()
        kernel = layers[0].weight.detach().clone()
        optimizer = muon([layers], layers.parameters(), 0.1, 0.0)
        self.step(layers, optimizer)
        matrix = torch.nn.Parameter(kernel.flatten(1).clone())
        matrix.grad = layers[0].weight.grad.flatten(1)
        torch.optim.Muon([matrix], lr=0.1, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw").step()
        torch.testing.assert_close(layers[0].weight.detach().flatten(1), matrix.detach())
        self.assertFalse(torch.equal(layers[0].weight, kernel))

    def test_a_state_is_gone_on_from(self):
        ends = []
        for interrupted in (False, True):
            layers = self.layers()
            optimizer = muon([layers], layers.parameters(), 0.1, 0.1)
            for i in range(4):
                if interrupted and i == 2:
                    weights, state = layers.state_dict(), optimizer.state_dict()
                    layers = self.layers()
                    layers.load_state_dict(weights)
                    optimizer = muon([layers], layers.parameters(), 0.3, 0.1)
                    optimizer.load_state_dict(state)
                torch.manual_seed(i)
                for group in optimizer.param_groups:
                    group["lr"] = 0.1 / (i + 1)
                self.step(layers, optimizer)
            ends.append(layers.state_dict())
        for name, weight in ends[0].items():
            torch.testing.assert_close(ends[1][name], weight, rtol=0, atol=0)


if __name__ == "__main__":
    unittest.main()
