"""The ablation's variants are models and differ as they say."""

import json
import tempfile
import unittest
from pathlib import Path

import torch
from bitmar.eval import ablation
from bitmar.model.bitmar import DEFAULT_CONFIG, VisionEncoder, load_config
from bitmar.train import recipe
from bitmar.train.encoder import at_teachers_grid
from prepared import run

KEPT = load_config(DEFAULT_CONFIG)


class Ablation(unittest.TestCase):
    @torch.no_grad()
    def test_every_variant_sees(self):
        variants = ablation.variants(KEPT)
        self.assertEqual(variants["kept"], KEPT)
        self.assertEqual(len({json.dumps(config) for config in variants.values()}), len(variants))
        work = {}
        for name, config in variants.items():
            vision = VisionEncoder(config["vision"], 1e-5)
            side = config["vision"]["image_size"]
            grid = at_teachers_grid(vision(torch.randint(0, 256, (1, 3, side, side))))
            self.assertEqual(grid.shape, (1, 64, config["vision"]["feature_size"]), name)
            work[name] = ablation.products(vision)
        for less, more in (("image-96", "image-160"), ("pairs-1", "pairs-5"), ("layers-0", "layers-4"), ("width-192", "width-320")):
            self.assertLess(work[less], work["kept"])
            self.assertGreater(work[more], work["kept"])

    def test_the_recipe_trains_every_variant(self):
        with tempfile.TemporaryDirectory() as folder:
            run(ablation, "recipe", "--out", folder, "--steps", 10)
            stages = recipe.load(f"{folder}/ablation.toml").stages
            for name in ablation.ALL:
                _, settings = stages[f"ablation-{name}"]
                self.assertEqual((settings.steps, settings.whole, settings.ternary), (5 if name == "float-to-ternary" else 10, name == "whole", name != "float"))
                self.assertEqual(Path(settings.config).name, f"{name}.json" if "-" in name and "float" not in name else "kept.json")
                load_config(settings.config)
            self.assertEqual((stages["ablation-image-96"][1].views, stages["views-96"][1].size, stages["views-96"][1].grids_of), ("views-96", 96, "views"))
            self.assertEqual(stages["ablation-float-to-ternary"][1].start, {"vision": "ablation-half-float"})
            run(ablation, "recipe", "--out", folder, "layers-0")
            self.assertEqual(list(recipe.load(f"{folder}/ablation.toml").stages), ["ablation-layers-0"])
            with self.assertRaisesRegex(SystemExit, "no variant is called layers-9"):
                run(ablation, "recipe", "--out", folder, "layers-9")

    def test_products_of_the_kept_model(self):
        # A convolution: positions x kernel x inputs x outputs; a linear layer: positions x inputs x outputs.
        pixels, stem, residual, down = 64 * 64, 64 * 64 * 9 * (32 * 32 + 32 * 64), 16 * 16 * 18 * 192 * 192, 64 * 9 * 192 * 256
        wanted = (pixels * 9 * 3 * 32 + stem + 32 * 32 * (64 * 80 + 9 * 80 * 192) + residual + down
                  + 3 * 64 * 18 * 256 * 256 + 64 * (2 * (4 * 256 * 256 + 2 * 256 * 1024) + 256 * 256))
        self.assertEqual(ablation.products(VisionEncoder(KEPT["vision"], 1e-5)), wanted)

    def test_another_grid_is_resampled_to_the_teachers(self):
        flat = torch.arange(100.0).view(10, 10).add(torch.zeros(2, 10, 10)).flatten(1)[..., None]
        self.assertEqual(at_teachers_grid(flat).shape, (2, 64, 1))
        self.assertAlmostEqual(float(at_teachers_grid(flat).mean()), float(flat.mean()), places=3)
        same = torch.randn(2, 64, 3)
        self.assertIs(at_teachers_grid(same), same)


if __name__ == "__main__":
    unittest.main()
