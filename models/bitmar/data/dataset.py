"""The packed views (see views.py), captions as token ids, and caption text for language training."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F

from ..deadline import Deadline

AT_ONCE = 64  # photos that a model sees


def mirrored_grid(grid):
    """[..., P, features], array or tensor, of square grids of P patches, left and right changed over."""
    patches = np.arange(grid.shape[-2])
    side = round(len(patches) ** 0.5)
    return grid[..., patches.reshape(side, side)[:, ::-1].flatten(), :]


def fingerprint(weights: Iterable[torch.Tensor]) -> str:
    """Of weights, for the names of files that hold what they made."""
    return hashlib.sha256(b"".join(w.detach().cpu().numpy().tobytes() for w in weights)).hexdigest()[:8]


def rows_in_file(path: Path, dtype, shape: tuple[int, ...], mode="r+") -> np.ndarray:
    """The array in a file, which is made of zeros where it is not there; several processes may do so at once."""
    with path.open("ab") as file:
        file.truncate(math.prod(shape) * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype, mode, shape=shape)


class Views:
    """Memory-mapped views of one split, those whose folders were finished when last looked for. The picture in folder k is
    view 2 k and its mirror image view 2 k + 1; what a teacher makes of a mirror image is very nearly the mirror image of its grid."""

    def __init__(self, folder: Path, split: str):
        self.folder = Path(folder) / split
        self._pixels: list[np.ndarray] = []
        self._grids: list[np.ndarray] = []
        self.look()
        if not self.count:
            raise SystemExit(f"{self.folder}: no finished view; see bitmar/data/views.py")
        self.size = self._pixels[0].shape[-1]

    def look(self) -> None:
        """Takes up the views that were finished since."""
        while (done := self.folder / str(len(self._pixels)) / "done.u8").exists() and (written := np.fromfile(done, np.uint8)).all():
            photos, folder = len(written), done.parent
            pixels = np.memmap(folder / "pixels.u8", np.uint8, "r")
            size = int(round((len(pixels) / (photos * 3)) ** 0.5))
            self._grids.append(np.memmap(folder / "grids.f16", np.float16, "r").reshape(photos, 64, -1))
            self._pixels.append(pixels.reshape(photos, 3, size, size))

    @property
    def count(self) -> int:
        return 2 * len(self._pixels)

    def file(self, view: int, name: str) -> Path:
        """Where what is made of a view may be kept."""
        return self.folder / str(view // 2) / (f"mirrored-{name}" if view % 2 else name)

    def __len__(self) -> int:
        return len(self._pixels[0])

    @staticmethod
    def gather(get: Callable, rows, view) -> torch.Tensor:
        """get(view, row) of each row; `view` is one number or one a row."""
        return torch.from_numpy(np.stack([get(v, r) for r, v in zip(rows, np.broadcast_to(view, len(rows)))]))

    def pixels(self, rows, view) -> torch.Tensor:
        """uint8 [len(rows), 3, S, S]; `view` is one number or one a row."""
        return self.gather(lambda v, r: self._pixels[v // 2][r][..., ::-1 if v % 2 else 1], rows, view)

    def grids(self, rows, view, features: int | None = None) -> torch.Tensor:
        """float16 [len(rows), P, features]: the teacher's first principal components, or all"""
        def get(v, r):
            grid = self._grids[v // 2][r, :, :features]
            return mirrored_grid(grid) if v % 2 else grid

        return self.gather(get, rows, view)


class ResidentViews(Views):
    """Views kept on a device, the first `features` components of their grids, for batches drawn there: to look a batch of 256 up
    in files takes longer than a GPU takes to learn from it. Half a gigabyte a packed view."""

    def __init__(self, folder: Path, split: str, features: int, device):
        self.features, self.device, self._resident = features, device, None
        super().__init__(folder, split)

    def look(self) -> None:
        before = len(self._pixels)
        super().look()
        if self._pixels[before:]:
            new = [torch.stack([torch.from_numpy(np.array(array)).to(self.device) for array in arrays])
                   for arrays in (self._pixels[before:], [grids[..., :self.features] for grids in self._grids[before:]])]
            self._resident = new if self._resident is None else [torch.cat(pair) for pair in zip(self._resident, new)]

    def _rows(self, arrays: torch.Tensor, rows, view, mirrored) -> torch.Tensor:
        rows, view = (torch.from_numpy(np.ascontiguousarray(index)).to(self.device) for index in np.broadcast_arrays(rows, view))
        found = arrays[view // 2, rows]
        return torch.where((view % 2 == 1).view(-1, *[1] * (found.dim() - 1)), mirrored(found), found)

    def pixels(self, rows, view) -> torch.Tensor:
        return self._rows(self._resident[0], rows, view, lambda found: found.flip(-1))

    def grids(self, rows, view, features: int | None = None) -> torch.Tensor:
        return self._rows(self._resident[1], rows, view, mirrored_grid)[..., :features]


def kept_beside(views: Views, view: int, name: str, width: int, see: Callable[[np.ndarray], torch.Tensor], deadline: Deadline) -> torch.Tensor:
    """[photos, width]: what `see` makes of every photo, from rows to [rows, width], AT_ONCE rows at a time. Kept in a file of that
    name beside the view, where photos not seen yet are NaN. Exits with a failure at the deadline, to be gone on with by the next call."""
    path, photos = views.file(view, name), len(views)
    if not path.exists():
        empty = path.with_suffix(".tmp.npy")
        np.save(empty, np.full((photos, width), np.nan, np.float32))
        os.replace(empty, path)
    kept = np.lib.format.open_memmap(path, "r+")
    for rows in np.split(np.arange(photos), range(AT_ONCE, photos, AT_ONCE)):
        if not np.isnan(kept[rows]).any():
            continue
        if deadline.passed():
            raise SystemExit(f"{path}: the time is up at photo {rows[0]} of {photos}; run again to go on")
        with torch.no_grad():
            kept[rows] = see(rows).cpu().numpy()
    return torch.from_numpy(np.array(kept))


def nearest_photos(views: Views, rows: np.ndarray, count=12) -> np.ndarray:
    """[len(rows), count] places in `rows` of the photos whose mean teacher feature is most like each photo's, itself left out."""
    mean = torch.cat([views.grids(part, 0).float().mean(1) for part in np.array_split(rows, max(1, len(rows) // 256))])
    mean = F.normalize(mean - mean.mean(0), dim=-1)
    out = []
    for start in range(0, len(rows), 1024):
        similarity = mean[start:start + 1024] @ mean.t()
        similarity[torch.arange(len(similarity)), torch.arange(start, start + len(similarity))] = -1
        out.append(similarity.topk(min(count, len(rows) - 1)).indices)
    return torch.cat(out).numpy()


def load_rows(data: Path, split: str) -> list[dict]:
    """Rows of a split of what bitmar.prepare made, in the order of the packed views."""
    return [row for row in map(json.loads, (Path(data) / "photos.jsonl").read_text().splitlines()) if row["split"] == split]


def load_captions(path: Path, split: str) -> tuple[list[str], list[list[str]]]:
    """Photo names and their five captions each."""
    rows = json.loads(Path(path).read_text())[split]
    return [r["image"] for r in rows], [r["captions"] for r in rows]


def clean_caption(text: str) -> str:
    """Lower-case, single spaces, no final full stop: what the decoder learns to say."""
    return " ".join(text.lower().split()).rstrip(" .").strip()


def pad(rows: list[list[int]], value: int) -> torch.Tensor:
    out = torch.full((len(rows), max(map(len, rows), default=0)), value, dtype=torch.long)
    for i, row in enumerate(rows):
        out[i, :len(row)] = torch.tensor(row)
    return out
