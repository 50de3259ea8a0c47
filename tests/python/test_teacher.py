"""Teachers against independent computations: a tiny random DINOv2, and a tiny TensorFlow.js graph."""

import base64
import json
import math
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from bitmar.teachers.networks import IMAGENET_MEAN, IMAGENET_STD, DinoV2Teacher, ResNetTeacher
from bitmar.teachers.tfjs_graph import Graph
from PIL import Image
from safetensors.torch import save_file

WIDTH, DEPTH, SIDE = 64, 2, 3


def tiny_dinov2(registers: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(registers)
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + SIDE * SIDE, WIDTH),
              "patch_embed.proj.weight": (WIDTH, 3, 14, 14), "patch_embed.proj.bias": (WIDTH,),
              "norm.weight": (WIDTH,), "norm.bias": (WIDTH,)}
    for i in range(DEPTH):
        for name, shape in {"norm1": (WIDTH,), "norm2": (WIDTH,), "attn.qkv": (3 * WIDTH, WIDTH),
                            "attn.proj": (WIDTH, WIDTH), "mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
        shapes |= {f"blocks.{i}.ls{n}.gamma": (WIDTH,) for n in (1, 2)}
    if registers:
        shapes["register_tokens"] = (1, registers, WIDTH)
    return {name: torch.randn(shape) * 0.2 for name, shape in shapes.items()}


def by_torch(w: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The same by PyTorch's own transformer layer, its branch scales folded into the last matrices."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    x = F.conv2d((images - mean) / std, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=14)
    x = x.flatten(2).transpose(1, 2) + w["pos_embed"][:, 1:]
    x = torch.cat([(w["cls_token"] + w["pos_embed"][:, :1]).expand(len(x), -1, -1), x], 1)
    for i in range(DEPTH):
        g = lambda name: w[f"blocks.{i}.{name}"]
        layer = nn.TransformerEncoderLayer(WIDTH, 1, 4 * WIDTH, 0.0, F.gelu, 1e-6, batch_first=True, norm_first=True)
        layer.load_state_dict({
            "self_attn.in_proj_weight": g("attn.qkv.weight"), "self_attn.in_proj_bias": g("attn.qkv.bias"),
            "self_attn.out_proj.weight": g("attn.proj.weight") * g("ls1.gamma")[:, None],
            "self_attn.out_proj.bias": g("attn.proj.bias") * g("ls1.gamma"),
            "linear1.weight": g("mlp.fc1.weight"), "linear1.bias": g("mlp.fc1.bias"),
            "linear2.weight": g("mlp.fc2.weight") * g("ls2.gamma")[:, None], "linear2.bias": g("mlp.fc2.bias") * g("ls2.gamma"),
            **{f"norm{n}.{part}": g(f"norm{n}.{part}") for n in (1, 2) for part in ("weight", "bias")}})
        x = layer(x)
    x = F.layer_norm(x, (WIDTH,), w["norm.weight"], w["norm.bias"], 1e-6)
    return x[:, 1:].transpose(1, 2).unflatten(-1, (SIDE, SIDE))


def of_hugging_face(w: dict[str, torch.Tensor], prefix="") -> dict[str, torch.Tensor]:
    """The same weights as Dinov2Model's state_dict has them"""
    names = {"cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings", "register_tokens": "embeddings.register_tokens",
             "patch_embed.proj": "embeddings.patch_embeddings.projection", "norm": "layernorm"}
    inner = {"norm1": "norm1", "attn.proj": "attention.output.dense", "ls1.gamma": "layer_scale1.lambda1", "norm2": "norm2", "mlp.fc1": "mlp.fc1",
             "mlp.fc2": "mlp.fc2", "ls2.gamma": "layer_scale2.lambda1"}
    names |= {f"blocks.{i}.{ours}": f"encoder.layer.{i}.{theirs}" for i in range(DEPTH) for ours, theirs in inner.items()}
    out = {"embeddings.mask_token": torch.zeros(1, WIDTH)}
    for name, value in w.items():
        if "qkv" in name:
            layer, part = name.split(".")[1], name.split(".")[-1]
            out |= {f"encoder.layer.{layer}.attention.attention.{kind}.{part}": v.clone() for kind, v in zip(("query", "key", "value"), value.chunk(3))}
        else:
            ours = next(n for n in names if name == n or name in (f"{n}.weight", f"{n}.bias"))
            out[names[ours] + name[len(ours):]] = value
    return {prefix + name: value for name, value in out.items()} | ({"classifier.weight": torch.zeros(2, WIDTH)} if prefix else {})


class DinoV2(unittest.TestCase):
    def teacher(self, weights, suffix=".pth"):
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            if suffix == ".safetensors":
                save_file(weights, file.name)
            else:
                torch.save(weights, file.name)
            return DinoV2Teacher(Path(), Path(file.name))

    def test_equals_an_independent_transformer(self):
        weights, images = tiny_dinov2(0), torch.rand(2, 3, 14 * SIDE, 14 * SIDE)
        (grid,) = self.teacher(weights)(images)
        with torch.no_grad():
            self.assertTrue(torch.allclose(grid, by_torch(weights, images), atol=1e-4))

    def test_hugging_faces_names_are_the_same_model(self):
        for registers in (0, 4):
            weights = tiny_dinov2(registers)
            for images in (torch.rand(1, 3, 14 * SIDE, 14 * SIDE), torch.rand(1, 3, 14 * 5, 14 * 4)):
                (wanted,) = self.teacher(weights)(images)
                for prefix, suffix in (("", ".bin"), ("", ".safetensors"), ("dinov2.", ".safetensors")):
                    teacher = self.teacher(of_hugging_face(weights, prefix), suffix)
                    self.assertEqual(set(teacher.w) - {"embeddings.mask_token"}, set(weights))
                    self.assertTrue(torch.equal(teacher(images)[0], wanted), (registers, prefix, suffix))
        with self.assertRaisesRegex(ValueError, "neither the authors' names"):
            self.teacher({"conv1.weight": torch.zeros(1)})
        gated = {name.replace("mlp.fc1", "mlp.w12"): value for name, value in tiny_dinov2(0).items()}
        with self.assertRaisesRegex(ValueError, "gated layers"):
            self.teacher(gated)

    def test_positions_without_registers_are_resized_by_a_tenth_of_a_patch_more(self):
        """Bicubic interpolation written out (Keys 1981, a = -3/4), at the places that the authors' factor makes."""
        weights = tiny_dinov2(0)
        grid = weights["pos_embed"][0, 1:].view(SIDE, SIDE, WIDTH).numpy().astype(np.float64)

        def keys(t):
            t, a = abs(t), -0.75
            return (a + 2) * t**3 - (a + 3) * t**2 + 1 if t <= 1 else a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

        def matrix(count):
            out = np.zeros((count, SIDE))
            for i in range(count):
                at = (i + 0.5) / ((count + 0.1) / SIDE) - 0.5
                for place in range(math.floor(at) - 1, math.floor(at) + 3):
                    out[i, min(max(place, 0), SIDE - 1)] += keys(at - place)
            return out

        teacher = self.teacher(weights)
        for rows, columns in ((5, 4), (2, 7), (SIDE, SIDE + 1)):
            wanted = np.einsum("ir,jc,rcd->ijd", matrix(rows), matrix(columns), grid).reshape(1, -1, WIDTH)
            self.assertLess(np.abs(teacher.position(rows, columns).numpy() - wanted).max(), 1e-5)
        self.assertTrue(torch.equal(teacher.position(SIDE, SIDE), weights["pos_embed"][:, 1:]))

    def test_positions_with_registers_are_smoothed_as_pillow_does(self):
        weights = tiny_dinov2(4)
        teacher = self.teacher(weights)
        for rows, columns in ((2, 2), (5, 4)):
            got = teacher.position(rows, columns)[0].view(rows, columns, WIDTH)
            for d in range(0, WIDTH, 16):
                channel = Image.fromarray(weights["pos_embed"][0, 1:, d].view(SIDE, SIDE).numpy())
                wanted = np.asarray(channel.resize((columns, rows), Image.BICUBIC))
                self.assertLess(np.abs(got[..., d].numpy() - wanted).max(), 1e-5)

    def test_takes_registers_and_other_sizes(self):
        teacher = self.teacher(tiny_dinov2(4))
        (grid,) = teacher(torch.rand(1, 3, 14 * 5, 14 * 4))
        self.assertEqual(tuple(grid.shape), (1, WIDTH, 5, 4))
        self.assertTrue(torch.isfinite(grid).all())

    def test_wants_its_weights(self):
        with self.assertRaisesRegex(ValueError, "teacher-weights"):
            DinoV2Teacher(Path())


class ResNet(unittest.TestCase):
    """Weights laid out as Keras does against the same layers by hand, in TensorFlow's order of axes."""

    def test_equals_the_layers_of_keras(self):
        rng, weights = np.random.default_rng(0), {}

        def convolution(name, norm, inputs, outputs, size):
            weights[f"{name}/kernel"] = rng.normal(size=(size, size, inputs, outputs)) * (1.4 / (inputs * size * size)) ** 0.5
            weights[f"{name}/bias"] = rng.normal(size=outputs)
            for part in ("gamma", "moving_variance"):
                weights[f"{norm}/{part}"] = rng.uniform(0.5, 1.5, outputs)
            for part in ("beta", "moving_mean"):
                weights[f"{norm}/{part}"] = rng.normal(size=outputs)

        convolution("conv1", "bn_conv1", 3, 64, 7)
        inputs = 64
        for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=2):
            for letter in "abcdef"[:blocks]:
                for part, i, o, size in (("2a", inputs, width, 1), ("2b", width, width, 3), ("2c", width, 4 * width, 1),
                                         *([("1", inputs, 4 * width, 1)] if letter == "a" else [])):
                    convolution(f"res{stage}{letter}_branch{part}", f"bn{stage}{letter}_branch{part}", i, o, size)
                inputs = 4 * width
        weights = {name: value.astype(np.float32) for name, value in weights.items()}

        def layer(x, name, norm, stride, padding):
            y = F.conv2d(x, torch.from_numpy(weights[f"{name}/kernel"]).permute(3, 2, 0, 1), torch.from_numpy(weights[f"{name}/bias"]), stride, padding)
            part = lambda p: torch.from_numpy(weights[f"{norm}/{p}"]).view(-1, 1, 1)
            return (y - part("moving_mean")) / (part("moving_variance") + 1e-3).sqrt() * part("gamma") + part("beta")

        images = torch.rand(1, 3, 64, 96)
        x = torch.stack([images[:, 2] * 255 - 103.939, images[:, 1] * 255 - 116.779, images[:, 0] * 255 - 123.68], 1)
        x = F.max_pool2d(layer(x, "conv1", "bn_conv1", 2, 3).relu(), 3, 2, 1)
        wanted = []
        for stage, blocks in enumerate((3, 4, 6, 3), start=2):
            for letter in "abcdef"[:blocks]:
                stride, at = (2 if stage > 2 and letter == "a" else 1), lambda part: (f"res{stage}{letter}_branch{part}", f"bn{stage}{letter}_branch{part}")
                y = layer(layer(layer(x, *at("2a"), stride, 0).relu(), *at("2b"), 1, 1).relu(), *at("2c"), 1, 0)
                x = (y + (layer(x, *at("1"), stride, 0) if letter == "a" else x)).relu()
            wanted.append(x)

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            manifest = [{"name": n, "shape": list(v.shape), "dtype": "float32"} for n, v in weights.items()]
            path.write_text(json.dumps({"weightsManifest": [{"weights": manifest}]}))
            path.with_suffix(".bin").write_bytes(b"".join(v.tobytes() for v in weights.values()))
            got = ResNetTeacher(Path(), path)(images)
        self.assertEqual([tuple(g.shape) for g in got], [(1, 1024, 4, 6), (1, 2048, 2, 3)])
        for g, w in zip(got, wanted[2:]):
            self.assertLess(float((g - w).abs().max() / w.abs().max()), 1e-4)


class TfjsGraph(unittest.TestCase):
    def graph(self, nodes, weights):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            manifest = [{"name": n, "shape": list(v.shape), "dtype": "float32" if v.dtype == np.float32 else "int32"}
                        for n, v in weights.items()]
            path.write_text(json.dumps({"modelTopology": {"node": nodes}, "weightsManifest": [{"weights": manifest}]}))
            path.with_suffix(".bin").write_bytes(b"".join(v.tobytes() for v in weights.values()))
            return Graph(path)

    def test_convolves_as_tensorflow_does(self):
        encode = lambda s: base64.b64encode(s.encode()).decode()
        kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(np.float32)  # HWIO
        nodes = [{"name": "x", "op": "Placeholder"},
                 {"name": "y", "op": "_FusedConv2D", "input": ["x", "w", "b"],
                  "attr": {"strides": {"list": {"i": ["1", "2", "2", "1"]}}, "dilations": {"list": {"i": ["1", "1", "1", "1"]}},
                           "padding": {"s": encode("SAME")}, "fused_ops": {"list": {"s": [encode("BiasAdd"), encode("Relu")]}}}}]
        graph = self.graph(nodes, {"w": kernel, "b": np.arange(4, dtype=np.float32)})
        image = torch.randn(1, 2, 6, 6)
        (y,) = graph({"x": image}, ["y"])
        # SAME with stride 2 on an even size pads one pixel, behind: output (0, 0) sees rows and columns 0 to 2.
        first = np.einsum("ihw,hwio->o", image[0, :, :3, :3].numpy(), kernel) + np.arange(4)
        self.assertEqual(tuple(y.shape), (1, 4, 3, 3))
        self.assertTrue(np.allclose(y[0, :, 0, 0].numpy(), np.maximum(first, 0), atol=1e-5))

    def test_pads_pools_and_enlarges_as_tensorflow_does(self):
        encode = lambda s: base64.b64encode(s.encode()).decode()
        nodes = [{"name": "x", "op": "Placeholder"},
                 {"name": "padded", "op": "Pad", "input": ["x", "paddings"]},
                 {"name": "pooled", "op": "MaxPool", "input": ["x"],
                  "attr": {"ksize": {"list": {"i": ["1", "3", "3", "1"]}}, "strides": {"list": {"i": ["1", "1", "1", "1"]}},
                           "padding": {"s": encode("SAME")}}},
                 {"name": "large", "op": "ResizeNearestNeighbor", "input": ["x", "size"]}]
        # NHWC: one row above, two rows below, three columns to the right.
        graph = self.graph(nodes, {"paddings": np.array([[0, 0], [1, 2], [0, 3], [0, 0]], np.int32),
                                   "size": np.array([4, 6], np.int32)})
        image = -torch.arange(1, 7.0).view(1, 1, 2, 3)  # below zero: SAME must not pool its padding
        padded, pooled, large = graph({"x": image}, ["padded", "pooled", "large"])
        self.assertEqual(tuple(padded.shape), (1, 1, 5, 6))
        self.assertTrue(torch.equal(padded[:, :, 1:3, :3], image) and padded.sum() == image.sum())
        self.assertEqual(pooled.tolist(), [[[[-1.0, -1.0, -2.0], [-1.0, -1.0, -2.0]]]])
        self.assertEqual(large[0, 0].tolist(), [[-1, -1, -2, -2, -3, -3]] * 2 + [[-4, -4, -5, -5, -6, -6]] * 2)

    def test_refuses_what_it_does_not_know(self):
        graph = self.graph([{"name": "x", "op": "Placeholder"}, {"name": "y", "op": "Einsum", "input": ["x"]}], {})
        with self.assertRaises(NotImplementedError):
            graph({"x": torch.zeros(1)}, ["y"])


if __name__ == "__main__":
    unittest.main()
