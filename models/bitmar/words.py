"""The stage that learns which words a picture's captions have (model.Words), all else as it is.

Targets are the shares of a photo's captions that have a token; rarities are as in CIDEr (arXiv 1411.5726). The losses are
the cross entropy of each token, and one minus the cosine of what is wanted and what the photo's captions have together,
which is what captions are held against.
"""

from __future__ import annotations

import math
import time
from collections import Counter

import torch
import torch.nn.functional as F

from .captioning import Split
from .data import fingerprint, kept_beside

WORDS_WEIGHT, DISAGREEMENT_WEIGHT = 0.02, 3.0  # of the two losses
VIEWS = 8  # of a photo that are learned from: the whole, crops, and the mirror images of all
DROPOUT = 0.5  # of what is seen, standardised
LEAST_DEVIATION = 0.05  # what hardly varies is not blown up
FEWEST = 3  # photos that a token must be said of, to be expected of one


def shares(tokens: list[list[list[int]]], vocabulary: int) -> torch.Tensor:
    """Of each photo's captions, how many have each token: [photos, V], from 0 to 1."""
    out = torch.zeros(len(tokens), vocabulary)
    for row, captions in zip(out, tokens):
        for caption in captions:
            row[sorted(set(caption))] += 1 / len(captions)
    return out


def rarities(tokens: list[list[list[int]]], vocabulary: int) -> torch.Tensor:
    """Inverse document frequency of each token, a document being a photo's captions: [V], 0 for tokens of fewer than FEWEST."""
    said_of = Counter(token for captions in tokens for token in {t for caption in captions for t in caption})
    return torch.tensor([math.log(len(tokens) / said_of[v]) if said_of[v] >= FEWEST else 0.0 for v in range(vocabulary)])


def summaries(model, split: Split, view: int, deadline: float = math.inf) -> torch.Tensor:
    """What Words takes of every photo: [photos, 2 f + 2 d], kept beside the view."""
    def see(rows):
        features = split.features(model, rows, view)
        return model.words.summary(features, model.compressor(features))

    weights = [*model.vision.state_dict().values(), *model.compressor.state_dict().values()]
    return kept_beside(split.views, view, f"summary-{fingerprint(weights)}.npy", len(model.words.center), see, deadline)


def losses(words, logits: torch.Tensor, shares: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of logits [B, V] against the shares [B, V] of captions that have each token."""
    cosine = F.cosine_similarity(words.wanted(logits), words.rarity * shares, -1)
    return {"words": F.binary_cross_entropy_with_logits(logits, shares, reduction="sum") / len(logits),
            "disagreement": 1 - cosine.mean()}


def words(args, model, tokenizer, trainer_of, inputs) -> None:
    """inputs: from views to what the encoder takes of them"""
    vocabulary, device = model.config["vocab_size"], args.device
    train, held = (Split(args, name, tokenizer, inputs) for name in ("train", "val"))
    model.requires_grad_(False)
    model.words.requires_grad_(True)
    wanted, expected = (shares(split.tokens, vocabulary).to(device) for split in (train, held))
    model.words.rarity.copy_(rarities(train.tokens, vocabulary))
    with torch.no_grad():
        model.words.bias.copy_(torch.logit(wanted.mean(0).clamp(1e-5, 0.99)))
    deadline = time.time() + 60 * args.minutes
    seen = torch.stack([summaries(model, train, view, deadline) for view in range(min(VIEWS, train.views.count))]).to(device)
    held_seen = summaries(model, held, 0, deadline).to(device)
    args.minutes = (deadline - time.time()) / 60  # that are left to learn in
    model.words.center.copy_(seen.mean((0, 1)))
    model.words.scale.copy_(1 / seen.std((0, 1)).clamp_min(LEAST_DEVIATION))
    model.words.train().dropout = DROPOUT
    trainer = trainer_of(model.words.parameters())
    batch, photos = args.batch or 256, len(train.views)
    while trainer.running():
        row, view = torch.randint(photos, (batch,), device=device), torch.randint(len(seen), (batch,), device=device)
        logits = model.word_logits(seen[view, row])
        trainer.update(losses(model.words, logits, wanted[row]), {"words": WORDS_WEIGHT, "disagreement": DISAGREEMENT_WEIGHT})
        if trainer.step % 250 == 0 or trainer.progress() == 1:
            net = trainer.average
            with torch.no_grad():
                got = losses(net.words, net.word_logits(held_seen), expected)
            trainer.log({"val_" + name: round(float(value), 4) for name, value in got.items()})
