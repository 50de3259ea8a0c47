"""Learning from many texts at once: what bitmar.py computes text by text, with every layer applied once to the tokens of all of them.

A step of training knows a dozen batches of texts (captions, prompts, questions, answers, lines), of which each is too short for its products to
outweigh what is done around them. Here the tokens of all lie one after another in one matrix. Weights are rounded once a step, and what is done
to every element between two products is one pass where functions are compiled (torch.compile; see `compiling`). Attention alone is computed
part by part: texts of like lengths. Gradients are those of quant.py: straight through the rounding.

tests/python/test_packed.py compares it with bitmar.py.
"""

from __future__ import annotations

from typing import Callable, Sequence

import torch
import torch.nn.functional as F

from .bitmar import BitMar, Decoder, FeedForward, Fusion, RMSNorm, TextEncoder, rope_tables
from .quant import EPS, BitLinear, fake_quantized_rows, quantize_rows, rounded_weight


class Pass:
    """A function of one pass over its operands, once it is compiled."""

    compiled = False

    def __init__(self, function: Callable):
        self.plain, self.fast = function, None

    def __call__(self, *operands):
        if not Pass.compiled:
            return self.plain(*operands)
        if self.fast is None:
            self.fast = torch.compile(self.plain, dynamic=True)
        return self.fast(*operands)


def compiling(wanted: bool) -> None:
    """Whether passes are compiled from now on. A length of one is compiled apart from others."""
    Pass.compiled = wanted
    if wanted:
        for limit in ("cache_size_limit", "recompile_limit"):  # its older name and its newer
            if hasattr(torch._dynamo.config, limit):
                setattr(torch._dynamo.config, limit, 64)


def rounded(x: torch.Tensor, dtype: torch.dtype, ternary: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers and the scale of each row; of a model in float, x as it is and ones"""
    if not ternary:
        return x.to(dtype), torch.ones_like(x[..., :1])
    s = x.abs().amax(-1, keepdim=True).clamp_min(EPS) / 127
    return (x / s).round().to(dtype), s


def scaled(y: torch.Tensor, s: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    return y.float() * (s * gamma)


def both(grad: torch.Tensor, s: torch.Tensor, gamma: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """What the input's gradient and the weights' are products of"""
    return (grad * gamma).to(dtype), (grad * s).to(dtype)


@Pass
def rounding(x, dtype, ternary: bool):
    return rounded(x.float(), dtype, ternary)


@Pass
def norm_rounding(x, weight, eps: float, dtype, ternary: bool):
    x = x.float()
    inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return *rounded(x * inverse * weight, dtype, ternary), inverse


@Pass
def scaling(y, s, gamma):
    return scaled(y, s, gamma)


@Pass
def scaling_to(y, s, gamma, dtype):
    return scaled(y, s, gamma).to(dtype)


@Pass
def gradients(grad, s, gamma, dtype):
    return both(grad.float(), s, gamma, dtype)


@Pass
def norm_gradient(grad, x, inverse, weight):
    """Of x and of the norm's weight"""
    grad, normed = grad.float(), x.float() * inverse
    along = grad * weight
    return (along - normed * (along * normed).mean(-1, keepdim=True)) * inverse, (grad * normed).sum(0)


@Pass
def square_norm_rounding(y, s, gamma, weight, eps: float, dtype, ternary: bool):
    """Of relu(y * s * gamma)^2"""
    squared = scaled(y, s, gamma).relu().square()
    inverse = torch.rsqrt(squared.square().mean(-1, keepdim=True) + eps)
    return *rounded(squared * inverse * weight, dtype, ternary), inverse


@Pass
def square_norm_gradients(grad, y, s, gamma, weight, inverse, dtype):
    """What precedes square_norm_rounding: the two of `gradients`, and that of the norm's weight"""
    grad, r = grad.float(), scaled(y, s, gamma).relu()
    normed = r.square() * inverse
    along = grad * weight
    own = (along - normed * (along * normed).mean(-1, keepdim=True)) * inverse * 2 * r
    return *both(own, s, gamma, dtype), (grad * normed).sum(0)


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [N, H, 2, d / H / 2] by cos and sin [N, 1, 1, d / H / 2]"""
    a, b = x.unbind(2)
    return torch.stack([a * cos[:, :, 0] - b * sin[:, :, 0], b * cos[:, :, 0] + a * sin[:, :, 0]], 2)


@Pass
def turning(y, s, gamma, cos, sin, heads: int, dtype):
    """Queries and keys turned by their positions, values, and queries as they are: of y [N, 3 d], each [N, d]"""
    q, k, v = scaled(y, s, gamma).chunk(3, -1)
    shape = (len(y), heads, 2, -1)
    return turned(q.view(shape), cos, sin).flatten(1).to(dtype), turned(k.view(shape), cos, sin).flatten(1).to(dtype), v.to(dtype), q.to(dtype)


@Pass
def turning_gradients(gq, gk, gv, g, s, gamma, cos, sin, heads: int, dtype):
    shape = (len(gq), heads, 2, -1)
    back = lambda grad: turned(grad.float().view(shape), cos, -sin).flatten(1)
    return both(torch.cat([back(gq) + g.float(), back(gk), gv.float()], -1), s, gamma, dtype)


@Pass
def softmax(scores, scale: float, dtype):
    return (scores.float() * scale).softmax(-1).to(dtype)


@Pass
def masked_softmax(scores, mask, scale: float, dtype):
    return (scores.float() * scale + mask).softmax(-1).to(dtype)


@Pass
def softmax_gradient(grad, p, scale: float, dtype):
    grad, p = grad.float(), p.float()
    return (p * (grad - (grad * p).sum(-1, keepdim=True)) * scale).to(dtype)


@Pass
def surprise(y, s, scale, targets, smoothing):
    """Of each row of logits y * s * scale, label-smoothed cross entropy and the logarithm of the sum of exponentials"""
    logits = y.float() * s * scale
    total = logits.logsumexp(-1, keepdim=True)
    own = logits.gather(1, targets)
    return total - (1 - smoothing) * own - smoothing * logits.mean(-1, keepdim=True), total


@Pass
def surprise_gradients(grad, y, s, scale, targets, smoothing, total, dtype):
    p = (y.float() * s * scale - total).exp() - smoothing / y.shape[1]
    own = torch.arange(y.shape[1], device=y.device) == targets
    return both(grad * torch.where(own, p - (1 - smoothing), p), s, scale, dtype)


@Pass
def taught_surprise(y, s, scale, targets, taught, share: float):
    """As `surprise`, with labels that are a share of the probabilities `taught` and else the targets"""
    logits = y.float() * s * scale
    total = logits.logsumexp(-1, keepdim=True)
    own = logits.gather(1, targets)
    return total - (1 - share) * own - share * (taught.float() * logits).sum(-1, keepdim=True), total


@Pass
def taught_surprise_gradients(grad, y, s, scale, targets, taught, share: float, total, dtype):
    p = (y.float() * s * scale - total).exp() - share * taught.float()
    own = torch.arange(y.shape[1], device=y.device) == targets
    return both(grad * torch.where(own, p - (1 - share), p), s, scale, dtype)


@Pass
def next_tokens(y, s, scale, dtype):
    return (y.float() * s * scale).softmax(-1).to(dtype)


def together(layers: Sequence[BitLinear], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [sum of outputs, in] of layers with the same input, and the scale of each output"""
    if not layers[0].precision.ternary:
        weights = torch.cat([layer.weight.detach() for layer in layers])
        return weights.to(dtype), torch.ones_like(weights[:, 0])
    rounded = [rounded_weight(layer.weight.detach(), layer.precision.bits) for layer in layers]
    return (torch.cat([t.to(dtype) for t, _ in rounded]), torch.cat([gamma.expand(len(t)) for t, gamma in rounded]))


def weight_gradients(scaled: torch.Tensor, q: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, ...]:
    return (scaled.t() @ q).float().split(sizes)


class _Linear(torch.autograd.Function):
    """Layers with one input x [N, in], after a norm or none: [N, sum of outputs]"""

    @staticmethod
    def forward(ctx, x, norm, eps, layers, dtype, out, *weights):
        t, gamma = together(layers, dtype)
        ternary = layers[0].precision.ternary
        q, s, *inverse = rounding(x, dtype, ternary) if norm is None else norm_rounding(x, norm, eps, dtype, ternary)
        ctx.save_for_backward(x, norm, q, s, t, gamma, *inverse)
        ctx.sizes, ctx.dtype = [len(w) for w in weights], dtype
        y = q @ t.t()
        return scaling(y, s, gamma) if out is torch.float32 else scaling_to(y, s, gamma, out)

    @staticmethod
    def backward(ctx, grad):
        x, norm, q, s, t, gamma, *inverse = ctx.saved_tensors
        a, b = gradients(grad, s, gamma, ctx.dtype)
        gx, gnorm = a @ t, None
        if norm is not None:
            gx, gnorm = norm_gradient(gx, x, *inverse, norm)
        return gx.to(x.dtype), gnorm, None, None, None, None, *weight_gradients(b, q, ctx.sizes)


def linear(x, layers: Sequence[BitLinear], norm: RMSNorm | None = None, out=torch.float32):
    dtype = layers[0].precision.products
    return _Linear.apply(x, None if norm is None else norm.weight, 0.0 if norm is None else norm.eps, layers, dtype, out, *[layer.weight for layer in layers])


class _Turned(torch.autograd.Function):
    """Norm, projections to queries, keys and values, and rotary positions"""

    @staticmethod
    def forward(ctx, x, norm, eps, layers, dtype, cos, sin, heads, *weights):
        t, gamma = together(layers, dtype)
        q, s, inverse = norm_rounding(x, norm, eps, dtype, layers[0].precision.ternary)
        ctx.save_for_backward(x, norm, q, s, t, gamma, inverse, cos, sin)
        ctx.sizes, ctx.dtype, ctx.heads = [len(w) for w in weights], dtype, heads
        return turning(q @ t.t(), s, gamma, cos, sin, heads, dtype)

    @staticmethod
    def backward(ctx, *grads):
        x, norm, q, s, t, gamma, inverse, cos, sin = ctx.saved_tensors
        a, b = turning_gradients(*[g.contiguous() for g in grads], s, gamma, cos, sin, ctx.heads, ctx.dtype)
        gx, gnorm = norm_gradient(a @ t, x, inverse, norm)
        return gx, gnorm, None, None, None, None, None, None, *weight_gradients(b, q, ctx.sizes)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, norm, eps, sub_norm, sub_eps, layers, dtype, up, down):
        (t1, gamma1), (t2, gamma2) = (together([layer], dtype) for layer in layers)
        ternary = layers[0].precision.ternary
        q1, s1, inverse1 = norm_rounding(x, norm, eps, dtype, ternary)
        y = q1 @ t1.t()
        q2, s2, inverse2 = square_norm_rounding(y, s1, gamma1, sub_norm, sub_eps, dtype, ternary)
        ctx.save_for_backward(x, norm, sub_norm, q1, s1, inverse1, t1, gamma1, y, q2, s2, inverse2, t2, gamma2)
        ctx.dtype = dtype
        return scaling(q2 @ t2.t(), s2, gamma2)

    @staticmethod
    def backward(ctx, grad):
        x, norm, sub_norm, q1, s1, inverse1, t1, gamma1, y, q2, s2, inverse2, t2, gamma2 = ctx.saved_tensors
        a, b = gradients(grad, s2, gamma2, ctx.dtype)
        gdown = (b.t() @ q2).float()
        a, b, gsub = square_norm_gradients(a @ t2, y, s1, gamma1, sub_norm, inverse2, ctx.dtype)
        gx, gnorm = norm_gradient(a @ t1, x, inverse1, norm)
        return gx, gnorm, None, gsub, None, None, None, (b.t() @ q1).float(), gdown


def feed_forward(x, norm: RMSNorm, ffn: FeedForward):
    layers = (ffn.up_proj, ffn.down_proj)
    return _FeedForward.apply(x, norm.weight, norm.eps, ffn.sub_norm.weight, ffn.sub_norm.eps, layers, ffn.up_proj.precision.products, *[layer.weight for layer in layers])


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, mask, scale):
        p = softmax(scores, scale, scores.dtype) if mask is None else masked_softmax(scores, mask, scale, scores.dtype)
        ctx.save_for_backward(p)
        ctx.scale = scale
        return p

    @staticmethod
    def backward(ctx, grad):
        p, = ctx.saved_tensors
        return softmax_gradient(grad, p, ctx.scale, grad.dtype), None, None


def head_of(table: torch.Tensor, dtype: torch.dtype, ternary: bool, bits: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The table as what states are multiplied with, and the scale [1, V] of its rows"""
    t, scale = quantize_rows(table.detach(), bits or 8) if ternary else (table.detach(), torch.ones_like(table[:, :1]))
    return t.to(dtype), scale.t().contiguous()


class _Surprise(torch.autograd.Function):
    """Cross entropy [N] of the next tokens, from the decoder's states before its last norm"""

    @staticmethod
    def forward(ctx, x, norm, eps, table, targets, smoothing, taught, share, dtype, ternary, bits):
        q, s, inverse = norm_rounding(x, norm, eps, dtype, ternary)
        t, scale = head_of(table, dtype, ternary, bits)
        y, targets = q @ t.t(), targets[:, None]
        if taught is None:
            smoothing = smoothing[:, None]
            loss, total = surprise(y, s, scale, targets, smoothing)
        else:
            loss, total = taught_surprise(y, s, scale, targets, taught, share)
        ctx.save_for_backward(x, norm, q, s, inverse, t, scale, y, targets, smoothing, taught, total)
        ctx.dtype, ctx.share = dtype, share
        return loss[:, 0]

    @staticmethod
    def backward(ctx, grad):
        x, norm, q, s, inverse, t, scale, y, targets, smoothing, taught, total = ctx.saved_tensors
        if taught is None:
            a, b = surprise_gradients(grad[:, None], y, s, scale, targets, smoothing, total, ctx.dtype)
        else:
            a, b = taught_surprise_gradients(grad[:, None], y, s, scale, targets, taught, ctx.share, total, ctx.dtype)
        gx, gnorm = norm_gradient(a @ t, x, inverse, norm)
        return gx, gnorm, None, (b.t() @ q).float(), None, None, None, None, None, None, None


class Rows(torch.autograd.Function):
    """Rows [..., d] of a matrix by their numbers; gradients of rows taken several times are added in float32"""

    @staticmethod
    def forward(ctx, x, rows):
        ctx.save_for_backward(rows)
        ctx.shape = x.shape
        return x[rows]

    @staticmethod
    def backward(ctx, grad):
        rows, = ctx.saved_tensors
        out = torch.zeros(ctx.shape, device=grad.device)
        return out.index_add_(0, rows.flatten(), grad.reshape(-1, ctx.shape[1]).float()).to(grad.dtype), None


class Part:
    """Texts of like lengths: tokens [B, n], padded, whose states are rows `first` and after of the matrix of all."""

    def __init__(self, tokens: torch.Tensor, pad: int):
        self.tokens, self.keep, self.first = tokens, tokens != pad, 0

    def rows(self) -> torch.Tensor:
        """[B, n]: the row of each token"""
        return self.first + torch.arange(self.tokens.numel(), device=self.tokens.device).view(self.tokens.shape)

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """[B, n, ...] of the matrix [N, ...] of all parts"""
        return x[self.first:self.first + self.tokens.numel()].unflatten(0, self.tokens.shape)


def laid_out(parts: Sequence[Part]) -> torch.Tensor:
    """Tokens [N] of all parts, which then know where theirs are"""
    first = 0
    for part in parts:
        part.first, first = first, first + part.tokens.numel()
    return torch.cat([part.tokens.flatten() for part in parts])


def positions(parts: Sequence[Part], head_size: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [N, 1, 1, head_size / 2]"""
    device = parts[0].tokens.device
    place = torch.cat([torch.arange(part.tokens.shape[1], device=device).repeat(len(part.tokens)) for part in parts])
    longest = max(part.tokens.shape[1] for part in parts)
    return tuple(table[place][:, None, None] for table in rope_tables(torch.arange(longest, device=device), head_size, theta))


def attended(scores, values, mask, scale: float):
    """scores [B, H, n, k], values [B, k, H, d / H], mask [B, 1, n, k] or None -> [B n, d]"""
    p = _Softmax.apply(scores, mask, scale)
    return (p @ values.transpose(1, 2)).transpose(1, 2).flatten(2).flatten(0, 1)


def similarities(q, k):
    """[B, n, H, d / H] and [B, k, H, d / H] -> [B, H, n, k]"""
    return q.transpose(1, 2) @ k.permute(0, 2, 3, 1)


def heads_of(part: Part, x, heads: int):
    return part.of(x).unflatten(-1, (heads, -1))


def dropped(x, share: float, training: bool):
    return F.dropout(x, share, training) if share else x


def encode(encoder: TextEncoder, x, parts: Sequence[Part]):
    """As TextEncoder.forward, of embeddings x [N, d] of all parts"""
    cos, sin = positions(parts, encoder.head_size, encoder.theta)
    masks = [torch.zeros(part.keep.shape, device=x.device).masked_fill_(~part.keep, float("-inf"))[:, None, None].repeat(1, 1, part.keep.shape[1], 1) for part in parts]
    for layer in encoder.layers:
        a, scale = layer.attention, encoder.head_size ** -0.5
        layers = (a.q_proj, a.k_proj, a.v_proj)
        norm = layer.attention_norm
        q, k, v, _ = _Turned.apply(x, norm.weight, norm.eps, layers, a.q_proj.precision.products, cos, sin, a.heads, *[each.weight for each in layers])
        context = torch.cat([attended(similarities(heads_of(part, q, a.heads), heads_of(part, k, a.heads)), heads_of(part, v, a.heads), mask, scale)
                           for part, mask in zip(parts, masks)])
        x = x + linear(context, (a.o_proj,), a.sub_norm)
        x = x + feed_forward(x, layer.ffn_norm, layer.ffn)
    return encoder.norm(x)


def fuse(fusion: Fusion, text, pictures: Sequence[tuple[torch.Tensor, torch.Tensor]], vision):
    """As Fusion.forward: text [N, d], of which only those rows see pictures that `pictures` names: numbers of rows [B, n] and of their
    pictures [B], all with vision tokens [P, m, d]. -> the fused states of these rows, one after another in their order"""
    attention = [layer.attention for layer in fusion.layers]
    width, heads, dtype = text.shape[1], attention[0].heads, attention[0].q_proj.precision.products
    seen = linear(vision.flatten(0, 1), [each for a in attention for each in (a.k_proj, a.v_proj)], out=dtype).unflatten(0, vision.shape[:2])
    x = Rows.apply(text, torch.cat([rows.flatten() for rows, _ in pictures]))
    # Of several texts of one picture, its keys and values once each: copies are cheaper than products.
    own = [Rows.apply(seen.flatten(1), of).view(len(of), vision.shape[1], len(attention), 2, heads, width // heads) for _, of in pictures]
    for i, layer in enumerate(fusion.layers):
        q = linear(x, (attention[i].q_proj,), layer.norm, dtype)
        context, first = [], 0
        for (rows, _), kv in zip(pictures, own):
            mine = q[first:first + rows.numel()].view(*rows.shape, heads, -1)
            first += rows.numel()
            context.append(attended(similarities(mine, kv[:, :, i, 0]), kv[:, :, i, 1], None, (width // heads) ** -0.5))
        x = x + linear(torch.cat(context), (attention[i].o_proj,), attention[i].sub_norm)
    return fusion.norm(x)


def decode(decoder: Decoder, x, parts: Sequence[Part], conditioning: Sequence[tuple[torch.Tensor, torch.Tensor] | None], tokens):
    """As Decoder.forward before its last norm: embeddings x [N, d] of all parts; of each part the rows [B, c] of `tokens` [M, d] that condition it and
    their mask [B, 1, 1, c], or None"""
    cos, sin = positions(parts, decoder.head_size, decoder.theta)
    scale, heads, count = decoder.head_size ** -0.5, decoder.layers[0].attention.heads, len(decoder.layers)
    dtype = decoder.layers[0].attention.q_proj.precision.products
    told = linear(tokens, [layer.conditioning[name] for layer in decoder.layers for name in ("k_proj", "v_proj")], out=dtype)
    own, masks = [], []
    for part, given in zip(parts, conditioning):
        n = part.tokens.shape[1]
        causal = torch.full((n, n), float("-inf"), device=x.device).triu(1).repeat(len(part.tokens), 1, 1, 1)
        if given is None:
            own.append(None), masks.append(causal)
            continue
        rows, mask = given
        own.append(Rows.apply(told, rows).view(*rows.shape, count, 2, heads, decoder.head_size))
        masks.append(torch.cat([mask.expand(-1, -1, n, -1), causal], -1))
    for i, layer in enumerate(decoder.layers):
        a, norm = layer.attention, layer.attention_norm
        layers = (a.q_proj, a.k_proj, a.v_proj)
        q, k, v, still = _Turned.apply(x, norm.weight, norm.eps, layers, dtype, cos, sin, heads, *[each.weight for each in layers])
        context = []
        for part, kv, mask in zip(parts, own, masks):
            scores, values = similarities(heads_of(part, q, heads), heads_of(part, k, heads)), heads_of(part, v, heads)
            if kv is not None:
                scores = torch.cat([similarities(heads_of(part, still, heads), kv[:, :, i, 0]), scores], -1)
                values = torch.cat([kv[:, :, i, 1], values], 1)
            context.append(attended(scores, values, mask, scale))
        x = x + dropped(linear(torch.cat(context), (a.o_proj,), a.sub_norm), layer.dropout, layer.training)
        x = x + dropped(feed_forward(x, layer.ffn_norm, layer.ffn), layer.dropout, layer.training)
    return x


def surprises(model: BitMar, x, targets, smoothing=None, taught=None, share=0.0):
    """Cross entropy [N] of next tokens targets [N], from states [N, d] of decode. Labels are smoothed (smoothing [N]), or a share of them are the
    probabilities taught [N, V]."""
    norm, precision = model.decoder.norm, model.precision
    return _Surprise.apply(x, norm.weight, norm.eps, model.embedding.weight, targets, smoothing, taught, share, precision.products, precision.ternary, precision.bits)


@torch.no_grad()
def probabilities(model: BitMar, x):
    """Of the next tokens [N, V], from states [N, d] of decode; in the type of the model's products"""
    norm, precision = model.decoder.norm, model.precision
    q, s, _ = norm_rounding(x, norm.weight, norm.eps, precision.products, precision.ternary)
    t, scale = head_of(model.embedding.weight, precision.products, precision.ternary, precision.bits)
    return next_tokens(q @ t.t(), s, scale, precision.products)


def mean_of_kept(states: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """[B, n, d] -> [B, d], as BitMar.fuse"""
    weight = keep[..., None].float()
    return (states * weight).sum(1) / weight.sum(1)


def table_of(model: BitMar) -> torch.Tensor:
    """What all tokens are embedded by"""
    return fake_quantized_rows(model.embedding.weight, model.precision.bits or 8) if model.precision.ternary else model.embedding.weight
