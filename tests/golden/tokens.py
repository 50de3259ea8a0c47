"""Writes tests/golden/tokens/ with the library tokenizers, for tests/unit/io_tokenizer_test.cpp: a small vocabulary, and what texts are in it.

usage: python3 tests/golden/tokens.py
"""

import json
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

OUT = Path(__file__).parent / "tokens"
SPECIAL = ["<pad>", "<bos>", "<eos>"]
TEXTS = [
    "", " ", "  ", "\t", "\n\n", "\r\nwindows\r\n", "Hello world", "hello world", " Hello", "a\n b\n\n  c", "a   b    c", "tabs\tand  spaces ",
    "A blond woman in a blue shirt appears to wait for a ride.", "Two young guys with shaggy hair look at their hands .",
    "I'm you're they've we'll it's don't he'd", "don't DON'T Don\u2019t", "He said: \"That's 100% of $3.50!\"", "2024-01-15 12345678",
    "caf\u00e9 na\u00efve r\u00e9sum\u00e9", "\u00e9 e\u0301", "\u00c0\u00c9\u00ce \u00f5\u00fc \u00df", "\ufb01ne ligature", "\u00a0nbsp", "x\u00bd y\u00b2 \u2167",
    "hello \U0001f44b world \U0001f30d", "\U0001f600\U0001f603\U0001f604", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!",
    "\u0967\u0968\u0969 \u0664\u0665", "...---...", "http://example.com/a?b=c&d=e#f", "def f(x):\n    return x**2\n", "ALL CAPS AND lower", "x" * 40,
]

# Merges are learned of whole lines, so that a text that is split in the wrong places gives other tokens.
learner = tokenizers.Tokenizer(models.BPE())
learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
learner.train_from_iterator(TEXTS * 2, trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False))
learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
learner.decoder = decoders.ByteLevel()

OUT.mkdir(exist_ok=True)
document = json.loads(learner.to_str())
vocabulary, merges = (document["model"][key] for key in ("vocab", "merges"))
(OUT / "tokenizer.json").write_text(json.dumps({
    "added_tokens": [{"id": i, "content": token, "special": True} for i, token in enumerate(SPECIAL)],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
    "post_processor": None,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": vocabulary, "merges": [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]},
}, ensure_ascii=False) + "\n")
(OUT / "golden.jsonl").write_text("".join(json.dumps({"text": text, "ids": learner.encode(text).ids}) + "\n" for text in TEXTS))
print(f"{len(vocabulary)} tokens, {len(merges)} merges, {len(TEXTS)} texts")
