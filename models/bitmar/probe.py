"""How well a teacher's grid tells photos apart by what people say of them, before anything is distilled from it.

Two float layers over the mean and the maximum of each grid learn a common space with two float layers over a
caption's words; printed is recall@10 on all validation photos, text -> image and image -> text.

usage: python -m bitmar.probe --photos images.tar --captions captions.json --teacher NAME [--cache DIR]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from .captioning import info_nce
from .metrics import recall_at_10, words
from .teacher import TEACHERS
from .views import open_photo, raw_grids, read_photos, whole

TRAINED_ON, EPOCHS, BATCH = 3000, 24, 250
RAREST_WORD = 4  # captions that must have it


def summaries(teacher, photos: list[bytes]) -> torch.Tensor:
    """[N, 2 * channels]: mean and maximum of every grid"""
    rows = []
    for start in range(0, len(photos), 32):
        pictures = [open_photo(p) for p in photos[start:start + 32]]
        grids = raw_grids(teacher, whole(pictures, teacher.image_size))
        rows.append(torch.cat([part for g in grids for part in (g.mean(1), g.amax(1))], 1))
    return torch.cat(rows)


class Bag:
    """Captions as unit vectors over the frequent words, rare ones counting more."""

    def __init__(self, captions: list[str]):
        documents = Counter(word for c in captions for word in set(words(c)))
        self.index = {w: i for i, w in enumerate(sorted(w for w, n in documents.items() if n >= RAREST_WORD))}
        self.weight = torch.tensor([len(captions) / documents[w] for w in self.index]).log()

    def __call__(self, captions: list[str]) -> torch.Tensor:
        rows = torch.zeros(len(captions), len(self.index))
        for row, caption in zip(rows, captions):
            row[[self.index[w] for w in words(caption) if w in self.index]] = 1
        return F.normalize(rows * self.weight, dim=1)


def tower(width: int, first_dropout: float) -> nn.Module:
    return nn.Sequential(nn.Dropout(first_dropout), nn.Linear(width, 512), nn.ReLU(), nn.Dropout(0.3), nn.Linear(512, 256))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--teacher", choices=TEACHERS, required=True)
    parser.add_argument("--teacher-weights", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache/teacher"))
    args = parser.parse_args()
    torch.manual_seed(0)
    photos, captions = read_photos(args.photos), json.loads(args.captions.read_text())
    splits = {"train": captions["train"][:TRAINED_ON], "val": captions["val"]}
    teacher = TEACHERS[args.teacher](args.cache, args.teacher_weights).to(memory_format=torch.channels_last)
    seen = {name: summaries(teacher, [photos[r["image"]] for r in rows]) for name, rows in splits.items()}
    said = {name: [c for r in rows for c in r["captions"]] for name, rows in splits.items()}
    mean, scale = seen["train"].mean(0), seen["train"].std(0) + 1e-3
    seen = {name: (x - mean) / scale for name, x in seen.items()}
    bag = Bag(said["train"])
    text = {name: bag(lines) for name, lines in said.items()}
    each = len(said["train"]) // len(seen["train"])

    by_picture, by_text = tower(seen["train"].shape[1], 0.3), tower(len(bag.index), 0.1)
    optimizer = torch.optim.AdamW([*by_picture.parameters(), *by_text.parameters()], 1e-3, weight_decay=0.05)
    own = torch.arange(len(text["val"])) // each
    for epoch in range(1, EPOCHS + 1):
        by_picture.train(), by_text.train()
        for rows in torch.randperm(len(seen["train"])).split(BATCH):
            lines = rows * each + torch.randint(0, each, rows.shape)
            loss = info_nce(F.normalize(by_picture(seen["train"][rows]), dim=1),
                            F.normalize(by_text(text["train"][lines]), dim=1), torch.arange(len(rows)))
            optimizer.zero_grad(), loss.backward(), optimizer.step()
        if epoch % 6 == 0:
            by_picture.eval(), by_text.eval()
            with torch.no_grad():
                images, lines = F.normalize(by_picture(seen["val"]), dim=1), F.normalize(by_text(text["val"]), dim=1)
            belongs = own[:, None] == torch.arange(len(images))
            print(f"{args.teacher}, epoch {epoch}: text -> image {recall_at_10(lines, images, belongs):.3f}, "
                  f"image -> text {recall_at_10(images, lines, belongs.t()):.3f}", flush=True)


if __name__ == "__main__":
    main()
