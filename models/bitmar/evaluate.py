"""Captions of validation photos by PyTorch and by the engine, scored and compared.

usage: python -m bitmar.evaluate --model DIR --photos images.tar --captions captions.json
           [--engine PATH/TO/bitmar] [--limit N] [--beams N] [--recall] [--int8-kv] [--out captions.jsonl] [--table table.txt]

Both sides get the same pixels: photos are decoded once, by Pillow, and handed to the engine as PNG.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from .data import clean_caption, load_captions
from .export import import_model
from .metrics import recall_at_10, score
from .ordered import engine_order
from .tokenizer import Tokenizer
from .views import open_photo, read_photos, whole


def torch_captions(directory: Path, photos: list[bytes]) -> list[str]:
    """Greedy captions, with exact integer products and float32 operations in the engine's order."""
    model, tokenizer = import_model(directory), Tokenizer(directory / "tokenizer.json")
    size, bos, said = model.config["vision"]["image_size"], model.config["bos_token_id"], []
    for start in range(0, len(photos), 20):
        images = [open_photo(p) for p in photos[start:start + 20]]
        pixels = torch.from_numpy(whole(images, size)).permute(0, 3, 1, 2)
        with engine_order():
            vision = model.compressor(model.vision(pixels))
            text, keep = model.encode_text(torch.full((len(images), 1), bos))
            fused, _ = model.fuse(text, keep, vision)
            said += [tokenizer.decode(ids).strip() for ids in model.greedy(*model.condition(None, fused, keep, vision))]
    return said


def write_pngs(photos: list[bytes], folder: Path) -> list[Path]:
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


def engine_embeddings(engine: list[str], directory: Path, paths: list[Path], texts: list[str] = []) -> torch.Tensor:
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--engine", nargs="+", default=[], help="command of the engine's CLI")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--int8-kv", action="store_true", help="also with int8 keys and values: captions that stay, the error of log p")
    parser.add_argument("--recall", action="store_true", help="recall@10 by the engine's embeddings")
    parser.add_argument("--out", type=Path, help="the engine's captions, one JSON line a photo")
    parser.add_argument("--table", type=Path, help="the first fifty photos with one reference each, as text")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names, references = load_captions(args.captions, "val")
    names, references = names[:args.limit], references[:args.limit]
    files = read_photos(args.photos)
    photos = [files[name] for name in names]

    by_torch = None
    if not args.no_torch:
        by_torch = torch_captions(args.model, photos)
        print("pytorch", json.dumps({**score(by_torch, references), "distinct": len(set(by_torch))}))
    said = by_torch
    if args.engine:
        with tempfile.TemporaryDirectory() as folder:
            paths = write_pngs(photos, Path(folder))
            rows = engine_captions(args.engine, args.model, paths, args.beams)
            if args.int8_kv:
                print("int8 keys and values:", compare_int8(rows, engine_captions(args.engine, args.model, paths, args.beams, "--int8-kv"), references))
            if args.recall:
                print("recall@10", json.dumps(recall_both_ways(args.engine, args.model, paths, references)))
        said = [row["text"] for row in rows]
        print("engine ", json.dumps({**score(said, references), "distinct": len(set(said)),
                                     "vision_ms": round(float(np.median([r["vision_ms"] for r in rows])), 2),
                                     "text_ms": round(float(np.median([r["text_ms"] for r in rows])), 2)}))
        if by_torch:
            same = sum(a == b for a, b in zip(said, by_torch))
            print(f"the engine and PyTorch agree on {same} of {len(said)} captions")
        if args.out:
            args.out.write_text("".join(json.dumps({"image": n, **row}) + "\n" for n, row in zip(names, rows)))
    if args.table:
        lines = [f"{name}\n  model      {text}\n  reference  {refs[0]}"
                 for name, text, refs in list(zip(names, said, references))[:50]]
        args.table.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
