"""The stage that teaches the first convolutions, as ternary ones, to imitate InceptionV3's.

They have the shape of InceptionV3's first five, so they start from its pretrained
weights; straight-through training then wins back what rounding to {-1, 0, 1} loses. Small crops are
enough: convolutions do not care.

usage: python -m bitmar.train.first_convolutions --views DIR --out first_convolutions.pt [--steps N]
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from ..data.dataset import Views
from ..model.bitmar import DEFAULT_CONFIG, FIRST_LAYERS, VisionEncoder, load_config
from ..model.quant import BitConv2d, Precision, fast_products, set_precision
from ..teachers.networks import InceptionTeacher


def warm_start(encoder: VisionEncoder, teacher: InceptionTeacher) -> None:
    """Copies the teacher's convolutions, folding batch norm into the affine and equalising rows.

    Ternary weights share one scale per matrix, so every row is brought to the same mean magnitude and
    the affine takes the difference; otherwise weak channels would round to nothing."""
    convs = [m for m in encoder.stem[:FIRST_LAYERS] if isinstance(m, BitConv2d)]
    for conv, block in zip(convs, teacher.first_convolutions()):
        weight, norm = block.conv.weight.data, block.bn
        scale = torch.rsqrt(norm.running_var + norm.eps)
        bias = norm.bias - norm.running_mean * scale
        if conv.int8_weights:  # pixels arrive as p - 128; the teacher wants p / 127.5 - 1
            bias = bias + weight.sum((1, 2, 3)) * (0.5 / 127.5) * scale
            weight = weight / 127.5
        rows = (weight.abs().mean((1, 2, 3)) / 0.05).clamp_min(1e-4)  # the teacher has dead channels
        conv.weight.data.copy_(weight / rows[:, None, None, None])
        conv.affine_scale.data.copy_(scale * rows)
        conv.affine_bias.data.copy_(bias)


def float_outputs(convs, plan, x, products: torch.dtype):
    """The same layers unquantised: the outputs to imitate, one per convolution."""
    out, index = [], 0
    for step in plan:
        if step["type"] == "conv":
            weight, scale, bias, stride, padding = convs[index]
            y = F.conv2d(x.to(products), weight, None, stride, padding).float()
            x = F.relu(y * scale[:, None, None] + bias[:, None, None])
            out.append(x)
            index += 1
        else:
            x = F.max_pool2d(x, step["kernel_size"], step["stride"], step["kernel_size"] // 2)
    return out


def student_outputs(encoder, x):
    out = []
    for step, layer in zip(encoder.plan[:FIRST_LAYERS], encoder.stem[:FIRST_LAYERS]):
        x = layer(x)
        if step["type"] == "conv":
            x = F.relu(x)
            out.append(x)
    return out


def learn(packed: Path, out: Path, cache: Path, config: dict, steps: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    products = fast_products("cpu")
    encoder = set_precision(VisionEncoder(config["vision"], config["rms_norm_eps"]), Precision(products))
    warm_start(encoder, InceptionTeacher(cache))
    plan = encoder.plan[:FIRST_LAYERS]
    reference = [(c.weight.detach().to(products).clone(), c.affine_scale.detach().clone(),
                  c.affine_bias.detach().clone(), c.stride, c.padding)
                 for c in encoder.stem[:FIRST_LAYERS] if isinstance(c, BitConv2d)]
    views = Views(packed, "train")
    first = encoder.stem[:FIRST_LAYERS]
    optimizer = torch.optim.Adam(first.parameters(), lr=2e-3, betas=(0.9, 0.99))
    started, crop, batch = time.time(), 64, 48
    for step in range(steps):
        rate = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * rate + 1e-5
        rows = torch.randint(len(views), (batch,))
        top, left = (int(v) for v in torch.randint(0, views.size - crop + 1, (2,)))
        x = views.pixels(rows, 0)[:, :, top:top + crop, left:left + crop].float() - 128
        with torch.no_grad():
            wanted = float_outputs(reference, plan, x, products)
        got = student_outputs(encoder, x)
        errors = [F.mse_loss(g, w) / w.var() for g, w in zip(got, wanted)]
        loss = 2 * errors[-1] + sum(errors[:-1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step} {time.time() - started:.0f} s unexplained variance per layer: "
                  + " ".join(f"{float(e):.3f}" for e in errors), flush=True)
        if step % 300 == 299:
            torch.save({"stem": first.state_dict(), "step": step + 1}, out)
    torch.save({"stem": first.state_dict(), "step": steps}, out)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--views", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache/teacher"))
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG)
    parser.add_argument("--steps", type=int, default=1500)
    args = parser.parse_args()
    learn(args.views, args.out, args.cache, load_config(args.config), args.steps)


if __name__ == "__main__":
    main()
