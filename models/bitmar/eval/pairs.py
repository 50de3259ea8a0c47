"""How often a model of language finds the right one of several texts likelier, in PyTorch: for tokenizers and weights that the engine does not read.

usage: python -m bitmar.eval.pairs --checkpoint WORK/text.pt --tokenizer WORK/tokenizer.json FILE.jsonl...

A line of FILE is an item: choices, the number of the right one (answer), and perhaps a context before them, the kind it is of (kind, or BLiMP's
term), and whether the context has the right form already (repeated). These are BLiMP's items and those of bench/language/wug.mjs:

  node -e "import('./bench/language/wug.mjs').then(({ wugs }) => wugs().forEach((item) => console.log(JSON.stringify(item))))" > wug.jsonl

The model chooses by the sum of log-probabilities; of n choices that are equally likely each counts 1 / n. Prints a line of JSON for each file and
for each kind in it: items, the share that is right, and Wilson's interval at 95 %. For what the engine reads, bench/language does the same.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from ..data import corpus
from ..data.dataset import pad
from ..data.tokenizer import Tokenizer
from ..model.bitmar import BitMar
from ..model.export import load_as_trained
from ..train.text import surprises
from .boolq import wilson


@torch.no_grad()
def log_probabilities(model: BitMar, encode, texts: Sequence[tuple[str, str]], batch=64) -> list[float]:
    """Of each second text after the first, the sum over its tokens, in nats"""
    begin, blank = model.config["bos_token_id"], model.config["pad_token_id"]
    contexts, continuations = (encode([text[part] for text in texts]) for part in (0, 1))
    rows = sorted(((len(a) + len(b), i) for i, (a, b) in enumerate(zip(contexts, continuations))))
    out = [0.0] * len(texts)
    for start in range(0, len(rows), batch):
        own = [i for _, i in rows[start:start + batch]]
        tokens = pad([[begin, *contexts[i], *continuations[i]] for i in own], blank)
        losses = surprises(model, tokens).view(len(own), -1)
        for row, i in zip(losses, own):
            first = len(contexts[i])
            out[i] = -float(row[first:first + len(continuations[i])].sum())
    return out


def right(model: BitMar, encode, items: list[dict]) -> list[float]:
    """For each item 1 where its right choice is the likeliest, 1 / n where n are, and 0"""
    values = iter(log_probabilities(model, encode, [(item.get("context", ""), choice) for item in items for choice in item["choices"]]))
    out = []
    for item in items:
        own = [next(values) for _ in item["choices"]]
        out.append((own[item["answer"]] == max(own)) / own.count(max(own)))
    return out


def main() -> None:
    parser = argparse.ArgumentParser("python -m bitmar.eval.pairs", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint, or the folder of an exported model")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("files", type=Path, nargs="+")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, encode = load_as_trained(args.checkpoint), corpus.encoder_of(args.tokenizer)
    tokens = len(Tokenizer(args.tokenizer).tokens)
    if tokens != model.config["vocab_size"]:
        raise SystemExit(f"{args.tokenizer} has {tokens} tokens, the model {model.config['vocab_size']}")
    for file in args.files:
        items = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
        if any("question" in item or "context_options" in item for item in items):
            raise SystemExit(f"{file} has questions, whose form is bench/language's")
        groups: dict[str, list[float]] = defaultdict(list)
        for item, good in zip(items, right(model, encode, items)):
            groups["all"].append(good)
            groups[item.get("kind") or item.get("term", "")].append(good)
            if "repeated" in item:
                groups["read before" if item["repeated"] else "new"].append(good)
        for kind, found in sorted(groups.items()):
            if kind:
                share, n = sum(found) / len(found), len(found)
                print(json.dumps({"file": file.name, "kind": kind, "items": n, "right": round(share, 4), "interval": [round(value, 4) for value in wilson(share, n)]}))


if __name__ == "__main__":
    main()
