"""The stage that teaches the bag-of-words head (bitmar.BagOfWords), all else as it is.

Targets are the shares of a photo's captions that have a token; rarities are as in CIDEr (arXiv 1411.5726). The losses are the binary
cross entropy of each token (bce); one minus the cosine of what is wanted and what the photo's captions have together, which is what
captions are compared with (disagreement); and of a label the cross entropy of its tokens among those of all labels (kinds). Of a photo
that has labels alone, its labels' tokens are known to be there and those of other labels not to be; of all others nothing is known, and
they do not count.

Pictures unlike any photo (strange.py) expect padding and nothing else. That token is in no caption, so none agrees with what they
expect, and the confidence in whatever is said of them falls.
"""

from __future__ import annotations

import math
from collections import Counter

import torch
import torch.nn.functional as F

from ..data.dataset import AT_ONCE, fingerprint, kept_beside
from ..data.inputs import Pixels
from ..data.strange import strange_pictures
from ..data.texts import Speech, evened, sayings
from ..data.views import whole
from ..deadline import Deadline
from .captioning import Split
from .settings import BagOfWords, Run
from .trainer import Trainer

BCE_WEIGHT, DISAGREEMENT_WEIGHT, KINDS_WEIGHT = 0.02, 3.0, 0.1  # of the losses
VIEWS = 8  # of a photo that are learned from: the whole, crops, and the mirror images of all
DROPOUT = 0.5  # of what is seen, standardised
LEAST_DEVIATION = 0.05  # what hardly varies is not blown up
NOTHING_RARITY = 20.0  # of padding, far above any word's: where it is expected, little else counts
STRANGE_EACH, STRANGE_SEED = 120, 7  # pictures of each strange kind to learn from; others than bitmar.calibrate judges by
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


def summaries(model, split: Split, view: int, deadline: Deadline) -> torch.Tensor:
    """What the head takes of every photo: [photos, 2 f + 2 d], kept beside the view."""
    def see(rows):
        features = split.features(model, rows, view)
        return model.bag_of_words.summary(features, model.compressor(features))

    weights = [*model.vision.state_dict().values(), *model.compressor.state_dict().values()]
    return kept_beside(split.views, view, f"summary-{fingerprint(weights)}.npy", len(model.bag_of_words.center), see, deadline)


def bags(split: Split, speech: Speech) -> tuple[list[list[list[int]]], torch.Tensor]:
    """Of each photo the texts that its words are taken from, and whether they are what somebody wrote [photos]: else they are labels."""
    texts, written = [], []
    for row, said in zip(split.rows, split.said):
        told = [s.tokens for s in said if s.kind in ("human", "web")] or [s.tokens for s in said if s.kind == "rebuilt"]
        written.append(bool(row["captions"]) and bool(told))
        # With the space before them, as in the middle of a sentence.
        labels = [speech.answer(phrase) for label in row["labels"][:3] for phrase in sayings(label)[:1]]
        texts.append(told if written[-1] else [[token for label in labels for token in label]] if labels else [])
    return texts, torch.tensor(written)


@torch.no_grad()
def strange_summaries(model) -> torch.Tensor:
    """What the head takes of pictures unlike any photo, [N, 2 f + 2 d]"""
    pictures, out = [picture for _, picture in strange_pictures(STRANGE_EACH, STRANGE_SEED)], []
    size, device = model.config["vision"]["image_size"], model.embedding.weight.device
    for start in range(0, len(pictures), AT_ONCE):
        pixels = torch.from_numpy(whole(pictures[start:start + AT_ONCE], size)).permute(0, 3, 1, 2).to(device)
        features = model.vision(pixels)
        out.append(model.bag_of_words.summary(features, model.compressor(features)))
    return torch.cat(out)


def losses(net, logits: torch.Tensor, shares: torch.Tensor, written: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of logits [B, V] against the shares [B, V] of texts that have each token; written [B], labels [V]: tokens of any label"""
    known = written[:, None] | labels
    values = {"bce": (F.binary_cross_entropy_with_logits(logits, shares, reduction="none") * known).sum() / len(logits)}
    own = net.rarity * net.sayable * shares
    if written.any():
        values["disagreement"] = 1 - (net.wanted(logits) * F.normalize(own, dim=-1, eps=1e-6)).sum(-1)[written].mean()
    if not written.all():
        sayable = labels & (net.sayable > 0)
        among = logits[~written][:, sayable].log_softmax(-1)
        values["kinds"] = -(F.normalize(own[~written][:, sayable], p=1, dim=-1) * among).sum(-1).mean()
    return values


def bag_of_words(settings: BagOfWords, run: Run, model, tokenizer) -> None:
    vocabulary, device = model.config["vocab_size"], run.device
    speech, inputs = Speech(tokenizer, model.config), None if settings.on_grid else lambda views: Pixels(views, device)
    train, held = (Split(run.work / settings.views, run.data, name, speech, inputs) for name in ("train", "val"))
    model.requires_grad_(False)
    model.bag_of_words.requires_grad_(True)
    (texts, written), (held_texts, held_written) = bags(train, speech), bags(held, speech)
    wanted, expected = (shares(bag, vocabulary).to(device) for bag in (texts, held_texts))
    labels = torch.zeros(vocabulary, dtype=torch.bool)
    labels[sorted({t for bag, told in zip(texts, written) if not told for text in bag for t in text})] = True
    model.bag_of_words.rarity.copy_(rarities([bag for bag in texts if bag], vocabulary))
    nothing = model.config["pad_token_id"]
    model.bag_of_words.rarity[nothing] = NOTHING_RARITY
    labels[nothing] = True  # known not to be expected of any photo
    with torch.no_grad():
        model.bag_of_words.bias.copy_(torch.logit(wanted[written].mean(0).clamp(1e-5, 0.99)))
    strange = strange_summaries(model)
    of_nothing = torch.zeros(vocabulary, device=device)
    of_nothing[nothing] = 1
    seen = torch.stack([summaries(model, train, view, run.deadline) for view in range(min(VIEWS, train.views.count))]).to(device)
    held_seen = summaries(model, held, 0, run.deadline).to(device)
    model.bag_of_words.center.copy_(seen.mean((0, 1)))
    model.bag_of_words.scale.copy_(1 / seen.std((0, 1)).clamp_min(LEAST_DEVIATION))
    model.bag_of_words.train().dropout = DROPOUT
    trainer, batch = Trainer(settings, run, model, model.bag_of_words.parameters()), settings.batch
    told, labelled = written.nonzero()[:, 0], torch.tensor([i for i, bag in enumerate(texts) if bag and not written[i]], dtype=torch.long)
    often = torch.tensor(evened([train.rows[i] for i in labelled.tolist()]))
    held_known = torch.tensor([i for i, bag in enumerate(held_texts) if bag], dtype=torch.long)
    while trainer.running():
        count = batch // 3 if len(labelled) else 0  # of photos with labels alone
        row = torch.cat([told[torch.randint(len(told), (batch - count,))], labelled[torch.multinomial(often, count, True) if count else labelled[:0]]]).to(device)
        view = torch.randint(len(seen), (batch,), device=device)
        some = strange[torch.randint(len(strange), (batch // 8,), device=device)]
        logits = model.bag_of_words_logits(torch.cat([seen[view, row], some]))
        nothing_logits = logits[batch:]
        values = losses(model.bag_of_words, logits[:batch], wanted[row], written[row], labels)
        values["nothing"] = F.binary_cross_entropy_with_logits(nothing_logits, of_nothing.expand_as(nothing_logits), reduction="sum") / len(some)
        trainer.update(values, {"bce": BCE_WEIGHT, "disagreement": DISAGREEMENT_WEIGHT, "kinds": KINDS_WEIGHT, "nothing": BCE_WEIGHT / 4})
        if trainer.step % 250 == 0 or trainer.progress() == 1:
            net = trainer.average
            with torch.no_grad():
                got = losses(net.bag_of_words, net.bag_of_words_logits(held_seen[held_known]), expected[held_known], held_written[held_known], labels)
            trainer.log({"val_" + name: round(float(value), 4) for name, value in got.items()})
