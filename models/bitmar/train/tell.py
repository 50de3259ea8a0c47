"""Sentences for photos that have labels alone: a captioner is prompted with the label, and what it says is kept where it names it.

A sentence tells more than a label. A captioner of the teacher's grid sees better than the student will, and a prompt leads it to what is
known to be there, so its sentences are mostly right. It is asked for the web's kind of text: in the kind of people it has learned to say
the bare label of such photos. The sentences are of the kind "found".

usage: python -m bitmar.train.tell --data DIR --work DIR --checkpoint caption.pt --out found.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from ..data.dataset import AT_ONCE, pad
from ..data.texts import Speech, bare, sayings
from ..data.tokenizer import Tokenizer
from ..eval.metrics import words
from ..model.quant import Precision, fast_products
from .captioning import Seen, Split, load_tutor

SHORTEST = 5  # words of a sentence that is kept
EMPTY = ("close up", "picture", "photo", "there is", "this is")  # say little


def told(model, tokenizer, split: Split, rows: np.ndarray, prompts: list[str], start: int) -> list[str]:
    """Greedy sentences that begin with the token `start`, of photos by their prompts"""
    bos = model.config["bos_token_id"]
    with torch.no_grad():
        seen = Seen(model, split.features(model, rows, 0))
        text, keep = model.encode_text(pad([[bos, *tokenizer.encode(p)] for p in prompts], model.config["pad_token_id"]))
        condition = model.condition(None, model.fuse(text, keep, seen.vision)[0], keep, seen.vision)
        return [tokenizer.decode(ids).strip() for ids in model.generate(*condition, limit=18, start=start)]


def is_good(sentence: str, label: str) -> bool:
    """It says the label itself and not only what goes with it, says more, and does not stammer."""
    said = words(sentence)
    nouns = {bare(phrase).split()[-1] for phrase in sayings(label)}
    nouns |= {noun + "s" for noun in nouns} | {noun.removesuffix("s") for noun in nouns}
    stammers = any(count > 2 for word, count in Counter(said).items() if word not in ("a", "the", "of", "and", "in", "on", "with"))
    pieces = sentence.split(", ")
    return len(said) >= SHORTEST and bool(nouns & set(said)) and not stammers and len(set(pieces)) == len(pieces) and not any(w in sentence for w in EMPTY)


def tell(data: Path, views: Path, tokenizer: Tokenizer, checkpoint: Path, path: Path, products: torch.dtype) -> None:
    torch.manual_seed(0)
    model = load_tutor(checkpoint, "cpu", Precision(products))
    speech = Speech(tokenizer, model.config)
    split = Split(views, data, "train", speech)
    photos = [(i, label, sayings(label)[0]) for i, row in enumerate(split.rows) if not row["captions"] for label in row["labels"][-1:] if sayings(label)]
    kept, web = 0, speech.begin["web"]
    with path.open("w") as out:
        for start in range(0, len(photos), 4 * AT_ONCE):
            part = photos[start:start + 4 * AT_ONCE]
            said = told(model, tokenizer, split, np.array([i for i, _, _ in part]), [bare(phrase) for _, _, phrase in part], web)
            for (i, label, _), sentence in zip(part, said):
                if is_good(sentence, label):
                    kept += 1
                    out.write(json.dumps({"id": split.rows[i]["id"], "captions": [sentence]}) + "\n")
            out.flush()
    print(f"{kept} of {len(photos)} photos have a sentence")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="its views are what the captioner sees")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    tell(args.data, args.work / "views", Tokenizer(args.work / "tokenizer.json"), args.checkpoint, args.out, fast_products("cpu"))


if __name__ == "__main__":
    main()
