"""What the memory does for captions: validation photos with an empty memory, with near and with unrelated episodes.

Episodes are training photos with one of their captions. "near" are the photo's eight nearest by the model's own
similarity, "unrelated" eight of the least similar half, "diary" is all of them at once.

usage: python -m bitmar.eval.memory_gain --work DIR --data DIR --checkpoint joint.pt [--threshold S...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from ..data.dataset import pad
from ..data.inputs import FrozenConvolutions
from ..data.texts import Speech
from ..data.tokenizer import Tokenizer
from ..model import BitMar
from ..model.export import read_checkpoint
from ..train.captioning import Seen, Split, episode_values, greedy_captions
from .metrics import score

COUNT = 8


def episodes(model, split: Split, photos: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values [N, C] of these photos of a split."""
    keys, values, bos = [], [], model.config["bos_token_id"]
    with torch.no_grad():
        for rows in np.split(photos, range(50, len(photos), 50)):
            seen = Seen(model, split.features(model, rows, 0))
            said = pad([[bos, *split.tokens[r][0]] for r in rows], model.config["pad_token_id"])
            keys.append(seen.query), values.append(episode_values(model, seen, said))
    return torch.cat(keys), torch.cat(values)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the folder that bitmar.prepare filled")
    parser.add_argument("--sets", nargs="*", default=["flickr8k"], help="of the photos; all sets, where none is named")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--threshold", type=float, nargs="*", default=[-1.0], help="least similarity of what is read")
    parser.add_argument("--teacher-grid", action="store_true", help="of a checkpoint of the stage `caption`")
    args = parser.parse_args()
    torch.set_num_threads(1)
    state = read_checkpoint(args.checkpoint)
    model, tokenizer = BitMar(state["config"]).eval(), Tokenizer(args.work / "tokenizer.json")
    model.load_state_dict(state["model"])
    cache = None if args.teacher_grid else lambda views: FrozenConvolutions(model, views, "cpu")
    train, held = (Split(args.work / "views", args.data, name, Speech(tokenizer, model.config), cache) for name in ("train", "val"))
    keys, values = episodes(model, train, train.where(*args.sets, captions=1))
    photos = held.where(*args.sets, captions=5)[:args.limit]
    references = [held.captions[r] for r in photos]
    rng = np.random.default_rng(0)

    def near(rows, query):
        similarity = query @ keys.t()
        return keys, values, similarity >= similarity.topk(COUNT, 1).values[:, -1:]

    def unrelated(rows, query):
        order, allowed = (query @ keys.t()).argsort(1), torch.zeros(len(query), len(keys), dtype=torch.bool)
        for i in range(len(query)):
            allowed[i, order[i, torch.from_numpy(rng.choice(len(keys) // 2, COUNT, replace=False))]] = True
        return keys, values, allowed

    said = {"empty": greedy_captions(model, tokenizer, held, photos)}
    print("empty", score(said["empty"], references), flush=True)
    for threshold in args.threshold:
        model.memory.read_threshold = threshold
        for name, memory in {"near": near, "unrelated": unrelated, "diary": lambda rows, query: (keys, values)}.items():
            captions = greedy_captions(model, tokenizer, held, photos, memory)
            print(f"threshold {threshold}: {name}", score(captions, references),
                  f"changed {sum(a != b for a, b in zip(captions, said['empty']))}", flush=True)


if __name__ == "__main__":
    main()
