"""Captions of validation photos by the engine, scored by kind of photo, and compared with PyTorch's.

usage: python -m bitmar.evaluate --model DIR --data DIR [--engine PATH/TO/bitmar] [--set NAME...] [--limit N] [--beams N]
           [--recall] [--int8-kv] [--no-torch] [--limit-said P] [--out captions.jsonl] [--table table.txt]

--data is what bitmar.prepare made. Photos of each set with five or more captions of people are scored by these. Photos with labels
are named right where the caption holds a word of one of the labels (data/kinds.json). Both sides get the same pixels:
photos are decoded once, by Pillow, and handed to the engine as PNG.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from ..data.dataset import clean_caption, load_rows
from ..data.prepare import FEWEST_OF_A_KIND, open_at
from ..data.texts import holds_one, names
from ..data.tokenizer import Tokenizer
from ..data.views import open_photo, whole
from ..model.export import import_model
from ..model.ordered import engine_order
from .metrics import recall_at_10, score, words

FEWEST_REFERENCES = 5
PAGE_LIMIT = 0.35  # the confidence from which the page says a caption without a hedge


def torch_captions(directory: Path, photos: list[bytes]) -> list[str]:
    """Greedy captions, with exact integer products and float32 operations in the engine's order."""
    model, tokenizer = import_model(directory), Tokenizer(directory / "tokenizer.json")
    size, bos, said = model.config["vision"]["image_size"], model.config["bos_token_id"], []
    for start in range(0, len(photos), 20):
        images = [open_photo(p) for p in photos[start:start + 20]]
        pixels = torch.from_numpy(whole(images, size)).permute(0, 3, 1, 2)
        with engine_order(model):
            vision = model.compressor(model.vision(pixels))
            text, keep = model.encode_text(torch.full((len(images), 1), bos))
            fused, _ = model.fuse(text, keep, vision)
            said += [tokenizer.decode(ids).strip() for ids in model.greedy(*model.condition(None, fused, keep, vision))]
    return said


def write_pngs(photos: Iterable[bytes], folder: Path) -> list[Path]:
    paths = []
    for i, photo in enumerate(photos):
        paths.append(folder / f"{i:05d}.png")
        open_photo(photo).save(paths[-1], compress_level=1)
    return paths


def engine_captions(command: list[str], directory: Path, paths: list[Path], beams: int, *options: str) -> list[dict]:
    """One JSON line a photo from `bitmar caption --jsonl --list FILE` (native, or the node build's CLI)."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as names:
        names.write("\n".join(map(str, paths)) + "\n")
        names.flush()
        done = subprocess.run([*command, "caption", "--model", str(directory), "--beams", str(beams), "--jsonl",
                               "--list", names.name, *options], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def engine_embeddings(engine: list[str], directory: Path, paths: list[Path], texts: Sequence[str] = ()) -> torch.Tensor:
    """Unit vectors [photos + texts, C] from `bitmar embed`."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as photos, tempfile.NamedTemporaryFile("w", suffix=".txt") as lines:
        photos.write("".join(f"{p}\n" for p in paths)), photos.flush()
        lines.write("".join(f"{t}\n" for t in texts)), lines.flush()
        done = subprocess.run([*engine, "embed", "--model", str(directory), "--list", photos.name, "--texts", lines.name],
                              check=True, capture_output=True, text=True)
    return torch.tensor([json.loads(line)["embedding"] for line in done.stdout.splitlines()])


def recall_both_ways(engine: list[str], directory: Path, paths: list[Path], references) -> dict[str, float]:
    """By the engine's own embeddings, among all photos and all captions."""
    vectors = engine_embeddings(engine, directory, paths, [clean_caption(c) for refs in references for c in refs])
    image, text = vectors[:len(paths)], vectors[len(paths):]
    owner = torch.tensor([i for i, refs in enumerate(references) for _ in refs])
    own = owner[:, None] == torch.arange(len(paths))
    return {"text -> image": round(recall_at_10(text, image, own), 4), "image -> text": round(recall_at_10(image, text, own.t()), 4)}


def compare_int8(rows: list[dict], int8: list[dict], references) -> str:
    same = [(a["log_probability"], b["log_probability"]) for a, b in zip(rows, int8) if a["text"] == b["text"]]
    error = np.abs(np.subtract(*zip(*same)))
    scores = score([row["text"] for row in int8], references)
    return (f"{len(same)} of {len(rows)} captions stay, their log probability by {error.mean():.4f} on average and {error.max():.4f} at most; "
            f"CIDEr {scores['CIDEr']}, BLEU-4 {scores['BLEU-4']}")


def references_of(row: dict) -> list[str]:
    return [clean_caption(text) for text, kind in row["captions"] if kind == "human"]


def kinds_of(row: dict) -> list[str]:
    """Labels that a caption can name; where sentences tell more than labels, none"""
    return [] if row["captions"] else [label for label in row["labels"] if names(label)]


def is_named(row: dict, caption: str) -> bool:
    """Whether the caption holds a word of one of the photo's labels"""
    return any(holds_one(words(caption), names(label)) for label in kinds_of(row))


def naming(rows: list[dict], said: list[str]) -> dict:
    """Of photos with labels: how many are named, and by first label where there are enough of it."""
    labelled = [(row, caption) for row, caption in zip(rows, said) if kinds_of(row)]
    by_kind: dict[str, list[bool]] = {}
    for row, caption in labelled:
        by_kind.setdefault(kinds_of(row)[0], []).append(is_named(row, caption))
    counted = {kind: named for kind, named in sorted(by_kind.items()) if len(named) >= FEWEST_OF_A_KIND}
    named = [n for kind in counted.values() for n in kind]
    return {"photos": len(named), "kinds": len(counted), "named": round(sum(named) / max(1, len(named)), 4),
            "never": [kind for kind, n in counted.items() if not any(n)],
            "by_kind": {kind: [sum(n), len(n)] for kind, n in counted.items()}}


def reliability(rows: list[dict], lines: list[dict], limit: float) -> dict:
    """How many photos the page speaks of without a hedge, and how many of those with labels it names right."""
    sure = [line["confidence"] is not None and line["confidence"] >= limit for line in lines]
    everyday = [s for row, s in zip(rows, sure) if row["set"] != "flickr8k"]
    spoken = [is_named(row, line["text"]) for row, line, s in zip(rows, lines, sure) if s and kinds_of(row)]
    return {"limit": limit, "spoken_of": round(sum(everyday) / max(1, len(everyday)), 4), "named_when_spoken_of": round(sum(spoken) / max(1, len(spoken)), 4)}


def rows_by_set(data: Path, sets: Sequence[str] = ()) -> dict[str, list[dict]]:
    """Validation photos of these sets (all, where none is named) that have enough references, or labels that a caption can name"""
    by_set: dict[str, list[dict]] = {}
    for row in load_rows(data, "val"):
        if (not sets or row["set"] in sets) and (len(references_of(row)) >= FEWEST_REFERENCES or kinds_of(row)):
            by_set.setdefault(row["set"], []).append(row)
    return by_set


def scores_of(rows: list[dict], said: list[str]) -> dict[str, dict]:
    """By set, of photos with enough references; and how many of those with labels are named"""
    out = {}
    for name in dict.fromkeys(row["set"] for row in rows):
        pairs = [(caption, references_of(row)) for row, caption in zip(rows, said) if row["set"] == name and len(references_of(row)) >= FEWEST_REFERENCES]
        if pairs:
            captions, references = map(list, zip(*pairs))
            out[name] = {"photos": len(pairs), **score(captions, references), "distinct": len(set(captions))}
    if any(map(kinds_of, rows)):
        out["labelled"] = naming(rows, said)
    return out


def by_torch(directory: Path, data: Path, limit: int) -> dict[str, dict]:
    """Scores of greedy captions of so many validation photos of each set, and the first of these captions"""
    rows = [row for part in rows_by_set(data).values() for row in part[:limit]]
    said = torch_captions(directory, [open_at(row) for row in rows])
    return {**scores_of(rows, said), "captions": {row["id"]: caption for row, caption in list(zip(rows, said))[:8]}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", nargs="*", default=[], help="only these sets")
    parser.add_argument("--engine", nargs="+", default=[], help="command of the engine's CLI")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--limit", type=int, help="photos of each set")
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--limit-said", type=float, default=PAGE_LIMIT, help="confidence from which a caption counts as said")
    parser.add_argument("--int8-kv", action="store_true", help="also with int8 keys and values: captions that stay, the error of log p")
    parser.add_argument("--recall", action="store_true", help="recall@10 by the engine's embeddings")
    parser.add_argument("--out", type=Path, help="the engine's captions, one JSON line a photo")
    parser.add_argument("--table", type=Path, help="photos by name with caption and a reference or label each, as text")
    args = parser.parse_args()
    torch.set_num_threads(1)
    by_set = rows_by_set(args.data, args.set)
    rows = [row for part in by_set.values() for row in part[:args.limit]]
    photos = [open_at(row) for row in rows]
    described = {name: at for name in by_set if (at := [i for i, row in enumerate(rows) if row["set"] == name and len(references_of(row)) >= FEWEST_REFERENCES])}

    def report(who: str, said: list[str]) -> None:
        for name, row in scores_of(rows, said).items():
            print(who, name, json.dumps(row), flush=True)

    reference = None
    if not args.no_torch:
        reference = torch_captions(args.model, photos)
        report("pytorch", reference)
    said = reference
    if args.engine:
        with tempfile.TemporaryDirectory() as folder:
            paths = write_pngs(photos, Path(folder))
            lines = engine_captions(args.engine, args.model, paths, args.beams)
            references = [references_of(row) for row in rows]
            if args.int8_kv:
                at = [i for part in described.values() for i in part]
                int8 = engine_captions(args.engine, args.model, [paths[i] for i in at], args.beams, "--int8-kv")
                print("int8 keys and values:", compare_int8([lines[i] for i in at], int8, [references[i] for i in at]))
            if args.recall:
                for name, at in described.items():
                    print("recall@10", name, json.dumps(recall_both_ways(args.engine, args.model, [paths[i] for i in at], [references[i] for i in at])))
        said = [line["text"] for line in lines]
        report("engine ", said)
        print("engine  reliability", json.dumps(reliability(rows, lines, args.limit_said)),
              json.dumps({f"median_{part}": round(float(np.median([line[part] for line in lines])), 2) for part in ("vision_ms", "text_ms")}))
        if reference:
            same = sum(a == b for a, b in zip(said, reference))
            print(f"the engine and PyTorch agree on {same} of {len(said)} captions")
        if args.out:
            args.out.write_text("".join(json.dumps({"id": row["id"], **line}) + "\n" for row, line in zip(rows, lines)))
    if args.table:
        shown = [i for part in by_set for i in [j for j, row in enumerate(rows) if row["set"] == part][:50 if part == "flickr8k" else 12]]
        lines = [f"{rows[i]['id']}\n  model      {said[i]}\n  " + (f"reference  {references_of(rows[i])[0]}" if references_of(rows[i]) else f"label      {', '.join(kinds_of(rows[i]))}") for i in shown]
        args.table.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
