"""Validation photos of which people tell or ask, as PNG files that every engine reads, for bench/language.

usage: python -m bitmar.eval.as_png --data DATA --out FOLDER

FOLDER receives the files and a photos.jsonl of their rows, in the form of DATA's (bitmar.prepare). A photo's licence holds for its copy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..data.dataset import load_rows
from ..data.prepare import open_at
from .evaluate import write_pngs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that bitmar.prepare filled")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [row for row in load_rows(args.data, "val") if row["questions"] or any(kind == "human" for _, kind in row["captions"])]
    with (args.out / "photos.jsonl").open("w", encoding="utf-8") as lines:
        for row, file in zip(rows, write_pngs(map(open_at, rows), args.out.absolute())):
            lines.write(json.dumps({**row, "file": str(file), "offset": 0, "bytes": file.stat().st_size}, ensure_ascii=False) + "\n")
    print(f"{len(rows)} photos")


if __name__ == "__main__":
    main()
