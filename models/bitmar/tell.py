"""Sentences for photos that have labels alone: a captioner is prompted with the label, and what it says is kept where it names it.

A person's sentence tells more than a label. A captioner of the teacher's grid sees better than the student will, and a prompt leads it
to what is known to be there; so its sentences are mostly right, and they are in people's way of speaking. They are of the kind "found".

usage: python -m bitmar.tell --data DIR --work DIR --checkpoint caption.pt --out found.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch

from . import quant
from .captioning import Seen, Split, load_tutor
from .data import AT_ONCE, pad
from .metrics import words
from .texts import Speech, bare, names, sayings
from .tokenizer import Tokenizer

SHORTEST = 5  # words of a sentence that is kept
EMPTY = ("a close up", "a picture of", "a photo of", "there is", "this is")  # beginnings that say little


def told(model, tokenizer, split: Split, rows: np.ndarray, view: int, prompts: list[str], sample: bool) -> list[str]:
    bos = model.config["bos_token_id"]
    with torch.no_grad():
        seen = Seen(model, split.features(model, rows, view))
        text, keep = model.encode_text(pad([[bos, *tokenizer.encode(p)] for p in prompts], model.config["pad_token_id"]))
        condition = model.condition(None, model.fuse(text, keep, seen.vision)[0], keep, seen.vision)
        return [tokenizer.decode(ids).strip() for ids in model.generate(*condition, limit=20, sample=sample)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="its views are what the captioner sees")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    quant.matmul_dtype = torch.bfloat16
    model, tokenizer = load_tutor(args.checkpoint, "cpu"), Tokenizer(args.work / "tokenizer.json")
    split = Split(args, "train", Speech(tokenizer, model.config))
    photos = [(i, label, sayings(label)[0]) for i, row in enumerate(split.rows) if not row["captions"] for label in row["labels"][-1:] if sayings(label)]
    kept, asked = 0, 0
    with args.out.open("w") as out:
        for start in range(0, len(photos), AT_ONCE):
            part = photos[start:start + AT_ONCE]
            rows = np.array([i for i, _, _ in part])
            said = [told(model, tokenizer, split, rows, 0, [bare(phrase) for _, _, phrase in part], False),
                    told(model, tokenizer, split, rows, 1, [phrase for _, _, phrase in part], True)]
            for (i, label, _), *sentences in zip(part, *said):
                good = [s for s in dict.fromkeys(sentences) if len(s.split()) >= SHORTEST and set(words(s)) & names(label) and not s.startswith(EMPTY)]
                asked, kept = asked + len(sentences), kept + len(good)
                if good:
                    out.write(json.dumps({"id": split.rows[i]["id"], "captions": good}) + "\n")
    print(f"{kept} of {asked} sentences kept, of {len(photos)} photos")


if __name__ == "__main__":
    main()
