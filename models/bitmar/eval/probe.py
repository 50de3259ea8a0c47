"""How well a teacher's grid tells photos apart by what people say of them, and names things, before anything is distilled from it.

Two float layers over the mean and the maximum of each grid learn a common space with two float layers over a
caption's words; printed is recall@10 on validation photos, text -> image and image -> text. Naming: the share of labelled photos
whose nearest neighbour among them, by the mean of a grid (cosine, centred), has the same label; of each grid, and of all side by side.

usage: python -m bitmar.eval.probe --data DIR --teacher NAME [--cache DIR] [--sets flickr8k] [--labelled objects101]
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..data.dataset import load_rows
from ..data.prepare import open_at, share
from ..data.texts import sayings
from ..data.views import open_photo, raw_grids, whole
from ..teachers.networks import TEACHERS
from ..train.captioning import info_nce
from .metrics import recall_at_10, words

TRAINED_ON, EPOCHS, BATCH = 3000, 24, 250
HELD, EACH = 1000, 5  # validation photos, and captions of a photo
NAMED = 600  # labelled photos
RAREST_WORD = 4  # captions that must have it


def summaries(teacher, rows: list[dict]) -> list[torch.Tensor]:
    """Of each grid, mean and maximum: [N, 2, channels]"""
    out = []
    for start in range(0, len(rows), 32):
        pictures = [open_photo(open_at(row)) for row in rows[start:start + 32]]
        out.append([torch.stack([g.mean(1), g.amax(1)], 1) for g in raw_grids(teacher, whole(pictures, teacher.image_size))])
    return [torch.cat(grid) for grid in zip(*out)]


def described(rows: list[dict], sets: list[str], count: int) -> tuple[list[dict], list[str]]:
    """The first so many photos of these sets with EACH captions of people, and these captions"""
    texts = [[text for text, kind in row["captions"] if kind == "human"] for row in rows]
    chosen = [i for i, row in enumerate(rows) if (not sets or row["set"] in sets) and len(texts[i]) >= EACH][:count]
    return [rows[i] for i in chosen], [text for i in chosen for text in texts[i][:EACH]]


def labelled(rows: list[dict], sets: list[str], count: int) -> list[dict]:
    """So many photos of these sets by hash of their names, of labels that several of them have"""
    rows = sorted((row for row in rows if (not sets or row["set"] in sets) and row["labels"] and sayings(row["labels"][0])), key=lambda row: share(row["id"]))[:count]
    each = Counter(row["labels"][0] for row in rows)
    return [row for row in rows if each[row["labels"][0]] > 1]


def naming(means: torch.Tensor, labels: list[str]) -> float:
    """Share of rows of means [N, C] whose nearest other row has their label"""
    unit = F.normalize(means - means.mean(0), dim=1)
    nearest = (unit @ unit.t()).fill_diagonal_(-2).argmax(1)
    return sum(labels[i] == labels[j] for i, j in enumerate(nearest.tolist())) / len(labels)


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
    parser.add_argument("--data", type=Path, required=True, help="the folder that bitmar.prepare filled")
    parser.add_argument("--teacher", choices=TEACHERS, required=True)
    parser.add_argument("--teacher-weights", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache/teacher"))
    parser.add_argument("--sets", nargs="*", default=["flickr8k"], help="of the captions; all sets, where none is named")
    parser.add_argument("--labelled", nargs="*", default=["objects101"], help="sets of the photos to name; all, where none is named")
    args = parser.parse_args()
    torch.manual_seed(0)
    splits = {name: load_rows(args.data, name) for name in ("train", "val")}
    teacher = TEACHERS[args.teacher](args.cache, args.teacher_weights).to(memory_format=torch.channels_last)
    named = labelled([row for rows in splits.values() for row in rows], args.labelled, NAMED)
    if named:
        labels, means = [row["labels"][0] for row in named], [grid[:, 0] for grid in summaries(teacher, named)]
        each = " ".join(f"{naming(grid, labels):.3f}" for grid in means)
        print(f"{args.teacher}, 1-NN of {len(named)} photos of {len(set(labels))} labels: by each grid {each}, "
              f"by all {naming(torch.cat([F.normalize(grid - grid.mean(0), dim=1) for grid in means], 1), labels):.3f}", flush=True)
    chosen = {name: described(rows, args.sets, TRAINED_ON if name == "train" else HELD) for name, rows in splits.items()}
    if not all(rows for rows, _ in chosen.values()):
        raise SystemExit(f"{args.data}: no photos of {' '.join(args.sets)} with {EACH} captions of people in both splits")
    seen = {name: torch.cat([grid.flatten(1) for grid in summaries(teacher, rows)], 1) for name, (rows, _) in chosen.items()}
    said = {name: captions for name, (_, captions) in chosen.items()}
    mean, scale = seen["train"].mean(0), seen["train"].std(0) + 1e-3
    seen = {name: (x - mean) / scale for name, x in seen.items()}
    bag = Bag(said["train"])
    text = {name: bag(lines) for name, lines in said.items()}

    by_picture, by_text = tower(seen["train"].shape[1], 0.3), tower(len(bag.index), 0.1)
    optimizer = torch.optim.AdamW([*by_picture.parameters(), *by_text.parameters()], 1e-3, weight_decay=0.05)
    own = torch.arange(len(text["val"])) // EACH
    for epoch in range(1, EPOCHS + 1):
        by_picture.train(), by_text.train()
        for rows in torch.randperm(len(seen["train"])).split(BATCH):
            lines = rows * EACH + torch.randint(0, EACH, rows.shape)
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
