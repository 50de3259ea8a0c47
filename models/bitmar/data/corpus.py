"""Plain text to learn language from: documents of many files in one folder, split by name and by hash.

usage: python -m bitmar.data.corpus --out DATA [--hold TITLE]... FILE...

In FILE a blank line ends a document; in files named cap_* (captions) every line is a document. DATA receives

  train.txt        documents with a blank line between them, in the order of the files
  validation.txt   one document of a hundred, by the hash of its text; it is in no other file
  TITLE.txt        the documents whose first line is "Title: TITLE" or TITLE, for each --hold TITLE
  corpus.json      documents and bytes of each file

Duplicates are dropped: documents that differ only in case, punctuation and spaces count as one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tokenizers

HELD = 100  # one of so many documents is for validation


def documents(file: Path) -> Iterator[str]:
    """Of a file, without blank lines in them"""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SystemExit(f"{file} is not UTF-8: {error}") from error
    for part in text.split("\n") if file.name.startswith("cap_") else re.split(r"\n\s*\n", text):
        lines = [" ".join(line.split()) for line in part.split("\n")]
        if document := "\n".join(line for line in lines if line):
            yield document


def key(document: str) -> str:
    """Equal for documents that differ by case, signs and spaces alone."""
    return hashlib.sha256(re.sub(r"\W+", " ", document.lower()).strip().encode()).hexdigest()


def gather(files: list[Path], hold: list[str], out: Path) -> dict:
    """Fills the folder; returns what corpus.json says."""
    for title in hold:
        if not title or "/" in title or title in ("train", "validation"):
            raise SystemExit(f"--hold {title!r} cannot be the name of a file here")
    names = [file.name for file in files]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SystemExit(f"two files are called {twice}")
    known: set[str] = set()
    parts: dict[str, list[str]] = {"train": [], "validation": [], **{title: [] for title in hold}}
    counts = {}
    for file in files:
        kept: list[str] = []
        for document in documents(file):
            if (own := key(document)) in known:
                continue
            known.add(own)
            kept.append(document)
            first = document.split("\n")[0].removeprefix("Title: ")
            parts[first if first in hold else "validation" if int(own[:8], 16) % HELD == 0 else "train"].append(document)
        counts[file.name] = {"documents": len(kept), "bytes": sum(len(document.encode()) for document in kept)}
    missing = [title for title in hold if not parts[title]]
    if missing:
        raise SystemExit(f"no document has the title {missing[0]!r}")
    out.mkdir(parents=True, exist_ok=True)
    for name, own in parts.items():
        (out / f"{name}.txt").write_text("\n\n".join(own) + "\n", encoding="utf-8")
    about = {"files": counts, "documents": {name: len(own) for name, own in parts.items()}}
    (out / "corpus.json").write_text(json.dumps(about, indent=1) + "\n")
    return about


def encoder_of(tokenizer: Path, dropout: float | None = None) -> Callable[[list[str]], list[list[int]]]:
    """Texts to tokens, by Hugging Face's library.
    dropout: the share of merges that are left out, drawn anew for each word, without a seed (BPE dropout, arXiv 1910.13267)"""
    description = json.loads(tokenizer.read_text())
    if len(description["model"]["vocab"]) > 1 << 16:
        raise SystemExit(f"{tokenizer} has more than {1 << 16} tokens, which are kept in 16 bits")
    description["added_tokens"] = []  # text that reads like one is text, as the engine reads it
    description["model"]["dropout"] = dropout
    library = tokenizers.Tokenizer.from_str(json.dumps(description))
    return lambda texts: [encoding.ids for encoding in library.encode_batch(texts)]


def tokens_of(file: Path, tokenizer: Path, begin: int, end: int, dropout: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A file's documents as tokens [N], each between BOS and EOS, and the positions where lines begin. dropout: as in encoder_of"""
    encode = encoder_of(tokenizer, dropout)
    lines, first = [], []
    for document in file.read_text(encoding="utf-8").rstrip("\n").split("\n\n"):
        own = document.split("\n")
        first += [True] + [False] * (len(own) - 1)
        lines += [line + "\n" for line in own[:-1]] + own[-1:]
    parts: list[np.ndarray] = []
    starts, count = [], 0
    for i in range(0, len(lines), 65536):
        for at, ids in enumerate(encode(lines[i:i + 65536]), i):
            if first[at]:
                parts.append(np.array([end, begin] if count else [begin], np.uint16))
                count += len(parts[-1])
            starts.append(count)
            parts.append(np.array(ids, np.uint16))
            count += len(parts[-1])
    return np.concatenate([*parts, np.array([end], np.uint16)]), np.array(starts)


def main() -> None:
    parser = argparse.ArgumentParser("python -m bitmar.data.corpus", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hold", action="append", default=[], metavar="TITLE", help="documents to keep apart, by their first line")
    parser.add_argument("files", type=Path, nargs="+")
    args = parser.parse_args()
    about = gather(args.files, args.hold, args.out)
    print(json.dumps(about["documents"]))


if __name__ == "__main__":
    main()
