"""The packed views (see views.py), captions as token ids, and caption text for language training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F


class Views:
    """Memory-mapped views of one split: `count` views of a photo, those that were finished when last looked for."""

    def __init__(self, folder: Path, split: str):
        self.folder = Path(folder) / split
        self._pixels: list[np.ndarray] = []
        self._grids: list[np.ndarray] = []
        self.look()
        if not self.count:
            raise SystemExit(f"{self.folder}: no finished view; see bitmar/views.py")
        self.size = self._pixels[0].shape[-1]

    def look(self) -> None:
        """Takes up the views that were finished since."""
        while (done := self.view_folder(self.count) / "done.u8").exists() and (written := np.fromfile(done, np.uint8)).all():
            photos, folder = len(written), done.parent
            pixels = np.memmap(folder / "pixels.u8", np.uint8, "r")
            size = int(round((len(pixels) / (photos * 3)) ** 0.5))
            self._grids.append(np.memmap(folder / "grids.f16", np.float16, "r").reshape(photos, 64, -1))
            self._pixels.append(pixels.reshape(photos, 3, size, size))

    @property
    def count(self) -> int:
        return len(self._pixels)

    def view_folder(self, view: int) -> Path:
        return self.folder / str(view)

    def __len__(self) -> int:
        return len(self._pixels[0])

    @staticmethod
    def gather(arrays: list[np.ndarray], rows, view, *rest) -> np.ndarray:
        """arrays[view][row] of each row; `view` is one number or one a row."""
        view = np.broadcast_to(np.asarray(view), len(rows))
        return np.stack([arrays[v][(r, *rest)] for r, v in zip(rows, view)])

    def pixels(self, rows, view) -> torch.Tensor:
        """uint8 [len(rows), 3, S, S]; `view` is one number or one a row."""
        return torch.from_numpy(self.gather(self._pixels, rows, view))

    def grids_of_view(self, view: int) -> np.ndarray:
        """float16 [N, P, features], not yet read"""
        return self._grids[view]

    def grids(self, rows, view, features: int | None = None) -> torch.Tensor:
        """float16 [len(rows), P, features]: the teacher's first principal components, or all"""
        return torch.from_numpy(self.gather(self._grids, rows, view, ..., slice(features)))


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
