"""The stages that learn to caption.

  caption   from the teacher's grid: compressor, text encoder, fusion, memory and decoder
  joint     from pixels: everything after the frozen stem
  critic    joint, rewarded for the CIDEr of its own samples (self-critical training, arXiv 1612.00563, with the mean
            of a photo's other samples as the baseline, arXiv 2003.09971)

A batch is made of groups of photos that look alike to the teacher. A caption may read the episodes of the batch's
other photos and its own, so that the memory it learns to read is like one in use.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F

from . import quant
from .data import Views, clean_caption, load_captions, nearest_photos, pad
from .export import read_checkpoint
from .metrics import Cider, recall_at_10, score, words
from .model import BitMar

INFO_NCE_WEIGHT, INFO_NCE_TEMPERATURE, CONSISTENCY_WEIGHT = 1.5, 0.07, 0.1  # the paper's
TEXT_WEIGHT = 0.3  # of lines without pictures, beside those with
FEATURE_WEIGHT = 3.0  # holds the encoder near the teacher's grid: at 0.5 it drifted away within 150 steps
DISTIL_SHARE = 0.7  # of the word loss, where there are tutors
GROUP = 4  # photos that look alike in a batch
HINTS = 0.2  # of the captions are asked for with a few of their own words
MAX_TOKENS = 32


def wrap(config, ids: list[int], limit=MAX_TOKENS) -> list[int]:
    return [config["bos_token_id"], *ids[:limit], config["eos_token_id"]]


def token_loss(model, logits, tokens, smoothing=0.05):
    """Mean next-token cross entropy; tokens [B, n + 1] start with BOS, padding is not counted."""
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=model.config["pad_token_id"],
                           label_smoothing=smoothing)


def distil_loss(logits, targets, real):
    """Mean cross entropy of logits [T, n, V] against probabilities [T, n, V] (arXiv 1503.02531, at temperature 1) where
    real [T, n]."""
    spoken = logits.logsumexp(-1) - (targets * logits).sum(-1)
    return spoken[real].mean()


def contrast(queries, keys, own):
    """Mean over a query's own keys of -log softmax(q . k / temperature) among them and the keys of others (arXiv 2103.00020,
    for several own keys): unit vectors [Q, C] and [K, C], own [Q, K] bool."""
    similarity = queries @ keys.t() / INFO_NCE_TEMPERATURE
    others = similarity.masked_fill(own, float("-inf")).logsumexp(1, keepdim=True)
    return (torch.logaddexp(similarity, others) - similarity)[own].mean()


def info_nce(images, captions, owner):
    """Symmetric, for unit vectors: images [B, C], captions [T, C], of which the i-th belongs to image owner[i]. An image's
    captions are not held against each other."""
    own = owner[:, None] == torch.arange(len(images), device=images.device)
    return (contrast(captions, images, own) + contrast(images, captions, own.t())) / 2


def memory_mask(batch: int, device) -> torch.Tensor:
    """[B, B]: which photos' episodes each photo may read.

    4 of 10 read nothing, 1 only unrelated ones, 2.5 those of all other photos, and 2.5 their own too: the same seen
    again, with what a person said of it. Without these the decoder learns that a memory is not worth reading."""
    group, own = torch.arange(batch, device=device) // GROUP, torch.eye(batch, dtype=torch.bool, device=device)
    kind = torch.rand(batch, 1, device=device)
    reads, unrelated, again = kind >= 0.4, (kind >= 0.4) & (kind < 0.5), kind >= 0.75
    return reads & ~(unrelated & (group[:, None] == group)) & (again | ~own)


class Text:
    """Lines to learn without pictures: those of --text and the captions to train on, each once."""

    def __init__(self, args, config, tokenizer):
        lines = {clean_caption(line) for path in args.text for line in path.read_text().splitlines()}
        lines |= {clean_caption(c) for rows in load_captions(args.captions, "train")[1] for c in rows}
        self.rows = [wrap(config, tokenizer.encode(line)) for line in sorted(lines) if 3 <= len(line.split()) <= 24]
        self.rows.sort(key=len)
        self.pad, self.device = config["pad_token_id"], args.device

    def loss(self, model, count: int) -> torch.Tensor:
        start = random.randrange(max(1, len(self.rows) - count + 1))  # neighbours have the same length: no padding
        tokens = pad(self.rows[start:start + count], self.pad).to(self.device)
        return token_loss(model, model.logits(tokens[:, :-1]), tokens)


class Split:
    """Photos of one split with their captions, as words and as tokens."""

    def __init__(self, args, name: str, tokenizer, inputs=None):
        """inputs: from views to what the encoder takes of them (train.Pixels or train.StemCache); without it the teacher's grid is seen"""
        self.views = Views(args.work / "views", name)
        self.inputs = inputs(self.views) if inputs else None
        self.captions = [[clean_caption(c) for c in rows] for rows in load_captions(args.captions, name)[1]]
        self.tokens = [[tokenizer.encode(c) for c in rows] for rows in self.captions]

    def features(self, model, rows, view):
        """[B, P, features]: the model's own where there are inputs, the teacher's otherwise."""
        if self.inputs:
            return model.vision.transform(model.vision.run_stem(self.inputs(rows, view), self.inputs.first))
        return self.teacher(model, rows, view)

    def teacher(self, model, rows, view):
        """The teacher's grid, as many of its components as the model takes."""
        features = model.config["vision"]["feature_size"]
        return self.views.grids(rows, view, features).to(model.embedding.weight.device).float()


class Seen:
    """What the model makes of a batch of pictures without any prompt."""

    def __init__(self, model, features):
        bos = torch.full((len(features), 1), model.config["bos_token_id"], device=features.device)
        self.features, self.vision = features, model.compressor(features)
        text, self.keep = model.encode_text(bos)
        self.fused, self.pooled = model.fuse(text, self.keep, self.vision)
        self.query = model.memory.query(self.pooled)


@dataclass
class Batch:
    """B photos and T captions of theirs, the photo's own ones together, the same number each."""

    rows: np.ndarray  # [B] photos
    view: np.ndarray  # [B] and the view of each
    owner: torch.Tensor  # [T] whose caption each is, as an index into rows
    said: torch.Tensor  # [T, n] captions, BOS first
    prompts: torch.Tensor  # [T, n] what is asked for each, BOS first
    tokens: torch.Tensor  # [T, n] captions from BOS to EOS
    allowed: torch.Tensor  # [B, B] bool: which photos' episodes each photo may read


def episode_values(model, seen: Seen, captions) -> torch.Tensor:
    """Values [B, C] of the episodes that say `captions` (tokens [B, n], BOS first) of the pictures seen."""
    return model.memory.value(model.fuse(*model.encode_text(captions), seen.vision)[1])


def caption_query(model, captions) -> torch.Tensor:
    """What captions (tokens [T, n], BOS first) are in the memory's space, without a picture: [T, C], unit vectors."""
    return model.memory.query(model.fuse(*model.encode_text(captions))[1])


def captions_of(model, split: Split, limit: int, say: Callable[[np.ndarray, Seen], list[str]]) -> list[str]:
    """Of the first `limit` whole photos, by exact products; say: from rows of photos and what is seen of them to captions"""
    exact, quant.matmul_dtype = quant.matmul_dtype, torch.float32
    with torch.no_grad():
        said = [caption for rows in np.split(np.arange(limit), range(50, limit, 50))
                for caption in say(rows, Seen(model, split.features(model, rows, 0)))]
    quant.matmul_dtype = exact
    return said


def greedy_captions(model, tokenizer, split: Split, limit: int, memory=None) -> list[str]:
    """Captions of whole photos; memory: a function from rows and queries to keys, values and an allowed mask."""
    def say(rows, seen: Seen) -> list[str]:
        retrieved = found = None
        if memory:
            retrieved, found = model.memory.read(seen.query, *memory(rows, seen.query))
        return [tokenizer.decode(ids) for ids in model.greedy(*model.condition(retrieved, seen.fused, seen.keep, seen.vision, found))]

    return captions_of(model, split, limit, say)


def read_weights(path, device="cpu") -> dict:
    """A checkpoint's "config" and "model". Where this process computes in float (--float), ternary weights as the numbers that
    they stand for, or they would be others."""
    state = read_checkpoint(path, device)
    if not quant.ternary and state.get("ternary", True):
        model = BitMar(state["config"])
        model.load_state_dict(state["model"])
        quant.round_weights(model)
        state["model"] = model.to(device).state_dict()
    return state


def load_tutor(path, device):
    state = read_weights(path, device)
    tutor = BitMar(state["config"]).to(device).requires_grad_(False).eval()
    tutor.load_state_dict(state["model"])
    return tutor


class Anchors:
    """What a tutor makes of every training photo and of every caption, in the memory's space: fixed, so that a batch is
    held against all of them and the space cannot drift."""

    def __init__(self, tutor, split: Split):
        config, images, captions = tutor.config, [], []
        at_once = 50 if tutor.embedding.weight.device.type == "cpu" else 500
        with torch.no_grad():
            for start in range(0, len(split.views), at_once):
                rows = np.arange(start, min(len(split.views), start + at_once))
                images.append(Seen(tutor, split.teacher(tutor, rows, 0)).query)
                said = pad([[config["bos_token_id"], *t[:MAX_TOKENS]] for r in rows for t in split.tokens[r]], config["pad_token_id"])
                captions.append(caption_query(tutor, said.to(images[0].device)))
        self.images, self.captions = torch.cat(images), torch.cat(captions)
        self.photo = torch.arange(len(self.images), device=self.images.device)
        each = torch.tensor([len(t) for t in split.tokens[:len(self.images)]], device=self.photo.device)
        self.owner = torch.repeat_interleave(self.photo, each)

    def __call__(self, images, captions, rows, owner) -> torch.Tensor:
        """images [B, C] of the photos in rows, captions [T, C], of which the i-th belongs to image owner[i]."""
        photos = torch.from_numpy(rows).to(images.device)
        towards_captions = contrast(images, self.captions, photos[:, None] == self.owner)
        return (towards_captions + contrast(captions, self.images, photos[owner][:, None] == self.photo)) / 2


class Captioning:
    def __init__(self, args, model, tokenizer, trainer_of, inputs=None):
        self.args, self.model, self.tokenizer, self.device = args, model, tokenizer, args.device
        self.train, self.held = (Split(args, name, tokenizer, inputs) for name in ("train", "val"))
        self.tutors = [load_tutor(path, args.device) for path in args.tutors]
        self.anchors = Anchors(self.tutors[0], self.train) if self.tutors else None
        self.text = Text(args, model.config, tokenizer) if args.text else None
        self.near = nearest_photos(self.train.views, photos=args.photos)  # whose rows are the photos trained on
        frozen = model.vision.stem[:self.train.inputs.first] if inputs else model.vision
        frozen.requires_grad_(False)
        model.train()
        for layer in model.decoder.layers:
            layer.dropout = args.dropout
        self.trainer = trainer_of(model.parameters())
        self.pad = model.config["pad_token_id"]

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Photos in groups of GROUP near neighbours, each photo once, and a view of each."""
        rows: list[int] = []
        while len(rows) < (self.args.batch or 32):
            seed = random.randrange(len(self.near))
            group = [seed, *random.sample(list(self.near[seed]), GROUP - 1)]
            if not set(group) & set(rows):
                rows += group
        return np.array(rows), np.random.randint(self.train.views.count, size=len(rows))

    def prompt(self, row: int, i: int) -> list[int]:
        """BOS, and sometimes a few neighbouring words of the caption that it must lead to."""
        spoken, bos = self.train.captions[row][i].split(), self.model.config["bos_token_id"]
        if random.random() > HINTS or not spoken:
            return [bos]
        start = random.randrange(len(spoken))
        return [bos, *self.tokenizer.encode(" ".join(spoken[start:start + random.randint(1, 3)]))]

    def hide(self, mask):
        """The mask [T, 1, 1, c] of the captions' conditioning with some vision tokens hidden."""
        count = (self.model.config["vision"]["grid_size"] // self.model.config["compressor"]["pool_size"]) ** 2
        hidden = torch.rand(len(mask), 1, 1, count, device=mask.device) < self.args.dropout
        return torch.cat([mask[..., :-count], mask[..., -count:].masked_fill(hidden, float("-inf"))], -1)

    def blindfold(self, mask, batch: Batch, drawn):
        """The mask with all hidden but what was read, from captions whose photo read episodes like it and whose number drawn [T]
        of 0 to 1 is small: by a picture in full view nobody learns to read."""
        group = torch.arange(len(batch.rows), device=mask.device) // GROUP
        alike = (batch.allowed & (group[:, None] == group)).any(1)[batch.owner]
        blind = alike & (drawn < self.args.blind)
        return torch.cat([mask[..., :1], mask[..., 1:].masked_fill(blind[:, None, None, None], float("-inf"))], -1)

    def padded(self, rows) -> torch.Tensor:
        return pad(rows, self.pad).to(self.device)

    def draw(self) -> Batch:
        train, each, bos = self.train, self.args.captions_each, self.model.config["bos_token_id"]
        rows, view = self.batch()
        chosen = [(r, i) for r in rows for i in random.sample(range(len(train.tokens[r])), each)]
        return Batch(rows, view, torch.arange(len(rows), device=self.device).repeat_interleave(each),
                     self.padded([[bos, *train.tokens[r][i][:MAX_TOKENS]] for r, i in chosen]),
                     self.padded([self.prompt(r, i) for r, i in chosen]),
                     self.padded([wrap(self.model.config, train.tokens[r][i]) for r, i in chosen]),
                     memory_mask(len(rows), self.device))

    def conditioning(self, model, seen: Seen, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each caption, by its own prompt; what is read is read once a photo, by its picture alone."""
        owner = batch.owner
        values = episode_values(model, seen, batch.said[::len(batch.said) // len(batch.rows)])
        retrieved, found = model.memory.read(seen.query, seen.query.detach(), values, batch.allowed)
        vision = seen.vision[owner]
        text, keep = model.encode_text(batch.prompts)
        return model.condition(retrieved[owner], model.fuse(text, keep, vision)[0], keep, vision, found[owner])

    def losses(self) -> dict[str, torch.Tensor]:
        model, train, batch = self.model, self.train, self.draw()
        seen = Seen(model, train.features(model, batch.rows, batch.view))
        said_query = caption_query(model, batch.said)
        losses = {"infonce": info_nce(seen.query, said_query, batch.owner)}
        if self.anchors:
            losses["anchors"] = self.anchors(seen.query, said_query, batch.rows, batch.owner)
        if self.args.consistency:
            # |M' - M|^2 for the paper's write M' = M + alpha w q^T.
            w = seen.query @ seen.query.t() / model.memory.temperature
            w = w.masked_fill(~batch.allowed, -1e9).softmax(-1)
            losses["memory"] = (model.memory.alpha * w).square().sum(1).mean()

        sequence, mask = self.conditioning(model, seen, batch)
        mask = self.blindfold(self.hide(mask), batch, torch.rand(len(mask), device=mask.device))
        logits = model.logits(batch.tokens[:, :-1], sequence, mask)
        losses["lm"] = token_loss(model, logits, batch.tokens)
        if self.text:
            losses["text"] = self.text.loss(model, len(batch.tokens))
        if self.tutors:
            losses["distil"] = distil_loss(logits, self.tutored(batch), batch.tokens[:, 1:] != self.pad)
        if train.inputs:
            losses["feature"] = F.mse_loss(seen.features, train.teacher(model, batch.rows, batch.view))
        return losses

    def tutored(self, batch: Batch) -> torch.Tensor:
        """The tutors' mean probabilities [T, n, V] of the next tokens of the batch's captions."""
        mean = 0.0
        with torch.no_grad():
            for tutor in self.tutors:
                seen = Seen(tutor, self.train.teacher(tutor, batch.rows, batch.view))
                sequence, mask = self.conditioning(tutor, seen, batch)
                mean = mean + tutor.logits(batch.tokens[:, :-1], sequence, mask).softmax(-1) / len(self.tutors)
        return mean

    def evaluate(self, limit: int) -> None:
        self.train.views.look()
        said = greedy_captions(self.trainer.average, self.tokenizer, self.held, limit)
        references = load_captions(self.args.captions, "val")[1][:limit]
        self.trainer.log({"photos": limit, **self.held_losses(min(limit, 300)), "distinct": len(set(said)), **score(said, references), "said": said[:3]})

    def held_losses(self, limit: int) -> dict[str, float]:
        """Of validation photos: nats a token, and how often a caption finds its photo among the first ten."""
        net, rows = self.trainer.average, np.arange(limit)
        with torch.no_grad():
            seen, loss = Seen(net, self.held.features(net, rows, 0)), 0.0
            condition = net.condition(None, seen.fused, seen.keep, seen.vision)
            for i in range(5):
                tokens = self.padded([wrap(net.config, self.held.tokens[r][i]) for r in rows])
                loss += float(token_loss(net, net.logits(tokens[:, :-1], *condition), tokens, 0.0)) / 5
            said = self.padded([[net.config["bos_token_id"], *self.held.tokens[r][0]] for r in rows])
            found = recall_at_10(caption_query(net, said), seen.query, torch.eye(limit, dtype=torch.bool, device=self.device))
        return {"val_lm": round(loss, 4), "val_recall": round(found, 4)}

    def run(self, losses, weights: dict[str, float]) -> None:
        every = self.args.evaluate_every
        while self.trainer.running():
            self.trainer.update(losses(), weights)
            if self.trainer.step % every == 0 and self.trainer.progress() < 1:
                self.evaluate(300)
        if self.trainer.step > self.trainer.began:
            self.evaluate(len(self.held.views))


class Critic(Captioning):
    """Samples captions and makes those likelier that score above the photo's other samples."""

    def __init__(self, *rest, **named):
        super().__init__(*rest, **named)
        self.references = [[words(c) for c in rows] for rows in self.train.captions]
        self.cider = Cider(self.references)

    def losses(self) -> dict[str, torch.Tensor]:
        model, train, each, batch = self.model, self.train, self.args.captions_each, self.draw()
        rows, owner = batch.rows, batch.owner
        batch.prompts = torch.full((len(owner), 1), model.config["bos_token_id"], device=self.device)  # unasked
        seen = Seen(model, train.features(model, rows, batch.view))
        said_query = caption_query(model, batch.said)
        sequence, mask = self.conditioning(model, seen, batch)
        # All of a photo's captions alike, for they are held against each other.
        mask = self.blindfold(mask, batch, torch.rand(len(rows), device=self.device)[owner])
        sampled = model.generate(sequence.detach(), mask, sample=True)
        rewards = torch.tensor([self.cider(words(self.tokenizer.decode(ids)), self.references[rows[i]])
                                for ids, i in zip(sampled, owner.tolist())]).view(-1, each)
        advantage = (rewards - (rewards.sum(1, keepdim=True) - rewards) / (each - 1)).flatten().to(self.device)

        batch.tokens = self.padded([wrap(model.config, ids) for ids in sampled])
        logits = model.logits(batch.tokens[:, :-1], sequence, mask)
        spoken = F.cross_entropy(logits.transpose(1, 2), batch.tokens[:, 1:], ignore_index=self.pad, reduction="none")
        real = batch.tokens[:, 1:] != self.pad
        losses = {"critic": (spoken.sum(1) * advantage / real.sum(1).float().mean()).mean(),
                  "infonce": info_nce(seen.query, said_query, owner)}
        if self.tutors:
            # What the tutors would say next in the model's own sentences (arXiv 2306.13649): without it the model ends in a
            # few sentences that suit many photos.
            losses["distil"] = distil_loss(logits, self.tutored(batch), real)
            losses["anchors"] = self.anchors(seen.query, said_query, rows, owner)
        if train.inputs:
            losses["feature"] = F.mse_loss(seen.features, train.teacher(model, rows, batch.view))
        return {**losses, "reward": rewards.mean().to(self.device)}


def caption(args, model, tokenizer, trainer_of, inputs=None) -> None:
    stage = Captioning(args, model, tokenizer, trainer_of, inputs)
    share = DISTIL_SHARE if stage.tutors else 0.0
    stage.run(stage.losses, {"lm": 1.0 - share, "distil": share, "infonce": INFO_NCE_WEIGHT * args.infonce,
                             "anchors": args.anchors, "memory": CONSISTENCY_WEIGHT, "text": TEXT_WEIGHT,
                             "feature": FEATURE_WEIGHT})


def critic(args, model, tokenizer, trainer_of, inputs) -> None:
    stage = Critic(args, model, tokenizer, trainer_of, inputs)
    stage.run(stage.losses, {"critic": 1.0, "distil": args.imitation, "infonce": INFO_NCE_WEIGHT * args.infonce,
                             "anchors": args.anchors, "feature": FEATURE_WEIGHT, "reward": 0.0})
