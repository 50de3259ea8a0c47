"""Byte-level BPE (Sennrich et al. 2016, bytes as in GPT-2), written as a Hugging Face tokenizer.json.

usage: python -m bitmar.data.tokenizer --out tokenizer.json --size 4096 [--endings] TEXT_OR_DATA...
       python -m bitmar.data.tokenizer --out tokenizer.json --gpt2 FOLDER   (GPT-2's vocab.json and merges.txt, 50,257 tokens)
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Iterable, Sequence

import regex
import tokenizers

from .dataset import clean_caption, load_rows
from .merges import learn
from .morphemes import WORD, Endings
from .texts import ADDED

SPECIAL = ["<pad>", "<bos>", "<eos>"]
# GPT-2's pre-tokenizer: contractions, then words, numbers and signs with their leading space.
PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


BYTES = byte_alphabet()


def letters_of(piece: str) -> str:
    return "".join(BYTES[b] for b in piece.encode())


def split(text: str) -> list[str]:
    return list(map(letters_of, PATTERN.findall(text)))


def train(lines: Iterable[str], size: int, endings: bool = False) -> tuple[list[str], list[tuple[str, str]]]:
    """Vocabulary and merges, learned by the library of Hugging Face's: the most frequent pair first, if it is there twice.
    endings: endings of words are kept apart, which it cannot do (merges.py, morphemes.py)"""
    if endings:
        return train_on_endings(list(lines), size)
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.normalizer = tokenizers.normalizers.Lowercase()
    learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    learner.train_from_iterator(lines, tokenizers.trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False))
    model = json.loads(learner.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [pair_of(merge) for merge in model["merges"]]


def train_on_endings(lines: Sequence[str], size: int) -> tuple[list[str], list[tuple[str, str]]]:
    endings = Endings.of(lines)
    pieces: Counter[tuple[str, int]] = Counter()
    for piece, times in Counter(piece for line in lines for piece in PATTERN.findall(line.lower())).items():
        letters, word = letters_of(piece), piece.removeprefix(" ")
        length = endings.ending(word) if WORD.fullmatch(word) else 0
        pieces[letters, len(letters) - length if length else 0] += times
    alphabet = [*SPECIAL, *sorted(BYTES.values())]
    pairs = learn(pieces, size - len(alphabet))
    return [*alphabet, *map("".join, pairs)], pairs


def pair_of(merge: str | list[str]) -> tuple[str, str]:
    """A merge, as tokenizer.json has it: "a b", or ["a", "b"] since version 0.20 of the library"""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def special_token(token_id: int, content: str) -> dict:
    return {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def write(path: Path, vocabulary: list[str], merges: list[tuple[str, str]], markers: Sequence[str] = ()) -> None:
    """The file; `markers` are special tokens with the ids that follow the vocabulary's (texts.py)."""
    special = [*enumerate(SPECIAL), *enumerate(markers, len(vocabulary))]
    write_document(path, {token: i for i, token in enumerate(vocabulary)}, [" ".join(pair) for pair in merges], special, lower_case=True)


def write_document(path: Path, vocabulary: dict[str, int], merges: list[str], special: list[tuple[int, str]], lower_case: bool) -> None:
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special_token(i, token) for i, token in special],
        "normalizer": {"type": "Lowercase"} if lower_case else None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": vocabulary, "merges": merges},
    }
    Path(path).write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def convert_gpt2(folder: Path, out: Path) -> None:
    """GPT-2's own files, vocab.json and merges.txt, as a tokenizer.json. Its texts keep their case."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    special = [(i, token) for token, i in vocabulary.items() if token == "<|endoftext|>"]
    write_document(out, vocabulary, merges, special, lower_case=False)


def extend(source: Path, out: Path, added: Sequence[str] = ADDED) -> None:
    """The tokenizer with further special tokens behind its vocabulary, as far as it lacks them."""
    document = json.loads(Path(source).read_text())
    known = {entry["content"] for entry in document["added_tokens"]}
    following = 1 + max([*document["model"]["vocab"].values(), *(entry["id"] for entry in document["added_tokens"])])
    for token in added:
        if token not in known:
            document["added_tokens"].append(special_token(following, token))
            following += 1
    Path(out).write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


class Tokenizer:
    def __init__(self, path: Path):
        document = json.loads(Path(path).read_text())
        model, added = document["model"], document.get("added_tokens") or []
        self.vocabulary, self.lower_case = model["vocab"], document.get("normalizer") is not None
        self.special = {entry["content"]: entry["id"] for entry in added}  # no text is encoded to these, and they decode to none
        self.ids = {**self.vocabulary, **self.special}
        self.tokens = {i: token for token, i in self.vocabulary.items()} | {i: "" for i in self.special.values()}
        self.ranks = {pair_of(merge): rank for rank, merge in enumerate(model["merges"])}
        self.bytes = {stand_in: b for b, stand_in in BYTES.items()}
        self.merge = lru_cache(65536)(self._merge)

    def _merge(self, piece: str) -> tuple[int, ...]:
        symbols = list(piece)
        while len(symbols) > 1:
            rank, i = min((self.ranks.get(pair, 1 << 30), i) for i, pair in enumerate(zip(symbols, symbols[1:])))
            if rank == 1 << 30:
                break
            symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
        return tuple(self.vocabulary[s] for s in symbols)

    def encode(self, text: str) -> list[int]:
        return [token for piece in split(text.lower() if self.lower_case else text) for token in self.merge(piece)]

    def decode(self, ids) -> str:
        text = "".join(self.tokens[i] for i in ids)
        return bytes(self.bytes[c] for c in text).decode("utf-8", "replace")


def lines_of(sources: list[Path]) -> list[str]:
    """To learn a vocabulary from: captions of folders that bitmar.prepare filled, and plain lines"""
    lines: list[str] = []
    for source in sources:
        if source.is_dir():
            # What the model must say counts more than what it may read about.
            lines += [text for row in load_rows(source, "train") for text, kind in row["captions"] if kind == "human"] * 4
        else:
            lines += source.read_text().splitlines()
    return list(map(clean_caption, lines))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--endings", action="store_true", help="keep endings of words apart: walk|ed, cat|s")
    parser.add_argument("--extend", type=Path, help="a tokenizer.json to add the special tokens of texts.py to, instead of learning one")
    parser.add_argument("--gpt2", type=Path, help="a folder with GPT-2's vocab.json and merges.txt, instead of learning one")
    parser.add_argument("sources", type=Path, nargs="*", help="folders that bitmar.prepare filled, or plain text, one caption a line")
    args = parser.parse_args()
    if args.endings and (args.extend or args.gpt2):
        parser.error("--endings is for a tokenizer that is learned")
    if args.extend:
        extend(args.extend, args.out)
        return
    if args.gpt2:
        convert_gpt2(args.gpt2, args.out)
        return
    vocabulary, merges = train(lines_of(args.sources), args.size, args.endings)
    write(args.out, vocabulary, merges, ADDED)
    print(f"{len(vocabulary)} tokens, {len(merges)} merges")


if __name__ == "__main__":
    main()
