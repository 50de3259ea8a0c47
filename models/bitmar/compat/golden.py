"""Golden vectors of the compatibility mode: a small random checkpoint, converted, and what every stage of the reference computes.

usage: python -m bitmar.compat.golden --out tests/golden/compat --tokenizer tests/golden/tiny

One range is shared by a whole tensor, so a single value that rounds the other way moves everything behind it by more than the
tests allow. So seeds are tried until the reference gives the same codes in float32 and in float64, in which the engine computes.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from ..data.tokenizer import Tokenizer
from .convert import convert, read_directory
from .layout import Sizes, published
from .reference import Reference, weights_of_state_dict

SIZES = Sizes(vocabulary=305, width=32, hidden=48, heads=4, positions=24, text_layers=2, decoder_layers=2, vision_input=40, vision_hidden=12,
              fusion_layers=2, slots=8)
END = 2
PROMPT, PREFIX, CONTINUATIONS = "two dogs on a red bike", "a boy", (" runs", " in a red shirt")
STEPS = 4  # of the greedy generation
GAP = 1e-3  # between the two likeliest tokens, of the largest logit
# The stages that depend on the memory alone, for the cases of another memory.
AFTER_MEMORY = ("retrieved", "shares", "decoder_states", "logits")


def random_state(seed: int, sizes: Sizes = SIZES) -> dict[str, torch.Tensor]:
    """A state_dict of the authors' layout, with a memory that has been written to"""
    random = torch.Generator().manual_seed(seed)
    state = {}
    for name, entry in published(sizes).items():
        leaf = name.rsplit(".", 1)[1]
        noise = torch.randn(entry.shape, generator=random)
        if "norm" in name.split(".")[-2] or name.split(".")[-2] in ("1", "5") and name.startswith("memory.") and len(entry.shape) == 1:
            noise = noise * 0.1 + (leaf == "weight")
        elif leaf == "bias":
            noise = noise * 0.1
        elif len(entry.shape) == 2 and not name.startswith("memory.memory"):
            noise = noise * (0.3 if "embedding" in name else 0.1)
        state[name] = noise
    state["memory.memory_importance"] = torch.rand(sizes.slots, generator=random) + 0.1
    state["memory.memory_std"] = torch.rand(sizes.width, generator=random) + 0.5
    state["memory.update_count"] = torch.tensor(25)
    state["memory.attention_temperature"] = torch.tensor(0.7)
    state["text_decoder.causal_mask"] = torch.ones(1, 1, sizes.positions, sizes.positions).tril()
    return state


class Both:
    """The reference in float32, whose results are kept, beside the one in float64: their codes must be the same."""

    def __init__(self, folder: Path):
        self.single, self.double = read_directory(folder), read_directory(folder, torch.float64)

    def change(self, name: str, value: torch.Tensor) -> None:
        for reference in (self.single, self.double):
            reference.weights.tensors[name] = value.to(reference.dtype)

    def __call__(self, work):
        """work(reference) of the one in float32, or None where a code differs"""
        codes: dict[torch.dtype, list] = {}
        for reference in (self.single, self.double):
            codes[reference.dtype] = seen = []
            reference.on_codes = seen.append
            result = work(reference)
            if reference is self.single:
                kept = result
        same = all(torch.equal(a.double(), b) for a, b in zip(codes[torch.float32], codes[torch.float64], strict=True))
        return kept if same else None


def build(folder: Path, prompt: list[int], prefix: list[int], continuations: list[list[int]], seed: int) -> dict[str, torch.Tensor] | None:
    """All cases, or None where rounding matters or the text is too dull to prove much"""
    both = Both(folder)
    vision = torch.randn(SIZES.vision_input, generator=torch.Generator().manual_seed(seed))
    tensors = {"tokens": torch.tensor(prompt, dtype=torch.int32), "vision_vector": vision}

    def run(case, seen, stages=None):
        out = both(lambda reference: reference.run(prompt, seen))
        if out is None:
            return False
        tensors.update({f"{case}/{name}": value for name, value in out.items() if stages is None or name in stages})
        return True

    if not (run("image", vision) and run("text", None)):
        return None
    for i, own in enumerate(continuations):
        score = both(lambda reference: reference.score(prefix, own, vision))
        if score is None:
            return None
        tensors[f"score/{i}"] = score
    said = both.double.generate(prompt, STEPS, END, vision)
    top = both.double.run([*prompt, *said], vision)["logits"][len(prompt) - 1:].topk(2).values
    if len(set(said)) < 3 or said != both.single.generate(prompt, STEPS, END, vision) or float((top[:, 0] - top[:, 1]).min() / top.max()) < GAP:
        return None
    tensors["greedy"] = torch.tensor(said, dtype=torch.int32)
    # The other rule for texts alone; a second read that knows of the first; a memory that was never written to.
    for reference in (both.single, both.double):
        reference.keep_vision_bias = False
    if not run("dropped", None, ("episode", *AFTER_MEMORY)):
        return None
    for reference in (both.single, both.double):
        reference.keep_vision_bias = True
        reference.count_read(reference.run(prompt, vision)["shares"])
    if not run("second", vision, AFTER_MEMORY):
        return None
    both = Both(folder)
    both.change("memory.memory", torch.zeros(SIZES.slots, SIZES.width))
    both.change("memory.update_count", torch.tensor(3.0))
    return tensors if run("fresh", vision, AFTER_MEMORY) else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed in itertools.count():
        state = random_state(seed)
        convert(state, args.tokenizer, args.out, SIZES, END)
        encode = Tokenizer(args.out / "tokenizer.json").encode
        tensors = build(args.out, encode(PROMPT), encode(PREFIX), [encode(text) for text in CONTINUATIONS], seed)
        if tensors:
            break
    wanted = Reference(weights_of_state_dict(state, SIZES), SIZES).run(tensors["tokens"].tolist(), tensors["vision_vector"])
    assert torch.equal(wanted["logits"], tensors["image/logits"])
    texts = {"prompt": PROMPT, "prefix": PREFIX, **{f"continuation/{i}": text for i, text in enumerate(CONTINUATIONS)}}
    tensors |= {f"{name}_text": torch.from_numpy(np.frombuffer(text.encode(), np.uint8).copy()) for name, text in texts.items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, args.out / "golden.safetensors")
    print(f"seed {seed}: {sum(file.stat().st_size for file in args.out.iterdir())} bytes, {tensors['greedy'].tolist()}")


if __name__ == "__main__":
    main()
