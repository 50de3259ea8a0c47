"""How often the engine and PyTorch give the same scores for a text, with random checkpoints of the published sizes but a small vocabulary.

usage: python -m bitmar.compat.agreement --engine build/native-release/src/bitmar

Where one value is near the edge between two of 256 levels, sums in another order put it on the other side, and all behind it
moves. So the reference in float64 is compared with the one in float32, too: by its scores, as the engine is, and by its logits.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from ..data.tokenizer import BYTES, Tokenizer
from .convert import convert, read_directory
from .golden import random_state
from .layout import Sizes

SIZES = dataclasses.replace(Sizes(), vocabulary=1000)
END = SIZES.vocabulary - 1
CLOSE = 1e-4  # of the largest


def write_vocabulary(folder: Path) -> None:
    """Bytes, and words that no text has"""
    tokens = [*BYTES.values(), *(f"x{i}" for i in range(SIZES.vocabulary - 257)), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def difference(other, wanted) -> float:
    """The largest one, of the largest wanted value"""
    return float(np.abs(np.asarray(other) - np.asarray(wanted)).max() / np.abs(np.asarray(wanted)).max())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", type=Path, required=True)
    parser.add_argument("--models", type=int, default=24)
    parser.add_argument("--tokens", type=int, nargs="*", default=[5, 10, 20, 50])
    args = parser.parse_args()
    torch.set_num_threads(1)
    differences: dict[tuple[int, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_vocabulary(folder)
        for seed in range(args.models):
            convert(random_state(seed, SIZES), folder, folder / "model", SIZES, END)
            single, double = read_directory(folder / "model"), read_directory(folder / "model", torch.float64)
            random = np.random.default_rng(seed)
            vision = torch.from_numpy(random.normal(size=SIZES.vision_input).astype(np.float32))
            vision.numpy().tofile(folder / "vector")
            for n in args.tokens:
                text = "".join(map(chr, random.integers(ord("a"), ord("z") + 1, n)))
                tokens = Tokenizer(folder / "model" / "tokenizer.json").encode(text)
                wanted, exact = (reference.score(tokens[:1], tokens[1:], vision).numpy() for reference in (single, double))
                command = [args.engine, "score", folder / "vector", "--prefix", text[0], "--text", text[1:], "--model", folder / "model"]
                got = np.array(json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["log_probabilities"])
                logits, exact_logits = (reference.run(tokens, vision)["logits"] for reference in (single, double))
                for name, seen in (("engine", difference(got, wanted)), ("float64", difference(exact, wanted)),
                                   ("float64's logits", difference(exact_logits, logits))):
                    differences.setdefault((n, name), []).append(seen)
    for (n, name), seen in differences.items():
        close = [d for d in seen if d < CLOSE]
        far = sorted(set(seen) - set(close))
        rest = f", the others {far[0]:.0e} to {far[-1]:.0e}, median {np.median(far):.0e}" if len(close) < len(seen) else ""
        print(f"{n} tokens, {name} and float32: {len(close)} of {len(seen)} within {CLOSE:.0e} (at most {max(close, default=0):.0e}){rest}")


if __name__ == "__main__":
    main()
