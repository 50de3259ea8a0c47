"""BitMar in PyTorch: the readable reference that the C++ engine must equal.

pixels -> stem -> vision transformer -> features -> pool + compressor -> fusion with the prompt
       -> episodic memory -> decoder, token by token.

Shapes: B batch, P patches, n prompt tokens, m pooled vision tokens, d model width, C memory width.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from .. import earlier
from . import ordered
from .quant import BitConv2d, BitLinear, Layer, fake_quantized_rows, int8_logits, product

DEFAULT_CONFIG = Path(__file__).with_name("default_config.json")
FIRST_LAYERS = 7  # of the stem: five convolutions and two max pools; the others are learned with the transformer


class _RMSNorm(torch.autograd.Function):
    """One saved tensor and few passes: on a CPU the elementwise work is what training waits for."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        normed = x * inverse
        ctx.save_for_backward(normed, inverse, weight)
        return normed * weight

    @staticmethod
    def backward(ctx, grad):
        normed, inverse, weight = ctx.saved_tensors
        product = grad * normed
        gw = product.flatten(0, -2).sum(0)
        along = (product @ weight)[..., None] / weight.numel()
        return (grad * weight).addcmul_(normed, along, value=-1).mul_(inverse), gw, None


class RMSNorm(Layer):
    """x / sqrt(mean(x^2) + eps) * weight (arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        if self.precision.engine_order:
            return ordered.rms_norm(x, self.weight, self.eps)
        return _RMSNorm.apply(x, self.weight, self.eps)


def rope_tables(positions: torch.Tensor, head_size: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """cos, sin [..., head_size / 2] for integer positions [...]; angle_j = position * theta^(-2j / head_size)."""
    frequency = theta ** (-torch.arange(0, head_size, 2, dtype=torch.float64, device=positions.device) / head_size)
    angle = positions[..., None].double() * frequency
    return angle.cos().float(), angle.sin().float()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding (arXiv 2104.09864), half-split form: pairs are (j, j + head_size / 2)."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Attention(Layer):
    """Multi-head attention with ternary projections and a norm before the output projection."""

    def __init__(self, width: int, heads: int, eps: float):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = BitLinear(width, width), BitLinear(width, width)
        self.v_proj, self.o_proj = BitLinear(width, width), BitLinear(width, width)
        self.sub_norm = RMSNorm(width, eps)

    def split(self, x):
        """[B, n, d] -> [B, H, n, d / H]"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def similarities(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """[B, H, n, k] and [B, H, m, k] -> dot products [B, H, n, m]"""
        return ordered.dots(q, k) if self.precision.engine_order else product(q, k.transpose(-1, -2), self.precision.products)

    def attend(self, scores: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """scores [B, H, n, keys] (masked with -inf), values [B, H, keys, d / H] -> [B, n, d]"""
        if self.precision.engine_order:
            out = ordered.weighted_sum(ordered.softmax(scores), values)
        else:
            out = product(scores.softmax(-1), values, self.precision.products)
        return self.o_proj(self.sub_norm(out.transpose(1, 2).flatten(2)))

    def forward(self, x, context, mask=None, rope=None):
        """x [B, n, d] attends to context [B, k, d]; mask [B, 1, 1, k] is 0 or -inf."""
        q, k, v = self.split(self.q_proj(x)), self.split(self.k_proj(context)), self.split(self.v_proj(context))
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        scores = self.similarities(q, k) * q.shape[-1] ** -0.5
        return self.attend(scores if mask is None else scores + mask, v)


class FeedForward(nn.Module):
    """down(norm(relu(up(x))^2)), the ungated form of BitNet b1.58 2B4T's (arXiv 2504.12285)."""

    def __init__(self, width: int, hidden: int, eps: float):
        super().__init__()
        self.up_proj, self.down_proj = BitLinear(width, hidden), BitLinear(hidden, width)
        self.sub_norm = RMSNorm(hidden, eps)

    def forward(self, x):
        return self.down_proj(self.sub_norm(F.relu(self.up_proj(x)).square()))


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer, every token sees every other."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float):
        super().__init__()
        self.attention_norm, self.ffn_norm = RMSNorm(width, eps), RMSNorm(width, eps)
        self.attention, self.ffn = Attention(width, heads, eps), FeedForward(width, hidden, eps)

    def forward(self, x, mask=None, rope=None):
        n = self.attention_norm(x)
        x = x + self.attention(n, n, mask, rope)
        return x + self.ffn(self.ffn_norm(x))


class ResidualConv(nn.Module):
    """x + conv(norm(relu(conv(norm(x))))), ternary convolutions; norms over the channels of each position."""

    def __init__(self, channels: int, kernel: int, eps: float):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(channels, eps), RMSNorm(channels, eps)
        self.conv1, self.conv2 = BitConv2d(channels, channels, kernel, 1), BitConv2d(channels, channels, kernel, 1)
        nn.init.constant_(self.conv2.affine_scale, 0.5)  # near the identity at first

    @staticmethod
    def over_channels(norm, x):
        """x [B, channels, h, w]"""
        return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def forward(self, x):
        y = F.relu(self.conv1(self.over_channels(self.norm1, x)))
        return x + self.conv2(self.over_channels(self.norm2, y))


class VisionEncoder(nn.Module):
    """uint8 pixels [B, 3, S, S] -> feature grid [B, P, features], P = grid * grid."""

    def __init__(self, c: dict, eps: float):
        super().__init__()
        self.plan = c["stem"]
        layers, channels = [], 3
        for step in self.plan:
            if step["type"] == "conv":
                layers.append(BitConv2d(channels, step["out_channels"], step["kernel_size"], step["stride"],
                                        step["weights"] == "int8"))
                channels = step["out_channels"]
            elif step["type"] == "residual":
                layers.append(ResidualConv(channels, step["kernel_size"], eps))
            else:
                layers.append(nn.MaxPool2d(step["kernel_size"], step["stride"], step["kernel_size"] // 2))
        self.stem = nn.ModuleList(layers)
        width = c["hidden_size"]
        if channels != width:
            raise ValueError(f"the stem ends in {channels} channels, the transformer wants {width}")
        self.position_embedding = nn.Parameter(torch.randn(c["grid_size"] ** 2, width) * 0.02)
        self.layers = nn.ModuleList(
            EncoderLayer(width, c["num_heads"], c["intermediate_size"], eps) for _ in range(c["num_layers"]))
        self.norm = RMSNorm(width, eps)
        self.feature_proj = BitLinear(width, c["feature_size"])

    def run_stem(self, x, start=0, stop=None):
        for step, layer in list(zip(self.plan, self.stem))[start:stop]:
            x = layer(x)
            if step.get("activation") == "relu":
                x = F.relu(x)
        return x

    def transform(self, grid):
        """Stem output [B, d, g, g] -> features [B, P, features]."""
        x = grid.flatten(2).transpose(1, 2) + self.position_embedding
        for layer in self.layers:
            x = layer(x)
        return self.feature_proj(self.norm(x))

    def forward(self, pixels):
        return self.transform(self.run_stem(pixels.float() - 128))


class Compressor(Layer):
    """The paper's: pool x pool average pooling of the grid, then a two-layer ReLU MLP; -> [B, m, d]."""

    def __init__(self, c: dict, features: int, grid: int, width: int, eps: float):
        super().__init__()
        self.pool, self.grid = c["pool_size"], grid
        self.fc1, self.fc2 = BitLinear(features, c["hidden_size"]), BitLinear(c["hidden_size"], width)
        self.norm = RMSNorm(width, eps)

    def forward(self, features):
        grid = features.transpose(1, 2).unflatten(-1, (self.grid, self.grid))
        average = ordered.average_pool if self.precision.engine_order else F.avg_pool2d
        pooled = average(grid, self.pool).flatten(2).transpose(1, 2)
        return self.norm(self.fc2(F.relu(self.fc1(pooled))))


class TextEncoder(nn.Module):
    """Prompt embeddings [B, n, d] -> states [B, n, d]; bidirectional, rotary positions."""

    def __init__(self, c: dict, width: int, eps: float):
        super().__init__()
        self.head_size, self.theta = width // c["num_heads"], c["rope_theta"]
        self.layers = nn.ModuleList(
            EncoderLayer(width, c["num_heads"], c["intermediate_size"], eps) for _ in range(c["num_layers"]))
        self.norm = RMSNorm(width, eps)

    def forward(self, x, mask=None):
        rope = rope_tables(torch.arange(x.shape[1], device=x.device), self.head_size, self.theta)
        for layer in self.layers:
            x = layer(x, mask, rope)
        return self.norm(x)


class FusionLayer(nn.Module):
    def __init__(self, width: int, heads: int, eps: float):
        super().__init__()
        self.norm, self.attention = RMSNorm(width, eps), Attention(width, heads, eps)

    def forward(self, x, vision):
        return x + self.attention(self.norm(x), vision)


class Fusion(nn.Module):
    """Text queries attend to vision keys and values; without an image the text passes through."""

    def __init__(self, c: dict, width: int, eps: float):
        super().__init__()
        self.layers = nn.ModuleList(FusionLayer(width, c["num_heads"], eps) for _ in range(c["num_layers"]))
        self.norm = RMSNorm(width, eps)

    def forward(self, text, vision=None):
        if vision is not None:
            for layer in self.layers:
                text = layer(text, vision)
        return self.norm(text)


class EpisodicMemory(nn.Module):
    """Projections between the model (d) and the memory's space (C); slots live with the caller."""

    def __init__(self, c: dict, width: int, eps: float):
        super().__init__()
        self.temperature, self.alpha = c["temperature"], c["alpha"]
        self.read_threshold = c.get("read_threshold", -1.0)
        self.query_proj, self.value_proj = BitLinear(width, c["width"]), BitLinear(width, c["width"])
        self.out_proj, self.out_norm = BitLinear(c["width"], width), RMSNorm(width, eps)

    def query(self, pooled):
        """Mean of F [B, d] -> unit query or key [B, C]."""
        return F.normalize(self.query_proj(pooled), dim=-1, eps=1e-6)

    def value(self, pooled):
        """Mean of F [B, d] -> unit value [B, C]."""
        return F.normalize(self.value_proj(pooled), dim=-1, eps=1e-6)

    def read(self, query, keys, values, allowed=None):
        """r = sum_i softmax_i(q . k_i / temperature) v_i over slots of at least the threshold's similarity, as one
        conditioning token [B, 1, d], and found [B]: False where no slot was similar enough and there is no token.

        allowed [B, K] is False for slots a row must not see."""
        similarity = query @ keys.t()
        near = similarity >= self.read_threshold
        if allowed is not None:
            near = near & allowed
        found = near.any(-1)
        # A row without a slot reads them all, so that nothing is undefined; its token is masked.
        scores = (similarity / self.temperature).masked_fill(~near & found[:, None], float("-inf"))
        return self.out_norm(self.out_proj(scores.softmax(-1) @ values))[:, None], found


class DecoderLayer(nn.Module):
    """Causal self-attention and per-layer conditioning in one softmax, then a feed-forward."""

    def __init__(self, c: dict, width: int, eps: float):
        super().__init__()
        self.attention_norm, self.ffn_norm = RMSNorm(width, eps), RMSNorm(width, eps)
        self.attention = Attention(width, c["num_heads"], eps)
        self.conditioning = nn.ModuleDict({"k_proj": BitLinear(width, width), "v_proj": BitLinear(width, width)})
        self.ffn = FeedForward(width, c["intermediate_size"], eps)
        self.dropout = 0.0  # of each branch, in training alone

    def forward(self, x, conditioning, conditioning_mask, causal, rope, cache=None):
        """cache: this layer's keys and values so far (with the conditioning's), extended in place; see Decoder.forward."""
        a = self.attention
        n = self.attention_norm(x)
        q, k, v = a.split(a.q_proj(n)), a.split(a.k_proj(n)), a.split(a.v_proj(n))
        scale = q.shape[-1] ** -0.5
        k = rotate(k, *rope)
        if cache:
            k, v = torch.cat([cache["k"], k], -2), torch.cat([cache["v"], v], -2)
        # The conditioning sequence has no order, so its keys meet the query before rotation.
        scores = a.similarities(rotate(q, *rope), k) * scale
        if causal is not None:
            scores = scores + causal
        values = v
        if conditioning is not None:
            if cache:
                ck, cv = cache["ck"], cache["cv"]
            else:
                ck = a.split(self.conditioning["k_proj"](conditioning))
                cv = a.split(self.conditioning["v_proj"](conditioning))
            to_conditioning = a.similarities(q, ck) * scale
            if conditioning_mask is not None:
                to_conditioning = to_conditioning + conditioning_mask
            scores, values = torch.cat([to_conditioning, scores], -1), torch.cat([cv, v], -2)
            if cache is not None:
                cache["ck"], cache["cv"] = ck, cv
        if cache is not None:
            cache["k"], cache["v"] = k, v
        drop = lambda branch: F.dropout(branch, self.dropout, self.training) if self.dropout else branch
        x = x + drop(a.attend(scores, values))
        return x + drop(self.ffn(self.ffn_norm(x)))


class Decoder(nn.Module):
    def __init__(self, c: dict, width: int, eps: float):
        super().__init__()
        self.head_size, self.theta = width // c["num_heads"], c["rope_theta"]
        self.layers = nn.ModuleList(DecoderLayer(c, width, eps) for _ in range(c["num_layers"]))
        self.norm = RMSNorm(width, eps)

    def forward(self, x, conditioning=None, conditioning_mask=None, caches=None):
        """x [B, n, d] token embeddings, conditioning [B, c, d] -> states [B, n, d]

        caches: one dictionary a layer, empty at first; x is then what follows the positions already seen, one token
        at a time after the first call."""
        n, past = x.shape[1], caches[0]["k"].shape[-2] if caches and caches[0] else 0
        rope = rope_tables(torch.arange(past, past + n, device=x.device), self.head_size, self.theta)
        causal = torch.full((n, n), float("-inf"), device=x.device).triu(1) if n > 1 else None
        for i, layer in enumerate(self.layers):
            x = layer(x, conditioning, conditioning_mask, causal, rope, caches[i] if caches else None)
        return self.norm(x)


class BagOfWords(nn.Module):
    """Predicts which tokens a picture's captions contain, in any order (like the attributes of arXiv 1603.03925). Beam search and the
    confidence compare captions with this prediction."""

    def __init__(self, vocabulary: int, features: int, width: int, nothing: int):
        """nothing: a token of no caption; the more it is expected, the less agrees anything that is said"""
        super().__init__()
        summary = 2 * (features + width)
        self.register_buffer("center", torch.zeros(summary))
        self.register_buffer("scale", torch.ones(summary))
        self.proj, self.dropout = BitLinear(summary, width), 0.0
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.register_buffer("rarity", torch.zeros(vocabulary))  # a token's inverse document frequency, 0 of what is none
        self.register_buffer("sayable", (torch.arange(vocabulary) != nothing).float(), persistent=False)

    def summary(self, features, vision):
        """Feature grid [B, P, f] and vision tokens [B, m, d] -> [B, 2 f + 2 d]: mean, in the engine's order, and maximum of each."""
        def mean(rows):
            return functools.reduce(torch.add, rows.unbind(1)) / rows.shape[1]
        return torch.cat([mean(features), features.amax(1), mean(vision), vision.amax(1)], -1)

    def state(self, summary):
        """[B, 2 f + 2 d] -> [B, d], which the table of tokens scores."""
        return self.proj(F.dropout((summary - self.center) * self.scale, self.dropout, self.training))

    def wanted(self, logits):
        """Logits [B, V] -> unit vectors [B, V]: rarity * p, the chance that a caption has a token; without the coordinate of nothing."""
        return F.normalize(self.rarity * logits.sigmoid(), dim=-1, eps=1e-6) * self.sayable

    def agreement(self, wanted, tokens):
        """Cosine of a unit vector [V] and a caption's distinct tokens, each as its rarity: from 0 to 1."""
        distinct = torch.tensor(sorted(set(tokens)), dtype=torch.long)
        own = (self.rarity * self.sayable)[distinct]
        length = float(own.square().sum()) ** 0.5
        return float((wanted[distinct] * own).sum()) / length if length else 0.0

    def agreements(self, wanted, tokens):
        """agreement() of a caption's tokens and each token more: [V]"""
        value, square = wanted * self.rarity, (self.rarity * self.sayable).square()
        distinct = torch.tensor(sorted(set(tokens)), dtype=torch.long)
        values, squares = value[distinct].sum() + value, square[distinct].sum() + square
        values[distinct] -= value[distinct]
        squares[distinct] -= square[distinct]
        return torch.where(squares > 0, values / squares.clamp_min(1e-12).sqrt(), torch.zeros_like(values))


class BitMar(Layer):
    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        width, eps, vision = config["hidden_size"], config["rms_norm_eps"], config["vision"]
        self.vision = VisionEncoder(vision, eps) if vision["input"] == "pixels" else None
        self.compressor = Compressor(config["compressor"], vision["feature_size"], vision["grid_size"], width, eps)
        self.embedding = nn.Embedding(config["vocab_size"], width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.fixed_embedding = None  # integers [V, d] and row scales [V, 1] of an exported model
        self.text_encoder = TextEncoder(config["text_encoder"], width, eps)
        self.fusion = Fusion(config["fusion"], width, eps)
        self.memory = EpisodicMemory(config["memory"], width, eps)
        self.decoder = Decoder(config["decoder"], width, eps)
        self.bag_of_words = (BagOfWords(config["vocab_size"], vision["feature_size"], width, config["pad_token_id"]) if "bag_of_words" in config else None)

    def embed(self, tokens):
        if self.fixed_embedding is not None:
            q, scale = self.fixed_embedding
            return F.embedding(tokens, q * scale)
        return F.embedding(tokens, fake_quantized_rows(self.embedding.weight, self.precision.bits or 8) if self.precision.ternary else self.embedding.weight)

    def encode_text(self, tokens):
        """Prompt tokens [B, n] (BOS first, or the ask token, padded) -> states [B, n, d] and keep [B, n] (False on padding)."""
        keep = tokens != self.config["pad_token_id"]
        mask = torch.zeros(keep.shape, device=tokens.device).masked_fill(~keep, float("-inf"))[:, None, None]
        return self.text_encoder(self.embed(tokens), mask), keep

    def fuse(self, text, keep, vision=None):
        """-> F [B, n, d] and its mean over real tokens [B, d]"""
        fused = self.fusion(text, vision)
        weight = keep[..., None].float()
        return fused, (fused * weight).sum(1) / weight.sum(1)

    def condition(self, retrieved, fused, keep, vision, found=None):
        """[r ; F ; V] and its mask; `retrieved` may be None (an empty memory adds no token), found [B] is as of read()."""
        parts = [p for p in (retrieved, fused, vision) if p is not None]
        sequence = torch.cat(parts, 1)
        mask = torch.zeros(sequence.shape[:2], device=sequence.device)
        start = 0 if retrieved is None else 1
        if found is not None:
            mask[:, 0].masked_fill_(~found, float("-inf"))
        mask[:, start:start + fused.shape[1]].masked_fill_(~keep, float("-inf"))
        return sequence, mask[:, None, None]

    def logits(self, tokens, conditioning=None, conditioning_mask=None, caches=None):
        """Next-token logits [B, n, V] of decoder tokens [B, n]"""
        states = self.decoder(self.embed(tokens), conditioning, conditioning_mask, caches)
        return int8_logits(states, self.embedding.weight, self.precision, self.fixed_embedding)

    def bag_of_words_logits(self, summary):
        """Of what BagOfWords.summary makes of pictures, [B, 2 f + 2 d] -> [B, V]"""
        return int8_logits(self.bag_of_words.state(summary), self.embedding.weight, self.precision, self.fixed_embedding) + self.bag_of_words.bias

    @torch.no_grad()
    def generate(self, conditioning, conditioning_mask=None, limit=24, sample=False, start=None):
        """Greedy or sampled captions: token lists without their start, BOS where none is given, and EOS."""
        start, eos = self.config["bos_token_id"] if start is None else start, self.config["eos_token_id"]
        caches = [{} for _ in self.decoder.layers]
        said = [torch.full((len(conditioning), 1), start, device=conditioning.device)]
        finished = torch.zeros(len(conditioning), 1, dtype=torch.bool, device=conditioning.device)
        for _ in range(limit):
            logits = self.logits(said[-1], conditioning, conditioning_mask, caches)[:, -1]
            best = torch.multinomial(logits.softmax(-1), 1) if sample else logits.argmax(-1, keepdim=True)
            said.append(torch.where(finished, eos, best))
            finished = finished | (said[-1] == eos)
            if finished.all():
                break
        rows = torch.cat(said[1:], 1).tolist()
        return [row[:row.index(eos)] if eos in row else row for row in rows]

    def greedy(self, conditioning, conditioning_mask=None, limit=24):
        return self.generate(conditioning, conditioning_mask, limit)

    def asked(self, questions, vision):
        """What an answer is conditioned on, and its mask: questions [B, n] (the ask token first, padded), pictures [B, m, d] or None; no memory is read."""
        text, keep = self.encode_text(questions)
        return self.condition(None, self.fuse(text, keep, vision)[0], keep, vision)

    @torch.no_grad()
    def ask(self, questions, vision):
        """Greedy answers to questions [B, n] (the ask token first, padded) about pictures [B, m, d]: token lists, empty where
        the model declines, and their log-probabilities, EOS included. The memory is not read."""
        start, limit = self.config["ask"]["token_id"], self.config["ask"]["max_tokens"]
        condition = self.asked(questions, vision)
        answers = self.generate(*condition, limit, start=start)
        return answers, [self.log_probability(answer, start, condition[0][i:i + 1], condition[1][i:i + 1], limit)
                         for i, answer in enumerate(answers)]

    def log_probability(self, said, start, conditioning, conditioning_mask=None, limit=24):
        """Of tokens that follow `start`, and of EOS unless they are as many as allowed."""
        steps = self.logits(torch.tensor([[start, *said]], device=conditioning.device), conditioning, conditioning_mask)[0].log_softmax(-1)
        spoken = [*said, self.config["eos_token_id"]][:limit]
        return float(steps[torch.arange(len(spoken)), spoken].sum())


def load_config(path: Path) -> dict:
    return earlier.config(json.loads(Path(path).read_text()))
