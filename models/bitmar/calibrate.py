"""Fits how sure a caption is to how often captions like it are right, and writes it into a model's config.json.

A caption counts as right if it scores higher (CIDEr) against its own photo's references than against those of 95 of
100 other photos. Captions of pictures that show nothing the model knows (unseen.py) count as wrong. The mean
log-probability of a token is mapped by a logistic curve (Platt 1999).

usage: python -m bitmar.calibrate --model DIR --engine PATH/TO/bitmar --photos images.tar --captions captions.json
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from .data import load_captions
from .evaluate import engine_captions, write_pngs
from .metrics import Cider, words
from .unseen import unseen
from .views import read_photos

RIVALS, BEATEN = 100, 95


def right(said: list[list[str]], references, seed=0) -> list[bool]:
    metric, rng, out = Cider(references), random.Random(seed), []
    for i, caption in enumerate(said):
        own = metric(caption, references[i])
        others = rng.sample([j for j in range(len(references)) if j != i], min(RIVALS, len(references) - 1))
        out.append(sum(own > metric(caption, references[j]) for j in others) >= BEATEN / RIVALS * len(others))
    return out


def fit(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> tuple[float, float]:
    """slope and offset of 1 / (1 + exp(-(slope x + offset))), by Newton's method on the weighted log-likelihood."""
    features, theta = torch.stack([x, torch.ones_like(x)], 1).double(), torch.zeros(2, dtype=torch.double)
    for _ in range(50):
        p = torch.sigmoid(features @ theta)
        gradient = features.t() @ (weight * (y - p)) - 1e-3 * theta
        hessian = features.t() @ (features * (weight * p * (1 - p))[:, None]) + 1e-3 * torch.eye(2, dtype=torch.double)
        theta = theta + torch.linalg.solve(hessian, gradient)
    return float(theta[0]), float(theta[1])


def area_under_curve(x: torch.Tensor, y: torch.Tensor) -> float:
    """The chance that a right caption has a higher x than a wrong one."""
    good, bad = x[y > 0.5], x[y < 0.5]
    return float(((good[:, None] > bad).double() + 0.5 * (good[:, None] == bad).double()).mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--engine", nargs="+", required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--each", type=int, default=40, help="pictures of each unseen kind")
    args = parser.parse_args()
    names, references = load_captions(args.captions, "val")
    files, strange = read_photos(args.photos), unseen(args.each)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pngs([files[n] for n in names], Path(folder))
        for i, (_, image) in enumerate(strange):
            paths.append(Path(folder) / f"unseen{i}.png")
            image.save(paths[-1])
        rows = engine_captions(args.engine, args.model, paths, beams=1)
    mean = torch.tensor([r["log_probability"] / (len(r["tokens"]) + 1) for r in rows]).double()
    refs = [[words(c) for c in r] for r in references]
    truth = right([words(r["text"]) for r in rows[:len(names)]], refs)
    y = torch.tensor([float(t) for t in truth] + [0.0] * len(strange)).double()
    # Every other photo fits the curve, the rest judge it.
    half = torch.arange(len(y)) % 2 == 0
    ones = torch.ones_like(y)
    slope, offset = fit(mean[half], y[half], ones[half])
    p = torch.sigmoid(slope * mean + offset)
    print(f"right: {sum(truth)} of {len(truth)} photos; area under curve {area_under_curve(mean, y):.3f}"
          f" (photos alone {area_under_curve(mean[:len(names)], y[:len(names)]):.3f})")
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = (p >= low) & (p < low + 0.2) & ~half
        if inside.any():
            print(f"  confidence {low:.1f} to {low + 0.2:.1f}: {float(p[inside].mean()):.2f} said,"
                  f" {float(y[inside].mean()):.2f} right, {int(inside.sum())} captions")
    for kind in dict.fromkeys(kind for kind, _ in strange):
        mine = [float(p[len(names) + i]) for i, (k, _) in enumerate(strange) if k == kind]
        print(f"  {kind}: median confidence {sorted(mine)[len(mine) // 2]:.2f}, e.g."
              f" \"{next(rows[len(names) + i]['text'] for i, (k, _) in enumerate(strange) if k == kind)}\"")
    slope, offset = fit(mean, y, ones)
    path = args.model / "config.json"
    config = json.loads(path.read_text())
    config["confidence"] = {"slope": round(slope, 4), "offset": round(offset, 4)}
    path.write_text(json.dumps(config, indent=2) + "\n")
    print(f"slope {slope:.4f}, offset {offset:.4f} written to {path}")


if __name__ == "__main__":
    main()
