"""Packs photos once into training views: student pixels, and the teacher's grid for each.

View 0 of a photo is the whole photo, the others are random crops; the mirror image of each is a view without being
packed (see dataset.py). The split "mixed" has crops of training photos laid over crops of others: pictures of which no caption tells,
but the teacher does (function matching, arXiv 2106.05237). Every view has a folder of flat arrays, so that training never decodes an image and more views can
be added at any time, also while the encoder trains, which takes up every view that is finished:
  SPLIT/VIEW/pixels.u8  [N, 3, S, S]   student input, resized with Pillow's BILINEAR (the engine's arithmetic)
  SPLIT/VIEW/grids.f16  [N, G*G, D]    the teacher's features, projected to D principal components
  SPLIT/VIEW/done.u8    [N]            1 where a photo's row is written

usage: python -m bitmar.data.views --data DIR --out DIR [--teacher NAME] [--views N] [--mixed N] [--shard i/n]
--data is what bitmar.prepare made; rows are those of its photos.jsonl, split by split.
Shards fill disjoint rows of the same files, so several processes may run at once, and a finished
row is never computed twice.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import random
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image

from ..model.export import import_model
from ..model.quant import fast_products
from ..teachers.networks import TEACHERS
from .dataset import load_rows, rows_in_file
from .prepare import open_at

STUDENT = 128
GRID = 8
WIDTH = 768
FITTED_ON = 1200  # photos that the projection is fitted on


def read_photos(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}


def view_boxes(width: int, height: int, count: int, rng: np.random.Generator) -> list[tuple]:
    """A box per view: left, top, right, bottom in pixels."""
    views = [(0, 0, width, height)]
    while len(views) < count:
        area, aspect = rng.uniform(0.45, 1.0), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w = min(width, int(round(width * np.sqrt(area * aspect))))
        h = min(height, int(round(height * np.sqrt(area / aspect))))
        left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        views.append((left, top, left + w, top + h))
    return views


def render(image: Image.Image, box: tuple, size: int) -> np.ndarray:
    """The crop, resized; uint8 [size, size, 3]."""
    return np.asarray(image.resize((size, size), Image.BILINEAR, box=box))


def whole(photos: list[Image.Image], size: int) -> np.ndarray:
    """Whole photos, squashed; uint8 [B, size, size, 3]."""
    return np.stack([render(photo, (0, 0, *photo.size), size) for photo in photos])


def mixture(row: int, view: int, photos: int) -> tuple[int, float]:
    """Which photo is laid over photo `row` in a view of the mixed ones, and how much of the picture is the first one's."""
    rng = np.random.default_rng((row, view))
    return int(rng.integers(photos)), rng.uniform(0.2, 0.8)


def raw_grids(teacher, pictures: np.ndarray, device="cpu") -> list[torch.Tensor]:
    """Of pictures uint8 [B, size, size, 3], every grid of the teacher resampled to GRID x GRID; each [B, GRID*GRID, C_i] float32."""
    images = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad(), torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=fast_products(device) == torch.bfloat16):
        grids = teacher(images.contiguous(memory_format=torch.channels_last))
    out = []
    for grid in grids:
        grid = F.interpolate(grid.float(), (GRID, GRID), mode="bilinear", antialias=True, align_corners=False)
        out.append(grid.flatten(2).transpose(1, 2))
    return out


def principal_components(grids: list[torch.Tensor], shares: list[float] | None = None) -> dict:
    """PCA of grids [N, C_i] side by side, each scaled to its share of the variance first (equal ones without `shares`)."""
    shares = shares or [1.0] * len(grids)
    scales = [float((share / g.var(0).sum()).sqrt()) for share, g in zip(shares, grids)]
    x = torch.cat([g * k for g, k in zip(grids, scales)], 1)
    mean = x.mean(0)
    x -= mean
    cov = x.T @ x / len(x)
    values, vectors = torch.linalg.eigh(cov.double())
    basis = vectors[:, -WIDTH:].flip(1).float()
    kept = float(values[-WIDTH:].sum() / values.sum())
    rms = float((x @ basis).pow(2).mean().sqrt())
    print(f"projection: {x.shape[1]} -> {WIDTH} keeps {kept:.3f} of the variance", flush=True)
    return {"scales": scales, "mean": mean, "basis": basis / rms, "kept": kept}


def fit_projection(teacher, photos: list[Image.Image], out: Path, device="cpu", like: Path | None = None) -> None:
    """Writes the projection, turned towards the features of the student `like` where one is given (see align); beside it kinds.pt (see
    kinds_map) where the teacher has a classifier. Every other patch is enough."""
    blocks: list[list[torch.Tensor]] = []
    for start in range(0, len(photos), 32):
        blocks.append([grid[:, ::2].cpu() for grid in raw_grids(teacher, whole(photos[start:start + 32], teacher.image_size), device)])
    grids = [torch.cat([b[i] for b in blocks]) for i in range(len(blocks[0]))]
    projection = principal_components([grid.flatten(0, 1) for grid in grids], getattr(teacher, "shares", None))
    if like:
        student = import_model(like)
        with torch.no_grad():
            mine = torch.cat([student.vision(torch.from_numpy(whole(photos[start:start + 32], STUDENT)).permute(0, 3, 1, 2))[:, ::2]
                              for start in range(0, len(photos), 32)])
        align(projection, mine, project(grids, projection))
    if hasattr(teacher, "classifier"):
        weight, bias = kinds_map(projection, teacher.classifier, projection["basis"].shape[1])
        torch.save({"weight": weight, "bias": bias}, out.with_name("kinds.pt"))
    torch.save(projection, out)


def align(projection: dict, mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Turns the projection's first components so that mine [N, P, f], the student's features of some photos, is as near to them
    (theirs [N, P, WIDTH] before) as any rotation brings it (orthogonal Procrustes; Schönemann 1966). A captioner of the student's
    features then understands much of the new grid from the start. -> the rotation [f, f]"""
    f = mine.shape[-1]
    u, _, v = torch.linalg.svd(theirs[..., :f].flatten(0, 1).T.double() @ mine.flatten(0, 1).double())
    rotation = (u @ v).float()
    projection["basis"] = torch.cat([projection["basis"][:, :f] @ rotation, projection["basis"][:, f:]], 1)
    return rotation


def kinds_map(projection: dict, classifier: nn.Linear, components: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [components, K] and bias [K] that make the teacher's logits of a photo, as well as so many components tell, from the mean of its
    projected grid. The classifier takes the mean of the teacher's last grid."""
    basis, width = projection["basis"][:, :components], classifier.in_features
    back = (basis / basis.square().sum(0)).T[:, -width:]  # columns of `basis` are orthogonal, of length 1 / rms
    scale = projection["scales"][-1]
    return back @ classifier.weight.T / scale, projection["mean"][-width:] @ classifier.weight.T / scale + classifier.bias


def project(grids: list[torch.Tensor], projection: dict) -> torch.Tensor:
    x = torch.cat([g * k for g, k in zip(grids, projection["scales"])], -1)
    return (x - projection["mean"]) @ projection["basis"]


def open_photo(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def views_to_pack(views: int, mixed: int) -> list[tuple[str, int]]:
    """Splits and views in the order in which they are wanted: training may begin with the first of each."""
    order = [("val", 0)]
    for view in range(max(views, mixed)):
        order += [("train", view)] * (view < views) + [("mixed", view)] * (view < mixed)
    return order


@dataclass(frozen=True)
class Packing:
    """What to pack; see main()."""

    data: Path
    out: Path
    cache: Path = Path(".cache/teacher")
    teacher: str = "ensemble"
    teacher_weights: Path | None = None
    like: Path | None = None
    views: int = 8
    mixed: int = 0
    size: int = STUDENT
    grids_of: Path | None = None
    shard: str = "0/1"
    device: str = "cpu"

    def arguments(self) -> list[str]:
        """The same on a command line"""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if getattr(self, field.name) is not None}
        return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def pack(packing: Packing) -> None:
    shard, shards = map(int, packing.shard.split("/"))
    torch.set_num_threads(1)
    cuda = packing.device.startswith("cuda")
    at_once, threads = (128, max(1, (os.cpu_count() or 1) // shards)) if cuda else (32, 1)

    rows_of = {split: load_rows(packing.data, split) for split in ("train", "val")}
    packing.out.mkdir(parents=True, exist_ok=True)
    if not packing.grids_of:
        teacher = TEACHERS[packing.teacher](packing.cache, packing.teacher_weights).to(packing.device, memory_format=torch.channels_last)
        projection_file = packing.out / "projection.pt"
        if not projection_file.exists():
            some = random.Random(0).sample(rows_of["train"], min(FITTED_ON, len(rows_of["train"])))
            fit_projection(teacher, [open_photo(open_at(row)) for row in some], projection_file, packing.device, packing.like)
        projection = {name: value.to(packing.device) if torch.is_tensor(value) else value
                      for name, value in torch.load(projection_file, map_location="cpu").items()}
        width = projection["basis"].shape[1]
    # Without a teacher nothing is asked of it.
    sizes = [packing.size] if packing.grids_of else [packing.size, teacher.image_size]

    def crop(split: str, row: int, view: int) -> list[np.ndarray]:
        """The view in every size."""
        image = open_photo(open_at(rows_of[split][row]))
        box = view_boxes(*image.size, view + 1, np.random.default_rng(row))[view]
        return [render(image, box, size) for size in sizes]

    def picture(split: str, row: int, view: int) -> list[np.ndarray]:
        if split != "mixed":
            return crop(split, row, view)
        over, share = mixture(row, view, len(rows_of["train"]))
        share = np.float32(share)
        pairs = zip(crop("train", row, view + 1), crop("train", over, view + 1))
        return [np.rint(share * a + (1 - share) * b).astype(np.uint8) for a, b in pairs]

    with ThreadPoolExecutor(threads) as pool:
        for split, view in views_to_pack(packing.views, packing.mixed):
            rows = len(rows_of["val" if split == "val" else "train"])
            folder = packing.out / split / str(view)
            folder.mkdir(parents=True, exist_ok=True)

            def array(name, dtype, *shape):
                return rows_in_file(folder / name, dtype, (rows, *shape))

            if packing.grids_of and not (folder / "grids.f16").exists():
                (folder / "grids.f16").symlink_to((packing.grids_of / split / str(view) / "grids.f16").resolve(strict=True))
            pixels = array("pixels.u8", np.uint8, 3, packing.size, packing.size)
            grids = None if packing.grids_of else array("grids.f16", np.float16, GRID * GRID, width)
            done = array("done.u8", np.uint8)
            todo = [i for i in range(shard, rows, shards) if not done[i]]

            def rendered(start: int):
                return [pool.submit(picture, split, i, view) for i in todo[start:start + at_once]]

            ahead = rendered(0)  # the next pictures are drawn while the teacher looks at these
            for start in range(0, len(todo), at_once):
                index, pictures = todo[start:start + at_once], [future.result() for future in ahead]
                ahead = rendered(start + at_once)
                pixels[index] = np.stack([sized[0] for sized in pictures]).transpose(0, 3, 1, 2)
                if grids is not None:
                    seen = raw_grids(teacher, np.stack([sized[1] for sized in pictures]), packing.device)
                    grids[index] = project(seen, projection).half().cpu().numpy()
                done[index] = 1
            print(f"{split} view {view}: shard {shard}/{shards} finished", flush=True)



def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="the folder that bitmar.prepare filled")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Packing.cache)
    parser.add_argument("--teacher", choices=TEACHERS, default=Packing.teacher)
    parser.add_argument("--teacher-weights", type=Path, help="of dinov2: the authors' checkpoint or Hugging Face's")
    parser.add_argument("--like", type=Path, help="an exported model: its features are what the projected grid is turned towards")
    parser.add_argument("--views", type=int, default=Packing.views, help="of a photo to train on; more can be added later")
    parser.add_argument("--mixed", type=int, default=0, help="views of a photo with another laid over it; more can be added later")
    parser.add_argument("--size", type=int, default=STUDENT, help="pixels a side of the student's input")
    parser.add_argument("--grids-of", type=Path, help="views to take the teacher's grids from, where only --size is another")
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    pack(Packing(**vars(args)))


if __name__ == "__main__":
    main()
