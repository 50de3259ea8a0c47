"""A checkpoint between two: each weight `share` of the way from one to the other (WiSE-FT, arXiv 2109.01903).

Rewarded training gains score at first and variety never; half of its way has most of the gain and less of the loss.

usage: python -m bitmar.train.mix --start joint.pt --end self_critical.pt --out mixed.pt [--share 0.5]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..model.export import read_checkpoint


def shape(config: dict) -> dict:
    """A model's configuration without what is fitted to its weights afterwards (calibrate.py)."""
    memory = {key: value for key, value in config.get("memory", {}).items() if not key.endswith("_threshold")}
    return {**{key: value for key, value in config.items() if key != "confidence"}, "memory": memory}


def mix(start: dict, end: dict, share: float) -> dict:
    """Both hold "config" and "model", of the same architecture."""
    if shape(start["config"]) != shape(end["config"]) or start["model"].keys() != end["model"].keys():
        raise ValueError("the checkpoints are of different models")
    weights = {name: torch.lerp(value, end["model"][name], share) for name, value in start["model"].items()}
    precision = [{"ternary": each.get("ternary", True), "bits": each.get("bits") or {}} for each in (start, end)]
    if precision[0] != precision[1]:
        raise ValueError("the checkpoints are of different precisions")
    return {"config": end["config"], "model": weights, **precision[0]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--end", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5, help="0 is the start, 1 the end")
    args = parser.parse_args()
    start, end = (read_checkpoint(path) for path in (args.start, args.end))
    torch.save(mix(start, end, args.share), args.out)


if __name__ == "__main__":
    main()
