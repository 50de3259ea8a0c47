"""Ternary and int8 layers (BitNet b1.58, arXiv 2402.17764), simulated for training.

The forward pass computes what the engine computes: integer activations times ternary weights,
accumulated exactly, then scaled. The backward pass is the straight-through estimator: gradients
flow as if neither side had been rounded. How a model computes is its Precision. bfloat16 holds every
integer in [-127, 127] exactly, so only the product's output is rounded there. float32 is exact as
long as the accumulators stay below 2^24, which every shape of this model does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

EPS = 1e-5
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclasses.dataclass(frozen=True)
class Precision:
    """How a layer computes. set_precision gives all layers of a model the same one; set_bits then changes the bits of some."""

    products: torch.dtype = torch.float32  # what operands of matrix products are rounded to
    ternary: bool = True  # False: the same architecture in float, to price the ternary weights
    bits: int | None = None  # of weights that are not to be ternary, with a scale for each output (of the embedding: 8 where none are given)
    engine_order: bool = False  # float operations in the engine's order (ordered.py): for evaluation, slowly


class Layer(nn.Module):
    """A module whose result depends on the precision. Exact unless told otherwise."""

    precision = Precision()


def set_precision(model: nn.Module, precision: Precision) -> nn.Module:
    """Of a model or a part of one, all layers in it; returns it."""
    for module in model.modules():
        if isinstance(module, Layer):
            module.precision = precision
    return model


@contextlib.contextmanager
def computing(model: nn.Module, **changes):
    """The model with a precision that differs in these fields, until the end of the block."""
    before = [(module, module.precision) for module in model.modules() if isinstance(module, Layer)]
    for module, precision in before:
        module.precision = dataclasses.replace(precision, **changes)
    try:
        yield model
    finally:
        for module, precision in before:
            module.precision = precision


def fast_products(device) -> torch.dtype:
    """What products are fastest in on a device. A CPU without instructions for bfloat16 takes about eight times as long with it as with
    float32."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16
    flags: set[str] = set()
    if hasattr(getattr(torch, "cpu", None), "get_capabilities"):
        flags = {name for name, has in torch.cpu.get_capabilities().items() if has is True}
    else:  # an older PyTorch: by the kernel, where it tells
        with contextlib.suppress(OSError):
            flags = set(Path("/proc/cpuinfo").read_text().split())
    return torch.bfloat16 if flags & BFLOAT16_FLAGS else torch.float32


def quantize_weight(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """t in {-1, 0, 1} and gamma = mean|W| (>= 1e-5); the layer's weight is gamma * t."""
    gamma = w.abs().mean().clamp_min(EPS)
    return (w / gamma).round_().clamp_(-1, 1), gamma


def rounded_weight(w: torch.Tensor, bits: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a matrix [out, in] or convolution [out, in, h, w]: integers and their scale, one number for ternary weights, or [out] for those of so many bits"""
    if bits is None:
        return quantize_weight(w)
    q, scale = quantize_rows(w.flatten(1), bits)
    return q.view_as(w), scale[:, 0]


def quantize_activation(x: torch.Tensor, dims=-1) -> tuple[torch.Tensor, torch.Tensor]:
    """q = round-to-nearest-even(x / s) in [-127, 127], s = max|x| / 127 over `dims`, clamped to >= 1e-5 / 127."""
    if dims == -1:  # one pass; a norm over infinity takes far longer
        low, high = torch.aminmax(x, dim=-1, keepdim=True)
        largest = torch.maximum(high, -low)
    else:
        largest = x.abs().amax(dims, keepdim=True)
    s = largest.clamp_min(EPS) / 127
    return (x / s).round_(), s


def product(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """a @ b in this type, returned as float32 (attention's products)."""
    return (a.to(dtype) @ b.to(dtype)).float()


class _BitLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, dtype, bits):
        t, gamma = rounded_weight(w, bits)
        q, s = quantize_activation(x)
        t, q = t.to(dtype), q.to(dtype)
        ctx.save_for_backward(q, s, t, gamma)
        return F.linear(q, t).float() * (s * gamma)

    @staticmethod
    def backward(ctx, grad):
        q, s, t, gamma = ctx.saved_tensors
        gx = ((grad * gamma).to(q.dtype) @ t).float() if ctx.needs_input_grad[0] else None
        scaled = (grad * s).to(q.dtype).flatten(0, -2)
        gw = (scaled.t() @ q.flatten(0, -2)).float() if ctx.needs_input_grad[1] else None
        return gx, gw, None, None


class BitLinear(Layer):
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
        dtype = self.precision.products
        if not self.precision.ternary:
            return F.linear(x.to(dtype), self.weight.to(dtype)).float()
        return _BitLinear.apply(x, self.weight, dtype, self.precision.bits)


@contextlib.contextmanager
def rounded_once(model: nn.Module):
    """The model's linear layers with their weights rounded now, until the end of the block: for many calls without gradients"""
    layers = [layer for layer in model.modules() if isinstance(layer, BitLinear) and layer.precision.ternary and layer.fixed is None]
    for layer in layers:
        layer.fixed = rounded_weight(layer.weight.detach(), layer.precision.bits)
    try:
        yield model
    finally:
        for layer in layers:
            layer.fixed = None


class _BitConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, stride, padding, dtype, bits):
        t, gamma = rounded_weight(w, bits)
        q, s = quantize_activation(x, (1, 2, 3))
        t, q, gamma = t.to(dtype), q.to(dtype), gamma.view(-1, 1, 1)
        ctx.save_for_backward(q, s, t, gamma)
        ctx.geometry = (stride, padding)
        return F.conv2d(q, t, None, stride, padding).float() * (s * gamma)

    @staticmethod
    def backward(ctx, grad):
        q, s, t, gamma = ctx.saved_tensors
        stride, padding = ctx.geometry
        wants_x, wants_w = ctx.needs_input_grad[:2]
        scale_per_output = len(gamma) > 1
        def back(scaled, wanted):
            return torch.ops.aten.convolution_backward(
                scaled.to(q.dtype), q, t, None, (stride, stride), (padding, padding), (1, 1), False, (0, 0), 1, (*wanted, False))
        # This pass scales by s, which the weights need. The input needs gamma: afterwards if it is one number, before the sum over outputs, in a
        # second pass, if each output has its own.
        gx, gw, _ = back(grad * s, (wants_x and not scale_per_output, wants_w))
        if scale_per_output and wants_x:
            gx = back(grad * gamma, (True, False))[0].float()
        elif gx is not None:
            gx = gx.float() * (gamma / s)
        return gx, None if gw is None else gw.float(), None, None, None, None


class BitConv2d(Layer):
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
        dtype, ternary = self.precision.products, self.precision.ternary
        if self.fixed is not None:
            weight, scale = self.fixed  # scale is a number, or one per channel for int8 weights
            q, s = (x, 1.0) if self.int8_weights else quantize_activation(x, (1, 2, 3))
            y = F.conv2d(q, weight, None, self.stride, self.padding) * (s * scale.view(-1, 1, 1))
        elif self.int8_weights:
            # x holds pixels - 128: already int8, no activation scale.
            w = (fake_quantized_rows(self.weight.flatten(1)) if ternary else self.weight.flatten(1)).view_as(self.weight)
            y = F.conv2d(x, w, None, self.stride, self.padding)
        elif ternary:
            y = _BitConv.apply(x, self.weight, self.stride, self.padding, dtype, self.precision.bits)
        else:
            y = F.conv2d(x.to(dtype), self.weight.to(dtype), None, self.stride, self.padding).float()
        return y * self.affine_scale[:, None, None] + self.affine_bias[:, None, None]


def round_weights(model: nn.Module, *, only_other_bits=False) -> None:
    """Ternary layers' weights become gamma * t, what they are multiplied with. For weights that quantise to t, and once: a second time makes them
    smaller. only_other_bits: those of layers that set_bits changed; all others stay as they are."""
    with torch.no_grad():
        for layer in model.modules():
            if only_other_bits and getattr(layer, "precision", Precision()).bits is None:
                continue
            if isinstance(layer, BitLinear) or isinstance(layer, BitConv2d) and not layer.int8_weights:
                t, gamma = quantize_weight(layer.weight)
                layer.weight.copy_(t * gamma)


def quantize_rows(w: torch.Tensor, bits: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers q [rows, n] from -(2^(bits - 1) - 1) to 2^(bits - 1) - 1 and a scale per row [rows, 1]; row = q * scale."""
    most = 2 ** (bits - 1) - 1
    scale = w.abs().amax(1, keepdim=True).clamp_min(EPS) / most
    return (w / scale).round().clamp(-most, most), scale


def fake_quantized_rows(w: torch.Tensor, bits: int = 8) -> torch.Tensor:
    q, scale = quantize_rows(w.detach(), bits)
    return w + (q * scale - w).detach()


def set_bits(model: nn.Module, bits: dict[str, int]) -> nn.Module:
    """Gives some weights another precision, to measure what a hybrid would gain. Keys are patterns of layers' names ("decoder.layers.0.*") or
    "embedding"; values are 2 to 8 bits. Returns the model. This is a simulation: the engine cannot run such a model."""
    for pattern, each in bits.items():
        if pattern == "embedding":
            layers = [model]
        else:
            layers = [layer for name, layer in model.named_modules()
                      if isinstance(layer, (BitLinear, BitConv2d)) and not getattr(layer, "int8_weights", False) and fnmatch.fnmatchcase(name, pattern)]
        if not layers or not 2 <= each <= 8:
            raise SystemExit(f"bits: {pattern} = {each}: a pattern of layers' names and 2 to 8 bits are wanted")
        for layer in layers:
            layer.precision = dataclasses.replace(layer.precision, bits=each)
    return model


class _Int8Head(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, dtype, bits):
        qx, sx = quantize_activation(x)
        qw, sw = quantize_rows(w, bits or 8)
        qx, qw = qx.to(dtype), qw.to(dtype)
        ctx.save_for_backward(qx, sx, qw, sw)
        return F.linear(qx, qw).float() * sx * sw.t()

    @staticmethod
    def backward(ctx, grad):
        qx, sx, qw, sw = ctx.saved_tensors
        gx = ((grad * sw.t()).to(qw.dtype) @ qw).float()
        gw = ((grad * sx).to(qx.dtype).flatten(0, -2).t() @ qx.flatten(0, -2)).float()
        return gx, gw, None, None


def int8_logits(x: torch.Tensor, w: torch.Tensor, precision: Precision, fixed=None) -> torch.Tensor:
    """Logits [..., rows] = int8(x) . int8(w)^T, scaled back; w is the tied embedding table.

    fixed: the integers and row scales of an exported model, in place of w."""
    if fixed is not None:
        q, s = quantize_activation(x)
        return F.linear(q, fixed[0]) * (s * fixed[1].t())
    return _Int8Head.apply(x, w, precision.products, precision.bits) if precision.ternary else F.linear(x, w)
