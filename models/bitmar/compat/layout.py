"""Every tensor of the authors' state_dict by name: its shape, and what becomes of it."""

from __future__ import annotations

import dataclasses
from typing import Literal

# ternary    a weight that every forward pass rounds to -1, 0 and 1: packed
# float      kept as float32
# unused     no part of the eval pass: must be there and sound, and is left out
# cache      recomputed by every forward pass, so that it may be missing, of shape [] or [1]: left out
Kind = Literal["ternary", "float", "unused", "cache"]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of the published model, unless said otherwise"""

    vocabulary: int = 50257
    width: int = 128
    hidden: int = 512  # of the feed-forward blocks
    heads: int = 4
    positions: int = 256
    text_layers: int = 4
    decoder_layers: int = 4
    vision_input: int = 768
    vision_hidden: int = 64
    fusion_layers: int = 2
    slots: int = 32

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads")


PUBLISHED = Sizes()


@dataclasses.dataclass(frozen=True)
class Entry:
    shape: tuple[int, ...]
    kind: Kind


class Layout(dict[str, Entry]):
    def linear(self, name: str, out: int, inputs: int, bias: bool = True, unused: bool = False) -> None:
        self[f"{name}.weight"] = Entry((out, inputs), "unused" if unused else "ternary")
        if bias:
            self[f"{name}.bias"] = Entry((out,), "unused" if unused else "float")
        for cache in ("weight_scale", "input_scale"):
            self[f"{name}.{cache}"] = Entry((), "cache")

    def norm(self, name: str, size: int, unused: bool = False) -> None:
        for part in ("weight", "bias"):
            self[f"{name}.{part}"] = Entry((size,), "unused" if unused else "float")

    def attention(self, name: str, width: int, unused: tuple[str, ...] = ()) -> None:
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            self.linear(f"{name}.{part}", width, width, unused=part in unused)

    def transformer(self, name: str, layers: int, sizes: Sizes, own_tokens: bool) -> None:
        d = sizes.width
        self[f"{name}.token_embedding.weight"] = Entry((sizes.vocabulary, d), "float" if own_tokens else "unused")
        self[f"{name}.position_embedding.weight"] = Entry((sizes.positions, d), "float")
        for i in range(layers):
            layer = f"{name}.layers.{i}"
            self.norm(f"{layer}.norm1", d)
            self.attention(f"{layer}.attn", d)
            self.norm(f"{layer}.norm2", d)
            self.linear(f"{layer}.mlp.fc1", sizes.hidden, d)
            self.linear(f"{layer}.mlp.fc2", d, sizes.hidden)
            self.norm(f"{layer}.mlp.norm", d)
        self.norm(f"{name}.norm", d)


def published(sizes: Sizes = PUBLISHED) -> Layout:
    """All tensors of a checkpoint, 383 at the published sizes"""
    d, out = sizes.width, Layout()
    out.transformer("text_encoder", sizes.text_layers, sizes, own_tokens=True)
    out.transformer("text_decoder", sizes.decoder_layers, sizes, own_tokens=False)
    out.linear("text_decoder.lm_head", sizes.vocabulary, d, bias=False)
    out["text_decoder.causal_mask"] = Entry((1, 1, sizes.positions, sizes.positions), "unused")

    out.linear("vision_encoder.layers.0", sizes.vision_hidden, sizes.vision_input)
    out.linear("vision_encoder.layers.1", sizes.vision_hidden, sizes.vision_hidden)
    for i in range(2):
        out.norm(f"vision_encoder.layer_norms.{i}", sizes.vision_hidden)
    out.linear("vision_encoder.output_proj", d, sizes.vision_hidden)

    for name in ("text_proj", "vision_proj", "output_proj"):
        out.linear(f"fusion.{name}", d, d)
    for i in range(sizes.fusion_layers):
        # The softmax over one key is 1, whatever query and key are.
        out.attention(f"fusion.cross_attention_layers.{i}", d, unused=("q_proj", "k_proj"))
        out.norm(f"fusion.layer_norms.{i}", d)

    out["memory.memory"] = Entry((sizes.slots, d), "float")
    out["memory.memory_importance"] = Entry((sizes.slots,), "float")
    for name in ("memory_age", "memory_usage", "memory_quality"):  # writes look at them, and there is none
        out[f"memory.{name}"] = Entry((sizes.slots,), "unused")
    for name in ("memory_mean", "memory_std"):
        out[f"memory.{name}"] = Entry((d,), "float")
    for name in ("update_count", "attention_temperature"):
        out[f"memory.{name}"] = Entry((), "float")
    for net in ("query_net", "key_net", "value_net"):
        out.linear(f"memory.{net}.0", d, d)
        out.norm(f"memory.{net}.1", d)
        out.linear(f"memory.{net}.3", d, d)
    out.linear("memory.consolidation_net.0", 2 * d, d, unused=True)
    out.norm("memory.consolidation_net.1", 2 * d, unused=True)
    out.linear("memory.consolidation_net.4", d, 2 * d, unused=True)
    out.norm("memory.consolidation_net.5", d, unused=True)

    for name in ("text_to_episode", "vision_to_episode", "memory_to_decoder", "decoder_input_proj"):
        out.linear(name, d, d)
    return out
