"""Runs the convolutional part of a TensorFlow.js graph model in PyTorch.

Only what image backbones need; any other operation raises NotImplementedError. Tensors are NCHW here and
NHWC in the file: constants are converted where they are used.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

ACTIVATIONS = {"Relu": F.relu, "Relu6": F.relu6, "Sigmoid": torch.sigmoid}
DTYPES = {"float32": np.float32, "int32": np.int32, "float16": np.float16, "uint8": np.uint8, "uint16": np.uint16}


def read_weights(manifest: list[dict], blob: bytes) -> dict[str, np.ndarray]:
    """A tfjs weight file's tensors; quantised ones are min + scale * code."""
    tensors, offset = {}, 0
    for entry in manifest:
        quantised = entry.get("quantization")
        dtype = np.dtype(DTYPES[quantised["dtype"] if quantised else entry["dtype"]])
        values = np.frombuffer(blob, dtype, int(np.prod(entry["shape"])), offset)
        offset += values.nbytes
        if entry["dtype"] == "float32":
            values = values.astype(np.float32)
            if quantised and quantised["dtype"] != "float16":
                values = quantised["min"] + quantised["scale"] * values
        tensors[entry["name"]] = values.reshape(entry["shape"])
    if offset != len(blob):
        raise ValueError("weight file and manifest disagree")
    return tensors


def read_model(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """The JSON of a tfjs model and its tensors; the weights lie beside it under the same name with .bin"""
    document = json.loads(path.read_text())
    manifest = [entry for group in document["weightsManifest"] for entry in group["weights"]]
    weights = read_weights(manifest, path.with_suffix(".bin").read_bytes())
    return document, {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}


def pad_same(x, kernel, stride, value=0.0):
    """TensorFlow's SAME: the output has ceil(size / stride) positions, an odd pixel of padding goes behind."""
    padding = []
    for size, k in ((x.shape[3], kernel[1]), (x.shape[2], kernel[0])):
        total = max((-(-size // stride) - 1) * stride + k - size, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding, value=value) if any(padding) else x


class Graph:
    def __init__(self, path: Path):
        """path: the model's JSON; the weights lie beside it under the same name with .bin"""
        document, self.constants = read_model(path)
        self.nodes = {node["name"]: node for node in document["modelTopology"]["node"]}

    @staticmethod
    def text(node, key):
        return base64.b64decode(node["attr"][key]["s"]).decode()

    @staticmethod
    def ints(node, key):
        return [int(i) for i in node["attr"][key]["list"].get("i", [])]

    def __call__(self, inputs: dict[str, torch.Tensor], outputs: list[str]) -> list[torch.Tensor]:
        """inputs: NCHW by node name -> the outputs, NCHW."""
        device = next(iter(inputs.values())).device
        self.constants = {name: value.to(device) for name, value in self.constants.items()}
        values = {**self.constants, **inputs}
        pending = list(outputs)
        while pending:
            name = pending[-1]
            if name in values:
                pending.pop()
                continue
            node = self.nodes[name]
            wanted = [i.split(":")[0] for i in node.get("input", []) if not i.startswith("^")]
            missing = [i for i in wanted if i not in values]
            if missing:
                pending += missing
            else:
                values[name] = self.compute(node, [values[i] for i in wanted])
        return [values[name] for name in outputs]

    def compute(self, node, x):
        op = node["op"]
        if "Conv2" in op or "Conv2d" in op:
            return self.convolve(node, x)
        if op in ACTIVATIONS:
            return ACTIVATIONS[op](x[0])
        if op in ("Add", "AddV2", "Mul", "Sub"):
            a, b = (t.view(1, -1, 1, 1) if t.dim() == 1 and t.numel() > 1 else t for t in x)
            return a * b if op == "Mul" else a - b if op == "Sub" else a + b
        if op == "Mean" and sorted(x[1].flatten().tolist()) == [1, 2]:
            return x[0].mean((2, 3), keepdim=True)
        if op == "ConcatV2":
            return torch.cat(x[:-1], 1)
        if op == "Pad":
            (top, bottom), (left, right) = x[1].tolist()[1:3]
            return F.pad(x[0], (left, right, top, bottom))
        if op == "MaxPool":
            window, stride = self.ints(node, "ksize")[1:3], self.ints(node, "strides")[1]
            image = pad_same(x[0], window, stride, -math.inf) if self.text(node, "padding") == "SAME" else x[0]
            return F.max_pool2d(image, window, stride)
        if op == "ResizeNearestNeighbor":  # of these models: up by two
            return F.interpolate(x[0], scale_factor=2, mode="nearest")
        if op == "ResizeBilinear":  # likewise
            return F.interpolate(x[0], scale_factor=2, mode="bilinear", align_corners=False)
        if op == "Identity":
            return x[0]
        raise NotImplementedError(f"{node['name']}: {op}")

    def convolve(self, node, x):
        weight, stride = x[1], self.ints(node, "strides")[1]
        if max(self.ints(node, "dilations") or [1]) > 1:
            raise NotImplementedError(f"{node['name']}: dilation")
        height, width, inputs = weight.shape[:3]
        if "Depthwise" in node["op"]:
            weight, groups = weight.permute(2, 3, 0, 1).reshape(-1, 1, height, width), inputs
        else:
            weight, groups = weight.permute(3, 2, 0, 1), 1
        image = pad_same(x[0], (height, width), stride) if self.text(node, "padding") == "SAME" else x[0]
        y = F.conv2d(image, weight.contiguous(), x[2] if len(x) > 2 else None, stride, groups=groups)
        for fused in node["attr"].get("fused_ops", {}).get("list", {}).get("s", []):
            name = base64.b64decode(fused).decode()
            if name != "BiasAdd":
                y = ACTIVATIONS[name](y)
        return y
