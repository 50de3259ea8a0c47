"""What ternary weights cost: captions of the validation photos by models trained by the same recipe, float and ternary, side by
side, and how sure the ratio of their scores is.

usage: python -m bitmar.eval.price --work DIR --data DIR FLOAT.pt TERNARY.pt [--beams N] [--limit N]

PyTorch with exact integer products, the same search for both (search.py); DIR holds views/ and tokenizer.json. The interval is
that of the ratio of CIDEr when the photos are drawn anew, with replacement (a bootstrap): chance in the photos, not in the training.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from ..data.inputs import Pixels
from ..data.texts import Speech
from ..data.tokenizer import Tokenizer
from ..model.bitmar import DEFAULT_CONFIG, load_config
from ..model.export import read_checkpoint
from ..model.quant import Precision
from ..train.captioning import Split, captions_of, greedy_captions, load_tutor
from .metrics import Cider, score, words
from .search import beam_captions

DRAWS = 10_000


def ratio_interval(above: np.ndarray, below: np.ndarray, seed=0) -> tuple[float, float]:
    """Where 95 of 100 ratios of the sums of above [N] and below [N] lie when their pairs are drawn anew."""
    drawn = np.random.default_rng(seed).integers(len(above), size=(DRAWS, len(above)))
    low, high = np.percentile(above[drawn].sum(1) / below[drawn].sum(1), (2.5, 97.5))
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the folder that bitmar.prepare filled")
    parser.add_argument("--sets", nargs="*", default=["flickr8k"], help="of the photos; all sets, where none is named")
    parser.add_argument("checkpoints", type=Path, nargs="+", help="the one to compare with first")
    parser.add_argument("--beams", type=int, default=8)
    parser.add_argument("--limit", type=int, default=1000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer, config = Tokenizer(args.work / "tokenizer.json"), load_config(DEFAULT_CONFIG)
    held = Split(args.work / "views", args.data, "val", Speech(tokenizer, config), lambda views: Pixels(views, "cpu"))
    photos = held.where(*args.sets, captions=5)[:args.limit]
    references = [held.captions[r] for r in photos]
    metric = Cider([[words(c) for c in rows] for rows in references])
    first = None
    for path in args.checkpoints:
        ternary = read_checkpoint(path).get("ternary", True)
        model = load_tutor(path, "cpu", Precision(ternary=ternary))
        model.config["bag_of_words"] = config["bag_of_words"]  # the same search for all
        if args.beams == 1:
            said = greedy_captions(model, tokenizer, held, photos)
        else:
            said = captions_of(model, held, photos, lambda _, seen: beam_captions(model, tokenizer, seen, args.beams))
        row = {"checkpoint": path.name, "ternary": ternary, "beams": args.beams, "distinct": len(set(said)), **score(said, references)}
        each = np.array([metric(words(c), [words(r) for r in rows]) for c, rows in zip(said, references)])
        if first is None:
            first = each
        else:
            low, high = ratio_interval(each, first)
            row |= {"of the first's CIDEr": round(float(each.sum() / first.sum()), 4), "95 %": [round(low, 4), round(high, 4)]}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
