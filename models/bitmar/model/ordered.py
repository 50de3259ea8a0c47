"""Float operations in the engine's order, for exact evaluation.

The engine fixes the order of every float operation (src/kernels/kernels.h), so that all its builds agree
bit for bit. PyTorch's own order differs in the last bit, which now and then tips an activation over to the
next int8 and, layers later, a word. Inside `engine_order(model)` the model computes in the engine's order:
slower, for evaluation only.
"""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F

from .quant import computing

# Taylor coefficients of e^r, and ln 2 in two parts (src/kernels/exponential.h).
_TAYLOR = [1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5]
_LN2_HIGH, _LN2_LOW, _LOG2_E = 0.693359375, -2.12194440e-4, 1.44269504088896341


@contextlib.contextmanager
def engine_order(model):
    with computing(model, engine_order=True), torch.no_grad():
        yield model


def sum_last(x: torch.Tensor) -> torch.Tensor:
    """Sum over the last dimension: eight partial sums, element i in sum i % 8, then a fixed tree."""
    x = F.pad(x, (0, -x.shape[-1] % 8)).unflatten(-1, (-1, 8))
    s = x[..., 0, :].clone()
    for i in range(1, x.shape[-2]):
        s += x[..., i, :]
    s = [s[..., i] for i in range(8)]
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))


def dots(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """[..., n, k] and [..., m, k] -> [..., n, m]"""
    return sum_last(a[..., :, None, :] * b[..., None, :, :])


def exponential(x: torch.Tensor) -> torch.Tensor:
    n = (x * torch.tensor(_LOG2_E)).round()
    r = (x - n * _LN2_HIGH) - n * torch.tensor(_LN2_LOW)
    p = torch.full_like(r, _TAYLOR[0])
    for c in _TAYLOR[1:]:
        p = p * r + torch.tensor(c)
    p = (p * r + 1) * r + 1
    return torch.where(x < -87, torch.zeros(()), torch.ldexp(p, n.clamp_min(-126)))


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Over the last dimension; masked scores (-inf) may only stand at its end."""
    e = exponential(x - x.amax(-1, keepdim=True))
    return e / sum_last(e)[..., None]


def weighted_sum(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """[..., n, m] and [..., m, k] -> [..., n, k], one key after another"""
    out = torch.zeros((*weights.shape[:-1], values.shape[-1]))
    for j in range(values.shape[-2]):
        out += weights[..., j, None] * values[..., j, None, :]
    return out


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    inverse = 1 / (sum_last(x * x) / x.shape[-1] + eps).sqrt()
    return x * inverse[..., None] * weight


def average_pool(grid: torch.Tensor, size: int) -> torch.Tensor:
    """[..., h, w] -> [..., h / size, w / size], row by row"""
    side = grid.shape[-1] // size * size
    out = 0
    for y in range(size):
        for x in range(size):
            out = out + grid[..., y:side:size, x:side:size]
    return out / (size * size)
