"""The authors' forward pass in eval mode, written from its description: one text, without padding, and one vision vector or none.

    reference = Reference(weights_of_state_dict(state), PUBLISHED)
    stages = reference.run(tokens, vision)      # stages["logits"] [n, vocabulary]

It reproduces what the published code computes, its defects included (docs/compat.md lists them). float32 is its precision;
in float64 it tells how much of a result is rounding.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Callable, Sequence

import torch
import torch.nn.functional as F

from .layout import PUBLISHED, Sizes, published

THRESHOLD = 2 / 3  # of |w| / mean|w|: below it a weight is 0
EPS = 1e-5  # of every LayerNorm
WARM_UP = 10  # writes before episodes are normalised
NARROW = 1e-8  # a tensor whose values lie closer together is not quantised


@dataclasses.dataclass(frozen=True)
class Linear:
    """y = x^ (scale * t)^T + bias"""

    t: torch.Tensor  # [out, in] in {-1, 0, 1}
    scale: torch.Tensor  # []
    bias: torch.Tensor | None  # [out]


@contextlib.contextmanager
def one_thread():
    """The last bit of a float32 sum depends on how many threads share it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ternary(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A latent matrix as t in {-1, 0, 1} and its scale, mean|w|, in float32"""
    weight = weight.float().contiguous()  # as in the authors' layer: strides would change the order of the sum
    with one_thread():
        scale = weight.abs().mean()
    if scale < 1e-8:
        scale = torch.tensor(1e-5)
    scale = scale.clamp(1e-5, 1e3)
    u = (weight / scale).clamp(-10, 10)
    return (u > THRESHOLD).float() - (u < -THRESHOLD).float(), scale


def code(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """Codes 0..255, scale and zero point of a whole tensor: x is about scale * (code - zero). None of a constant."""
    low, high = x.min(), x.max()
    if high - low < NARROW:
        return None
    scale = (high - low) / 255
    zero = (-low / scale).round().clamp(0, 255)  # to even, where it is half-way
    return (x / scale + zero).round().clamp(0, 255), scale, zero


class Weights:
    """Tensors by the authors' names"""

    def __init__(self, linears: dict[str, Linear], tensors: dict[str, torch.Tensor]):
        self.linears, self.tensors = linears, tensors

    def to(self, dtype: torch.dtype) -> Weights:
        def cast(x):
            return None if x is None else x.to(dtype)
        return Weights({name: Linear(cast(each.t), cast(each.scale), cast(each.bias)) for name, each in self.linears.items()},
                       {name: cast(value) for name, value in self.tensors.items()})


def weights_of_state_dict(state: dict[str, torch.Tensor], sizes: Sizes = PUBLISHED) -> Weights:
    linears, tensors = {}, {}
    for name, entry in published(sizes).items():
        if entry.kind == "ternary":
            t, scale = ternary(state[name])
            layer = name.removesuffix(".weight")
            bias = state.get(f"{layer}.bias")
            linears[layer] = Linear(t, scale, None if bias is None else bias.float())
        elif entry.kind == "float":
            tensors[name] = state[name].float().reshape(entry.shape)
    return Weights(linears, tensors)


class Reference:
    def __init__(self, weights: Weights, sizes: Sizes, dtype: torch.dtype = torch.float32, keep_vision_bias: bool = True):
        """keep_vision_bias: without a vision vector the episode still gets the bias of vision_to_episode (a batch of texts
        alone in the modeling file), or it does not (texts among pictures in the training code)."""
        self.weights, self.sizes, self.dtype, self.keep_vision_bias = weights.to(dtype), sizes, dtype, keep_vision_bias
        self.importance = self.tensor("memory.memory_importance")
        self.on_codes: Callable[[torch.Tensor], None] | None = None  # sees the codes of every quantised tensor

    def tensor(self, name: str) -> torch.Tensor:
        return self.weights.tensors[name]

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        layer = self.weights.linears[name]
        x = x.clamp(-1e6, 1e6)
        if coded := code(x):
            q, scale, zero = coded
            if self.on_codes:
                self.on_codes(q)
            x = scale * (q - zero)
        return F.linear(x, layer.scale * layer.t, layer.bias)

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"), EPS)

    def attention(self, name: str, x: torch.Tensor, causal: bool) -> torch.Tensor:
        n, heads = len(x), self.sizes.heads
        q, k, v = (self.linear(f"{name}.{part}", x).view(n, heads, -1).transpose(0, 1) for part in ("q_proj", "k_proj", "v_proj"))
        scores = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5
        if causal:
            scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), float("-inf"))
        return self.linear(f"{name}.out_proj", (scores.softmax(-1) @ v).transpose(0, 1).reshape(n, -1))

    def block(self, name: str, x: torch.Tensor, causal: bool) -> torch.Tensor:
        x = x + self.attention(f"{name}.attn", self.norm(f"{name}.norm1", x), causal)
        m = self.norm(f"{name}.norm2", x)
        inner = self.linear(f"{name}.mlp.fc2", F.gelu(self.linear(f"{name}.mlp.fc1", m))) + m
        return x + self.norm(f"{name}.mlp.norm", inner)

    def see(self, vision: torch.Tensor) -> torch.Tensor:
        """[1, vision_input] -> [1, width]"""
        for i in range(2):
            vision = F.gelu(self.norm(f"vision_encoder.layer_norms.{i}", self.linear(f"vision_encoder.layers.{i}", vision)))
        return self.linear("vision_encoder.output_proj", vision)

    def fuse(self, text: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """[n, width] and [1, width] -> [n, width]. With one key every query attends to it alone."""
        t, key = self.linear("fusion.text_proj", text), self.linear("fusion.vision_proj", seen)
        for i in range(self.sizes.fusion_layers):
            layer = f"fusion.cross_attention_layers.{i}"
            attended = self.linear(f"{layer}.v_proj", key).expand(len(t), -1)
            t = self.norm(f"fusion.layer_norms.{i}", t + self.linear(f"{layer}.out_proj", attended))
        return self.linear("fusion.output_proj", t)

    def memory_net(self, name: str, x: torch.Tensor) -> torch.Tensor:
        hidden = F.gelu(self.norm(f"memory.{name}.1", self.linear(f"memory.{name}.0", x)))
        return self.linear(f"memory.{name}.3", hidden) + x

    def read(self, episode: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[1, width] -> what is read [1, width], and each slot's share [1, slots]"""
        if self.tensor("memory.update_count") > WARM_UP:
            episode = (episode - self.tensor("memory.memory_mean")) / (self.tensor("memory.memory_std") + 1e-8)
        slots = self.tensor("memory.memory")
        q, k, v = self.memory_net("query_net", episode), self.memory_net("key_net", slots), self.memory_net("value_net", slots)
        temperature = self.tensor("memory.attention_temperature").clamp(0.1, 10)
        scores = q @ k.t() / (self.sizes.width ** 0.5 * temperature) + (self.importance + 1e-8).log()
        shares = scores.softmax(-1)
        return shares @ v, shares

    def count_read(self, shares: torch.Tensor) -> None:
        """What every forward pass of the authors' code does to the memory behind its caller's back: the next one reads otherwise."""
        self.importance = 0.9 * self.importance + 0.1 * (shares.sum(0) + 1e-8)

    @torch.no_grad()
    def run(self, tokens: Sequence[int], vision: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Every stage by name, for n tokens and a vision vector [vision_input] or none. Later tokens change what earlier ones get."""
        n, out = len(tokens), {}
        if not 0 < n <= self.sizes.positions:
            raise ValueError(f"{n} tokens: the model has positions for 1 to {self.sizes.positions}")
        x = self.tensor("text_encoder.token_embedding.weight")[torch.tensor(tokens)] + self.tensor("text_encoder.position_embedding.weight")[:n]
        for i in range(self.sizes.text_layers):
            out[f"text_encoder.layers.{i}"] = x = self.block(f"text_encoder.layers.{i}", x, causal=False)
        out["text_states"] = text = self.norm("text_encoder.norm", x)

        seen = torch.zeros(1, self.sizes.width, dtype=self.dtype) if vision is None else self.see(vision.to(self.dtype)[None])
        out["vision"] = seen
        out["fused"] = fused = self.fuse(text, seen)

        episode = self.linear("text_to_episode", text.mean(0, keepdim=True))
        if vision is not None or self.keep_vision_bias:
            episode = episode + self.linear("vision_to_episode", seen)
        out["episode"] = episode
        out["retrieved"], out["shares"] = self.read(episode)

        x = self.linear("decoder_input_proj", fused + self.linear("memory_to_decoder", out["retrieved"]))
        out["decoder_input"] = x
        x = x + self.tensor("text_decoder.position_embedding.weight")[:n]
        for i in range(self.sizes.decoder_layers):
            out[f"text_decoder.layers.{i}"] = x = self.block(f"text_decoder.layers.{i}", x, causal=True)
        out["decoder_states"] = x = self.norm("text_decoder.norm", x)
        out["logits"] = self.linear("text_decoder.lm_head", x)
        return out

    def generate(self, tokens: Sequence[int], limit: int, end: int, vision: torch.Tensor | None = None) -> list[int]:
        """At most `limit` tokens, the likeliest one after another, the whole prefix computed anew for each"""
        said: list[int] = []
        while len(said) < limit and len(tokens) + len(said) < self.sizes.positions + 1:
            token = int(self.run([*tokens, *said], vision)["logits"][-1].argmax())
            if token == end:
                break
            said.append(token)
        return said

    def score(self, prefix: Sequence[int], continuation: Sequence[int], vision: torch.Tensor | None = None) -> torch.Tensor:
        """ln p of each token of the continuation, all in one pass, as the authors' evaluations take it: no causal likelihood, since
        the text encoder has read the tokens that are to be predicted."""
        tokens = [*prefix, *continuation]
        likely = self.run(tokens, vision)["logits"][:-1].log_softmax(-1)
        return likely.gather(1, torch.tensor(tokens)[1:, None])[len(prefix) - 1:, 0]
