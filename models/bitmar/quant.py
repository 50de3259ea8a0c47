"""Ternary and int8 layers (BitNet b1.58, arXiv 2402.17764), simulated for training.

The forward pass computes what the engine computes: integer activations times ternary weights,
accumulated exactly, then scaled. The backward pass is the straight-through estimator: gradients
flow as if neither side had been rounded. Products run in `matmul_dtype`; bfloat16 holds every
integer in [-127, 127] exactly, so only the product's output is rounded there. float32 is exact as
long as the accumulators stay below 2^24, which every shape of this model does.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

EPS = 1e-5
matmul_dtype = torch.float32
ternary = True  # False trains the same architecture in float, to price the ternary weights.


def quantize_weight(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """t in {-1, 0, 1} and gamma = mean|W| (>= 1e-5); the layer's weight is gamma * t."""
    gamma = w.abs().mean().clamp_min(EPS)
    return (w / gamma).round_().clamp_(-1, 1), gamma


def quantize_activation(x: torch.Tensor, dims=-1) -> tuple[torch.Tensor, torch.Tensor]:
    """q = round-to-nearest-even(x / s) in [-127, 127], s = max|x| / 127 over `dims`, clamped to >= 1e-5 / 127."""
    if dims == -1:  # one pass; a norm over infinity takes far longer
        low, high = torch.aminmax(x, dim=-1, keepdim=True)
        largest = torch.maximum(high, -low)
    else:
        largest = x.abs().amax(dims, keepdim=True)
    s = largest.clamp_min(EPS) / 127
    return (x / s).round_(), s


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b in matmul_dtype, returned as float32 (attention's products)."""
    return (a.to(matmul_dtype) @ b.to(matmul_dtype)).float()


class _BitLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        t, gamma = quantize_weight(w)
        q, s = quantize_activation(x)
        t, q = t.to(matmul_dtype), q.to(matmul_dtype)
        ctx.save_for_backward(q, s, t, gamma)
        return F.linear(q, t).float() * (s * gamma)

    @staticmethod
    def backward(ctx, grad):
        q, s, t, gamma = ctx.saved_tensors
        gx = ((grad * gamma).to(matmul_dtype) @ t).float() if ctx.needs_input_grad[0] else None
        scaled = (grad * s).to(matmul_dtype).flatten(0, -2)
        gw = (scaled.t() @ q.flatten(0, -2)).float() if ctx.needs_input_grad[1] else None
        return gx, gw


class BitLinear(nn.Module):
    """y = (q . t^T) * s * gamma for x [..., in]; no bias."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * inputs**-0.5)
        self.fixed: tuple[torch.Tensor, torch.Tensor] | None = None  # t and gamma of an exported model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fixed is not None:
            t, gamma = self.fixed
            q, s = quantize_activation(x)
            return F.linear(q, t) * (s * gamma)
        if not ternary:
            return F.linear(x.to(matmul_dtype), self.weight.to(matmul_dtype)).float()
        return _BitLinear.apply(x, self.weight)


class _BitConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, stride, padding):
        t, gamma = quantize_weight(w)
        q, s = quantize_activation(x, (1, 2, 3))
        t, q = t.to(matmul_dtype), q.to(matmul_dtype)
        ctx.save_for_backward(q, s, t, gamma)
        ctx.geometry = (stride, padding)
        return F.conv2d(q, t, None, stride, padding).float() * (s * gamma)

    @staticmethod
    def backward(ctx, grad):
        q, s, t, gamma = ctx.saved_tensors
        stride, padding = ctx.geometry
        scaled = (grad * s).to(matmul_dtype)
        gx, gw, _ = torch.ops.aten.convolution_backward(
            scaled, q, t, None, (stride, stride), (padding, padding), (1, 1), False, (0, 0), 1,
            (ctx.needs_input_grad[0], ctx.needs_input_grad[1], False))
        # The product was scaled by s for the weights; the input's gradient wants gamma instead.
        gx = gx.float() * (gamma / s) if gx is not None else None
        return gx, None if gw is None else gw.float(), None, None


class BitConv2d(nn.Module):
    """Ternary convolution and a float affine per channel (a folded batch norm).

    All patches of a map share its pixels, so the activation scale is one per image, not per patch.
    `int8_weights` keeps per-channel int8 weights and takes raw pixels: the engine's first layer.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, int8_weights: bool = False):
        super().__init__()
        self.stride, self.padding, self.int8_weights = stride, kernel // 2, int8_weights
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel) * (inputs * kernel**2) ** -0.5)
        self.affine_scale = nn.Parameter(torch.ones(outputs))
        self.affine_bias = nn.Parameter(torch.zeros(outputs))
        self.fixed: tuple[torch.Tensor, torch.Tensor] | None = None  # integers and scale of an exported model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fixed is not None:
            weight, scale = self.fixed  # scale is a number, or one per channel for int8 weights
            q, s = (x, 1.0) if self.int8_weights else quantize_activation(x, (1, 2, 3))
            y = F.conv2d(q, weight, None, self.stride, self.padding) * (s * scale.view(-1, 1, 1))
        elif self.int8_weights:
            # x holds pixels - 128: already int8, no activation scale.
            w = fake_int8_rows(self.weight.flatten(1)).view_as(self.weight)
            y = F.conv2d(x, w, None, self.stride, self.padding)
        elif ternary:
            y = _BitConv.apply(x, self.weight, self.stride, self.padding)
        else:
            y = F.conv2d(x.to(matmul_dtype), self.weight.to(matmul_dtype), None, self.stride, self.padding).float()
        return y * self.affine_scale[:, None, None] + self.affine_bias[:, None, None]


def round_weights(model: nn.Module) -> None:
    """Ternary layers' weights become gamma * t, what they are multiplied with."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, BitLinear) or isinstance(layer, BitConv2d) and not layer.int8_weights:
                t, gamma = quantize_weight(layer.weight)
                layer.weight.copy_(t * gamma)


def quantize_int8_rows(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Per-row int8: q [rows, n] in [-127, 127] and scale [rows, 1], row = q * scale."""
    scale = w.abs().amax(1, keepdim=True).clamp_min(EPS) / 127
    return (w / scale).round().clamp(-127, 127), scale


def fake_int8_rows(w: torch.Tensor) -> torch.Tensor:
    q, scale = quantize_int8_rows(w.detach())
    return w + (q * scale - w).detach() if ternary else w


class _Int8Head(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        qx, sx = quantize_activation(x)
        qw, sw = quantize_int8_rows(w)
        qx, qw = qx.to(matmul_dtype), qw.to(matmul_dtype)
        ctx.save_for_backward(qx, sx, qw, sw)
        return F.linear(qx, qw).float() * sx * sw.t()

    @staticmethod
    def backward(ctx, grad):
        qx, sx, qw, sw = ctx.saved_tensors
        gx = ((grad * sw.t()).to(matmul_dtype) @ qw).float()
        gw = ((grad * sx).to(matmul_dtype).flatten(0, -2).t() @ qx.flatten(0, -2)).float()
        return gx, gw


def int8_head(x: torch.Tensor, w: torch.Tensor, fixed=None) -> torch.Tensor:
    """Logits [..., rows] = int8(x) . int8(w)^T, scaled back; w is the tied embedding table.

    fixed: the integers and row scales of an exported model, in place of w."""
    if fixed is not None:
        q, s = quantize_activation(x)
        return F.linear(q, fixed[0]) * (s * fixed[1].t())
    return _Int8Head.apply(x, w) if ternary else F.linear(x, w)
