"""The packed views (see views.py), captions as token ids, and caption text for language training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F


class Views:
    """Memory-mapped views of one split; `count` views a photo."""

    def __init__(self, folder: Path, split: str):
        self.folder = Path(folder) / split
        done = np.memmap(self.folder / "done.u8", np.uint8, "r")
        pixels = np.memmap(self.folder / "pixels.u8", np.uint8, "r")
        grids = np.memmap(self.folder / "grids.f16", np.float16, "r")
        self.count = 1 if split == "val" else 6
        photos = len(done) // self.count
        self.size = int(round((len(pixels) / (photos * self.count * 3)) ** 0.5))
        self._pixels = pixels.reshape(photos, self.count, 3, self.size, self.size)
        self._grids = grids.reshape(photos, self.count, 64, -1)

    def __len__(self) -> int:
        return len(self._pixels)

    def pixels(self, rows, view) -> torch.Tensor:
        """uint8 [len(rows), 3, S, S]; `view` is one number or one a row."""
        return torch.from_numpy(np.ascontiguousarray(self._pixels[np.asarray(rows), np.asarray(view)]))

    def grids_of_view(self, view: int) -> np.ndarray:
        """float16 [N, P, features], not yet read"""
        return self._grids[:, view]

    def grids(self, rows, view, features: int | None = None) -> torch.Tensor:
        """float16 [len(rows), P, features]: the teacher's first principal components, or all"""
        return torch.from_numpy(np.ascontiguousarray(self._grids[np.asarray(rows), np.asarray(view)][..., :features]))


def nearest_photos(views: Views, count=12, photos: int | None = None) -> np.ndarray:
    """[N, count] rows of the photos whose mean teacher feature is most like each photo's, itself left out; of the first
    `photos` photos, or of all."""
    mean = torch.from_numpy(np.stack([grid.astype(np.float32).mean(0) for grid in views.grids_of_view(0)[:photos]]))
    mean = F.normalize(mean - mean.mean(0), dim=-1)
    similarity = mean @ mean.t()
    return similarity.fill_diagonal_(-1).topk(min(count, len(mean) - 1)).indices.numpy()


def load_captions(path: Path, split: str) -> tuple[list[str], list[list[str]]]:
    """Photo names and their five captions each."""
    rows = json.loads(Path(path).read_text())[split]
    return [r["image"] for r in rows], [r["captions"] for r in rows]


def clean_caption(text: str) -> str:
    """Lower-case, single spaces, no final full stop: what the decoder learns to say."""
    return " ".join(text.lower().split()).rstrip(" .").strip()


def pad(rows: list[list[int]], value: int) -> torch.Tensor:
    out = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.long)
    for i, row in enumerate(rows):
        out[i, :len(row)] = torch.tensor(row)
    return out
