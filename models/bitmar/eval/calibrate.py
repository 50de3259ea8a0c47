"""Fits what a model says of itself to validation photos, and writes it into its config.json.

confidence: how sure a caption is, by how often captions like it are right.
memory.novelty_threshold, recall_threshold, read_threshold: how similar is the same, a taught thing, and worth reading.

A caption counts as right if it scores higher (CIDEr) against its own photo's references than against those of 95 of
100 other photos of its set, or where it names one of its photo's labels. Captions of pictures that show nothing the model knows
(strange.py) count as wrong. The mean log-probability of a token, the likeness of picture and caption and the agreement of the caption with the
bag-of-words prediction are mapped by a logistic curve (Platt 1999).

usage: python -m bitmar.calibrate --model DIR --engine PATH/TO/bitmar --data DIR [--beams N]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import torch
from PIL import Image, ImageEnhance, ImageOps
from sklearn.linear_model import LogisticRegression

from ..data.dataset import load_rows
from ..data.prepare import open_at
from ..data.strange import strange_pictures
from ..data.views import open_photo, whole
from ..model import load_config
from ..model.export import import_model
from .evaluate import FEWEST_REFERENCES, engine_captions, engine_embeddings, is_named, kinds_of, references_of, write_pngs
from .metrics import Cider, words

RIVALS, BEATEN = 100, 95
DESCRIBED, LABELLED = 400, 800  # photos of each set with references, and photos with labels, at most


def right(said: list[list[str]], references, seed=0) -> list[bool]:
    metric, rng, out = Cider(references), random.Random(seed), []
    for i, caption in enumerate(said):
        own = metric(caption, references[i])
        others = rng.sample([j for j in range(len(references)) if j != i], min(RIVALS, len(references) - 1))
        out.append(sum(own > metric(caption, references[j]) for j in others) >= BEATEN / RIVALS * len(others))
    return out


def fit(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Slopes and offset of 1 / (1 + exp(-(slopes . x + offset))), x [N, n], of the greatest likelihood. A ridge of 1e-3 keeps them finite where
    one line parts right from wrong."""
    features = torch.cat([x, torch.ones(len(x), 1)], 1).double().numpy()
    found = LogisticRegression(C=1e3, fit_intercept=False, solver="newton-cholesky", tol=1e-10, max_iter=100).fit(features, y.numpy() > 0.5)
    return torch.from_numpy(found.coef_[0])


def area_under_curve(x: torch.Tensor, y: torch.Tensor) -> float:
    """The chance that a right caption has a higher x than a wrong one."""
    good, bad = x[y > 0.5], x[y < 0.5]
    return float(((good[:, None] > bad).double() + 0.5 * (good[:, None] == bad).double()).mean())


def agreements(directory: Path, pictures: list[Image.Image], tokens: list[list[int]]) -> torch.Tensor:
    """Of captions with the bag-of-words predictions of their pictures; zeros where the model has no such head."""
    model = import_model(directory)
    if not model.bag_of_words:
        return torch.zeros(len(pictures))
    size, out = model.config["vision"]["image_size"], []
    with torch.no_grad():
        for start in range(0, len(pictures), 20):
            pixels = torch.from_numpy(whole(pictures[start:start + 20], size)).permute(0, 3, 1, 2)
            features = model.vision(pixels)
            summary = model.bag_of_words.summary(features, model.compressor(features))
            wanted = model.bag_of_words.wanted(model.bag_of_words_logits(summary))
            out += [model.bag_of_words.agreement(w, t) for w, t in zip(wanted, tokens[start:])]
    return torch.tensor(out)


def another_view(image: Image.Image, rng: random.Random) -> Image.Image:
    """Another crop, mirrored or not, lighter or darker: the same thing, seen again."""
    part = rng.uniform(0.75, 1)
    width, height = image.width * part, image.height * part
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
    out = image.resize(image.size, Image.BILINEAR, box=(left, top, left + width, top + height))
    out = ImageEnhance.Contrast(ImageEnhance.Brightness(out).enhance(rng.uniform(0.8, 1.2))).enhance(rng.uniform(0.8, 1.2))
    return ImageOps.mirror(out) if rng.random() < 0.5 else out


def memory_thresholds(engine: list[str], directory: Path, photos: list[bytes], folder: Path) -> dict[str, float]:
    """Novelty: at most 1 % of photos are taken for one of 500 others. Recall: at most 5 % are taken for one of 100.
    Read: half of the photos find something among 500 others that is worth reading."""
    torch.manual_seed(0)
    rng, paths = random.Random(0), []
    for i, data in enumerate(photos):
        image = open_photo(data)
        for name, picture in (("photo", image), ("view", another_view(image, rng))):
            paths.append(folder / f"{name}{i}.png")
            picture.save(paths[-1], compress_level=1)
    vectors = engine_embeddings(engine, directory, paths)
    photo, view = vectors[0::2], vectors[1::2]
    same = (photo * view).sum(1)
    similarity = (photo @ photo.t()).fill_diagonal_(-1)
    best_of_500 = similarity[:, torch.randperm(len(photo))[:500]].amax(1)
    best_of_100 = similarity[:, torch.randperm(len(photo))[:100]].amax(1)
    out = {"novelty_threshold": float(best_of_500.quantile(0.99)), "recall_threshold": float(best_of_100.quantile(0.95)),
           "read_threshold": float(best_of_500.quantile(0.5))}
    for name, value in out.items():
        print(f"{name} {value:.3f}: {float((same >= value).float().mean()):.3f} of other views of the same photo reach it")
    return {name: round(value, 3) for name, value in out.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--engine", nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--beams", type=int, default=8)
    parser.add_argument("--each", type=int, default=40, help="pictures of each strange kind")
    args = parser.parse_args()
    rng, by_set = random.Random(0), {}
    for row in load_rows(args.data, "val"):
        kind = row["set"] if len(references_of(row)) >= FEWEST_REFERENCES else "labelled" if kinds_of(row) else None
        by_set.setdefault(kind, []).append(row)
    by_set.pop(None, None)
    by_set = {kind: rng.sample(rows, min(len(rows), LABELLED if kind == "labelled" else DESCRIBED)) for kind, rows in by_set.items()}
    seen, strange = [row for rows in by_set.values() for row in rows], strange_pictures(args.each)
    photos = [open_at(row) for row in seen]
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pngs(photos, Path(folder))
        for i, (_, image) in enumerate(strange):
            paths.append(Path(folder) / f"strange{i}.png")
            image.save(paths[-1])
        rows = engine_captions(args.engine, args.model, paths, args.beams)
        vectors = engine_embeddings(args.engine, args.model, paths, [r["text"] for r in rows])
        pictures = [open_photo(photo) for photo in photos] + [image for _, image in strange]
        agreement = agreements(args.model, pictures, [r["tokens"] for r in rows]).double()
        # Of photos that people described: among labelled ones are frames of one webcam, which are alike and not the same.
        described = [photo for row, photo in zip(seen, photos) if row["captions"]]
        memory = memory_thresholds(args.engine, args.model, described, Path(folder))
    mean = torch.tensor([r["log_probability"] / (len(r["tokens"]) + 1) for r in rows]).double()
    truth: list[bool] = []
    for kind, of in by_set.items():
        said = [row["text"] for row in rows[len(truth):len(truth) + len(of)]]
        if kind == "labelled":
            truth += [is_named(row, caption) for row, caption in zip(of, said)]
        else:
            truth += right([words(c) for c in said], [[words(c) for c in references_of(row)] for row in of])
    y = torch.tensor([float(t) for t in truth] + [0.0] * len(strange)).double()
    likeness = (vectors[:len(paths)] * vectors[len(paths):]).sum(1).double()
    evidence = {"log-probability": mean, "likeness": likeness, "agreement": agreement}
    x = torch.stack(list(evidence.values()), 1)
    # Every other photo fits the curve, the rest judge it.
    half = torch.arange(len(y)) % 2 == 0
    theta = fit(x[half], y[half])
    p = torch.sigmoid(x @ theta[:-1] + theta[-1])
    print(f"right: {sum(truth)} of {len(truth)} photos; area under curve, of the half that judges: "
          + ", ".join(f"{name} {area_under_curve(of[~half], y[~half]):.3f}"
                      for name, of in (*evidence.items(), ("all", p))))
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = (p >= low) & (p < low + 0.2) & ~half
        if inside.any():
            print(f"  confidence {low:.1f} to {low + 0.2:.1f}: {float(p[inside].mean()):.2f} said,"
                  f" {float(y[inside].mean()):.2f} right, {int(inside.sum())} captions")
    start = 0
    for kind, of in by_set.items():
        mine, start = p[start:start + len(of)], start + len(of)
        print(f"  {kind}: median confidence {float(mine.median()):.2f}, " + ", ".join(f"{float((mine >= limit).double().mean()):.2f} above {limit}" for limit in (0.3, 0.4, 0.5)))
    for limit in (0.3, 0.35, 0.4, 0.45, 0.5):
        above = p[:len(seen)] >= limit
        print(f"  above {limit}: {float(y[:len(seen)][above].mean()):.3f} right")
    for kind in dict.fromkeys(kind for kind, _ in strange):
        mine = [float(p[len(seen) + i]) for i, (k, _) in enumerate(strange) if k == kind]
        print(f"  {kind}: median confidence {sorted(mine)[len(mine) // 2]:.2f}, e.g."
              f" \"{next(rows[len(seen) + i]['text'] for i, (k, _) in enumerate(strange) if k == kind)}\"")
    fitted = dict(zip(("slope", "similarity", "agreement", "offset"), fit(x, y).tolist()))
    path = args.model / "config.json"
    config = load_config(path)
    config["confidence"] = {name: round(value, 4) for name, value in fitted.items()}
    config["memory"] |= memory
    path.write_text(json.dumps(config, indent=2) + "\n")
    print(", ".join(f"{name} {value:.4f}" for name, value in fitted.items()) + f" written to {path}")


if __name__ == "__main__":
    main()
