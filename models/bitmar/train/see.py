"""Packs what a trained encoder makes of every packed view, in the form of views.py, for stages that leave the encoder as it is.

The encoder sees each picture once, however long the captioner learns. View 2 k is the picture in folder k, view 2 k + 1 its mirror image,
as ever; here both are seen: folder 2 k holds the grid of the picture, folder 2 k + 1 that of its mirror image, mirrored back. Without mirror
images, which takes half the time, folder k holds that of the picture alone. What frozen first convolutions made of a picture is
taken from where the stage that taught the encoder kept it.

usage: python -m bitmar.train.see --checkpoint encoder.pt --views DIR --out DIR [--views-each N] [--no-mirrored] [--shard I/N]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch

from ..data.dataset import AT_ONCE, Views, mirrored_grid, rows_in_file
from ..data.inputs import FrozenConvolutions
from ..model import BitMar
from ..model.export import read_checkpoint
from ..model.quant import Precision, fast_products, set_precision


def see(checkpoint: Path, packed: Path, to: Path, views_each=1, shard="0/1", products: torch.dtype | None = None, mirrored=True) -> None:
    own, shards = map(int, shard.split("/"))
    state = read_checkpoint(checkpoint)
    model = BitMar(state["config"])
    model.load_state_dict(state["model"])
    set_precision(model, Precision(products or fast_products("cpu")))
    vision, features = model.eval().requires_grad_(False).vision, state["config"]["vision"]["feature_size"]
    for split in ("val", "train"):
        views = Views(packed, split)
        inputs = FrozenConvolutions(model, views, "cpu")
        for folder in range((1 + mirrored) * min(views_each, views.count // 2) if split == "train" else 1):
            view = folder if mirrored else 2 * folder
            out = to / split / str(folder)
            out.mkdir(parents=True, exist_ok=True)
            pixels, source = out / "pixels.u8", (packed / split / str(view // 2) / "pixels.u8").resolve()
            if not pixels.exists():
                pixels.symlink_to(source)

            grids, done = (rows_in_file(out / name, dtype, (len(views), *shape))
                           for name, dtype, shape in (("grids.f16", np.float16, (64, features)), ("done.u8", np.uint8, ())))
            todo = [i for i in range(own, len(views), shards) if not done[i]]
            for start in range(0, len(todo), AT_ONCE):
                rows = todo[start:start + AT_ONCE]
                with torch.no_grad():
                    grid = vision.transform(vision.run_stem(inputs(rows, view), inputs.first)).numpy()
                grids[rows] = mirrored_grid(grid) if view % 2 else grid
                done[rows] = 1
            print(f"{split} {folder}: shard {shard} seen", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, required=True, help="of the encoder, or an exported model")
    parser.add_argument("--views", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--views-each", type=int, default=1, help="packed views of a training photo to see")
    parser.add_argument("--no-mirrored", dest="mirrored", action="store_false", help="not their mirror images, whose grids are then taken for mirror images of theirs")
    parser.add_argument("--shard", default="0/1")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    see(args.checkpoint, args.views, args.out, args.views_each, args.shard, mirrored=args.mirrored)


if __name__ == "__main__":
    main()
