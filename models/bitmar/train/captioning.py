"""The stages that learn to caption.

  language       the decoder, without pictures
  caption        from the teacher's grid: compressor, text encoder, fusion, memory and decoder
  joint          from pixels: everything after the frozen first convolutions
  self_critical  joint, rewarded for the CIDEr of its own samples, or for naming what the label does (self-critical training, arXiv 1612.00563,
                 with the mean of a photo's other samples as the baseline, arXiv 2003.09971)

A batch is made of groups of photos that look alike to the teacher. A caption may read the episodes of the batch's
other photos and its own, so that the memory it learns to read is like one in use.
"""

from __future__ import annotations

import functools
import json
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F

from ..data.dataset import Views, clean_caption, load_rows, nearest_photos, pad
from ..data.inputs import inputs_of
from ..data.texts import SHARES, Asked, Said, Speech, answered, evened, holds_one, names, same_answer
from ..eval.metrics import Cider, recall_at_10, score, words
from ..model import BitMar, packed
from ..model.export import read_checkpoint
from ..model.packed import Part
from ..model.quant import Precision, computing, round_weights, rounded_once, set_precision
from .parallel import ALONE
from .settings import Caption, Joint, Language, Run
from .settings import SelfCritical as SelfCriticalSettings
from .trainer import Trainer

INFO_NCE_WEIGHT, INFO_NCE_TEMPERATURE, CONSISTENCY_WEIGHT = 1.5, 0.07, 0.1  # the paper's
TEXT_WEIGHT = 0.3  # of lines without pictures, beside those with
FEATURE_WEIGHT = 3.0  # holds the encoder near the teacher's grid: at 0.5 it drifted away within 150 steps
DISTIL_SHARE = 0.7  # of the word loss, where there are tutors
GROUP = 4  # photos that look alike in a batch
ANSWER_WEIGHT = 0.5
NAMED_REWARD, NAMED_SHARE = 0.7, 0.3  # of a caption that names a label, beside the CIDEr of the others; of labelled photos among those drawn
UNSEEN_WEIGHT = 0.3  # of answers to questions whose pictures are not here
ASKED_SHARES = {"cocoqa": 0.36, "vqa": 0.28, "daquar": 0.28, "visdial": 0.08}  # of the questions about photos beside a batch
ASKED_EACH, DECLINED_EACH = 4, 0.06  # questions of a photo in a batch; the share of photos with one that is not answered
QUESTION_TOKENS = 30
SOURCE_SHARES = {"flickr8k": 0.32, "coco": 0.34, "web_captioned": 0.12, "rooms": 0.08, "pascal_sentences": 0.02}  # of the groups drawn
LABELLED_SHARE = 0.14  # of all other sets together
HINTS = 0.2  # of the captions are asked for with a few of their own words
MAX_TOKENS = 32


def wrap(config, ids: list[int], limit=MAX_TOKENS) -> list[int]:
    return [config["bos_token_id"], *ids[:limit], config["eos_token_id"]]


def token_loss(model, logits, tokens, smoothing=0.05):
    """Mean next-token cross entropy; tokens [B, n + 1] start with BOS, padding is not counted."""
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=model.config["pad_token_id"],
                           label_smoothing=smoothing)


def by_length(tokens: torch.Tensor, pad: int, parts=2) -> list[tuple[torch.Tensor, int]]:
    """Rows of tokens [B, n] in parts of like lengths, and the longest of each: so that little padding is computed with."""
    if not len(tokens):
        return []
    lengths = (tokens != pad).sum(1)
    return [(rows, int(lengths[rows].max())) for rows in lengths.argsort().chunk(parts)]


def parts_of(tokens: torch.Tensor, pad: int, count: int) -> list[tuple[torch.Tensor, Part]]:
    """Rows of tokens [B, n] in parts of like lengths, for packed.py"""
    return [(rows, Part(tokens[rows, :longest], pad)) for rows, longest in by_length(tokens, pad, count)]


def loss_of_parts(model, parts: Iterable[tuple], smoothing: float, processes=ALONE):
    """token_loss of several parts together: tokens [N, n], the first one given, with their conditioning [N, c, d] and its mask"""
    total = count = torch.zeros((), device=model.embedding.weight.device)
    for tokens, sequence, mask in parts:
        own = (tokens[:, 1:] != model.config["pad_token_id"]).sum()
        total = total + own * token_loss(model, model.logits(tokens[:, :-1], sequence, mask), tokens, smoothing)
        count = count + own
    return total / count.clamp_min(1) * processes.weight(count)


def spoken_loss(model, tokens, sequence, mask, smoothing=0.05, processes=ALONE):
    """token_loss of captions tokens [B, n], BOS first, by their conditioning [B, c, d] and its mask"""
    parts = ((tokens[rows, :longest], sequence[rows], mask[rows]) for rows, longest in by_length(tokens, model.config["pad_token_id"]))
    return loss_of_parts(model, parts, smoothing, processes)


def answered_loss(model, questions, answers, vision=None, processes=ALONE):
    """Mean cross entropy of the answers' [Q, n] next tokens; questions [Q, n], pictures [Q, m, d] or none"""
    parts = ((answers[rows], *model.asked(questions[rows, :longest], None if vision is None else vision[rows]))
             for rows, longest in by_length(questions, model.config["pad_token_id"]))
    return loss_of_parts(model, parts, 0.0, processes)


def distil_loss(logits, targets, real, processes=ALONE):
    """Mean cross entropy of logits [T, n, V] against probabilities [T, n, V] (arXiv 1503.02531, at temperature 1) where
    real [T, n]."""
    spoken = logits.logsumexp(-1) - (targets * logits).sum(-1)
    return spoken[real].mean() * processes.weight(real.sum())


def contrast(queries, keys, own, processes=ALONE):
    """Mean over a query's own keys of -log softmax(q . k / temperature) among them and the keys of others (arXiv 2103.00020,
    for several own keys): unit vectors [Q, C] and [K, C], own [Q, K] bool."""
    similarity = queries @ keys.t() / INFO_NCE_TEMPERATURE
    others = similarity.masked_fill(own, float("-inf")).logsumexp(1, keepdim=True)
    return (torch.logaddexp(similarity, others) - similarity)[own].mean() * processes.weight(own.sum())


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
    """Lines to learn without pictures: the captions of people to train on and, if wanted, the data's other lines, each once."""

    def __init__(self, run: Run, config, tokenizer, more: bool):
        lines = {clean_caption(line) for line in (run.data / "text.txt").read_text().splitlines()} if more else set()
        lines |= {clean_caption(t) for row in load_rows(run.data, "train") for t, kind in row["captions"] if kind == "human"}
        self.rows = [wrap(config, tokenizer.encode(line)) for line in sorted(lines) if 3 <= len(line.split()) <= 24]
        self.rows.sort(key=len)
        self.pad, self.device, self.processes = config["pad_token_id"], run.device, run.processes

    def draw(self, count: int) -> torch.Tensor:
        """Lines [N, n], of which this process has its part"""
        start = random.randrange(max(1, len(self.rows) - count + 1))  # neighbours have the same length: no padding
        lines = self.rows[start:start + count]
        return pad(lines[self.processes.part(len(lines))], self.pad).to(self.device)

    def loss(self, model, count: int) -> torch.Tensor:
        tokens = self.draw(count)
        return token_loss(model, model.logits(tokens[:, :-1]), tokens) * self.processes.weight((tokens[:, 1:] != self.pad).sum())


class Questions:
    """Questions whose pictures are not here, with their answers. What is asked tells a good part of the answer: how a question is
    read, and which answers suit its kind, is learned from these."""

    def __init__(self, path: Path, speech: Speech):
        self.lines, self.speech = path.read_text().splitlines() if path.exists() else [], speech

    def __len__(self) -> int:
        return len(self.lines)

    def draw(self, count: int) -> list[Asked]:
        """So many, or as many as there are. Read only now: a stage asks a small part of them."""
        asked: list[Asked] = []
        for line in random.sample(self.lines, min(len(self.lines), 2 * count)):  # a few answers tell nothing
            if len(asked) == count:
                break
            q = json.loads(line)
            if pair := answered(q["question"], q["answer"], q["type"]):
                asked.append(self.speech.as_asked(*pair))
        return asked


class Split:
    """Photos of one split with what is said and asked of them."""

    def __init__(self, views: Path, data: Path, name: str, speech: Speech, inputs=None, found: Path | None = None):
        """inputs: from views to what the encoder takes of them (inputs.py); without it the packed grid is seen. found: further sentences for photos to
        train on (tell.py)"""
        self.views = Views(views, name)
        self.inputs = inputs(self.views) if inputs else None
        self.rows = load_rows(data, name)
        if name == "train" and found:
            more = {row["id"]: row["captions"] for row in map(json.loads, found.read_text().splitlines())}
            for row in self.rows:
                row["captions"] = row["captions"] + [[text, "found"] for text in more.get(row["id"], [])]
        if len(self.rows) != len(self.views):
            raise SystemExit(f"{len(self.views)} photos were packed, {data} has {len(self.rows)}")
        self.said: list[list[Said]] = [speech.said(row) for row in self.rows]
        self.asked: list[list[Asked]] = [speech.asked(row) for row in self.rows]
        human = [[s for s in said if s.kind == "human"] if row["captions"] else [] for row, said in zip(self.rows, self.said)]
        self.captions = [[s.text for s in said] for said in human]  # people's own
        self.tokens = [[s.tokens for s in said] for said in human]

    def where(self, *sets: str, captions=0) -> np.ndarray:
        """Photos of these sets (all sets, where none is named) with so many captions of people"""
        return np.array([i for i, row in enumerate(self.rows) if (not sets or row["set"] in sets) and len(self.captions[i]) >= captions], int)

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

    @classmethod
    def of(cls, features, vision, query) -> Seen:
        """What is known already"""
        seen = cls.__new__(cls)
        seen.features, seen.vision, seen.query = features, vision, query
        return seen


@dataclass
class Batch:
    """B photos and T captions of theirs, the photo's own ones together, the same number each. Of several processes, this one's part of the
    batch: only `allowed` tells of all W photos, of which its own begin with `first`."""

    first: int
    rows: np.ndarray  # [B] photos
    view: np.ndarray  # [B] and the view of each
    owner: torch.Tensor  # [T] whose caption each is, as an index into rows
    said: torch.Tensor  # [T, n] captions, BOS first
    prompts: torch.Tensor  # [T, n] what is asked for each, BOS first
    tokens: torch.Tensor  # [T, n] captions from BOS to EOS
    allowed: torch.Tensor  # [B, W] bool: which photos' episodes each photo may read
    asked: torch.Tensor  # [Q] of which photo each question is, as an index into rows
    questions: torch.Tensor  # [Q, n] the mark of a question and the question
    answers: torch.Tensor  # [Q, n] the mark, the answer, EOS
    beside: np.ndarray  # [E] further photos that are only asked about: their questions come last, and their indices follow those of rows
    beside_view: np.ndarray
    told: torch.Tensor  # [B] bool: photos of which somebody wrote; a label in a sentence suits many photos alike


def episode_values(model, seen: Seen, captions) -> torch.Tensor:
    """Values [B, C] of the episodes that say `captions` (tokens [B, n], BOS first) of the pictures seen."""
    return model.memory.value(model.fuse(*model.encode_text(captions), seen.vision)[1])


def caption_query(model, captions) -> torch.Tensor:
    """What captions (tokens [T, n], BOS first) are in the memory's space, without a picture: [T, C], unit vectors."""
    parts = by_length(captions, model.config["pad_token_id"])
    found = torch.cat([model.memory.query(model.fuse(*model.encode_text(captions[rows, :longest]))[1]) for rows, longest in parts])
    return found[torch.cat([rows for rows, _ in parts]).argsort()]


def captions_of(model, split: Split, photos: np.ndarray, say: Callable[[np.ndarray, Seen], list[str]]) -> list[str]:
    """Of whole photos, by exact products; say: from rows of photos and what is seen of them to captions"""
    with torch.no_grad(), computing(model, products=torch.float32):
        return [caption for rows in np.split(photos, range(50, len(photos), 50))
                for caption in say(rows, Seen(model, split.features(model, rows, 0)))]


def greedy_captions(model, tokenizer, split: Split, photos: np.ndarray, memory=None) -> list[str]:
    """Captions of whole photos; memory: a function from rows and queries to keys, values and an allowed mask."""
    def say(rows, seen: Seen) -> list[str]:
        retrieved = found = None
        if memory:
            retrieved, found = model.memory.read(seen.query, *memory(rows, seen.query))
        return [tokenizer.decode(ids) for ids in model.greedy(*model.condition(retrieved, seen.fused, seen.keep, seen.vision, found))]

    return captions_of(model, split, photos, say)


def ask(model, tokenizer, seen: Seen, questions: list[list[int]], owner: torch.Tensor) -> list[str]:
    """Greedy answers to questions (tokens without the mark), of which the i-th is about picture owner[i]."""
    mark, padding = model.config["ask"]["token_id"], model.config["pad_token_id"]
    vision = seen.vision[owner]
    condition = model.asked(pad([[mark, *q] for q in questions], padding).to(vision.device), vision)
    return [tokenizer.decode(ids).strip() for ids in model.generate(*condition, model.config["ask"]["max_tokens"], start=mark)]


def read_weights(path, device="cpu", ternary=True) -> dict:
    """A checkpoint's "config" and "model". For a model that computes in float, ternary weights as the numbers that they stand for, or
    they would be others."""
    state = read_checkpoint(path, device)
    if state.get("bits"):
        raise SystemExit(f"{path} was trained with bits = {state['bits']}, to measure what they gain; no other stage goes on with it")
    if not ternary and state.get("ternary", True):
        model = BitMar(state["config"])
        model.load_state_dict(state["model"])
        round_weights(model)
        state["model"] = model.to(device).state_dict()
    return state


def load_tutor(path, device, precision=Precision()):
    state = read_weights(path, device, precision.ternary)
    tutor = set_precision(BitMar(state["config"]), precision).to(device).requires_grad_(False).eval()
    tutor.load_state_dict(state["model"])
    return tutor


def kind_of(asked: Asked) -> str:
    """Of whose data a question is"""
    kind = asked.text[2]
    return "cocoqa" if kind in ("object", "color", "number", "location") else kind.split(":")[0]


class Anchors:
    """What a tutor makes of every training photo and of every caption, in the memory's space: fixed, so that a batch is
    held against all of them and the space cannot drift."""

    def __init__(self, tutor, split: Split, processes=ALONE):
        self.processes = processes
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
        towards_captions = contrast(images, self.captions, photos[:, None] == self.owner, self.processes)
        return (towards_captions + contrast(captions, self.images, photos[owner][:, None] == self.photo, self.processes)) / 2


class Captioning:
    labelled_share = LABELLED_SHARE

    def __init__(self, settings: Caption, run: Run, model, tokenizer, inputs=None):
        self.settings, self.model, self.tokenizer, self.device, self.processes = settings, model, tokenizer, run.device, run.processes
        if settings.batch % (GROUP * run.processes.count):
            raise SystemExit(f"{settings.name}: a batch of {settings.batch} photos is no multiple of {GROUP} for each of {run.processes.count} processes")
        self.speech = Speech(tokenizer, model.config)
        found = run.checkpoint(settings.found, "jsonl") if settings.found else None
        self.train, self.held = (Split(run.work / settings.views, run.data, name, self.speech, inputs, found) for name in ("train", "val"))
        self.tutors = [load_tutor(run.checkpoint(name), run.device, run.precision(settings.ternary)) for name in settings.tutors]
        self.anchors = Anchors(self.tutors[0], self.train, run.processes) if self.tutors and settings.anchors else None
        self.text = Text(run, model.config, tokenizer, more=True) if settings.text else None
        self.unseen = Questions(run.data / "questions.jsonl", self.speech)
        self.photos = self.spoken_of()[:settings.photos]
        self.near = self.photos[nearest_photos(self.train.views, self.photos)]
        sets = [self.train.rows[r]["set"] if self.train.rows[r]["set"] in SOURCE_SHARES else "labelled" for r in self.photos]
        counts = Counter(sets)
        labelled = iter(evened([self.train.rows[r] for r, name in zip(self.photos, sets) if name == "labelled"]))
        self.draws = np.cumsum([self.labelled_share * next(labelled) if name == "labelled" else SOURCE_SHARES[name] / counts[name] for name in sets])
        frozen = model.vision.stem[:self.train.inputs.first] if inputs else model.vision
        frozen.requires_grad_(False)
        model.train()
        for layer in model.decoder.layers:
            layer.dropout = settings.dropout
        self.trainer = Trainer(settings, run, model, model.parameters())
        self.pad = model.config["pad_token_id"]

    def spoken_of(self) -> np.ndarray:
        """Photos to learn from: all of which something is said"""
        return np.array([r for r, said in enumerate(self.train.said) if said])

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Photos in groups of GROUP near neighbours, each photo once, and a view of each; sources by their shares. Of all processes."""
        rows: list[int] = []
        while len(rows) < self.settings.batch:
            seed = int(np.searchsorted(self.draws, random.random() * self.draws[-1]))
            group = [int(self.photos[seed]), *random.sample(self.near[seed].tolist(), GROUP - 1)]
            if not set(group) & set(rows):
                rows += group
        return np.array(rows), np.random.randint(self.train.views.count, size=len(rows))

    def prompt(self, said: Said) -> list[int]:
        """BOS, and sometimes a few neighbouring words of the caption that it must lead to."""
        spoken, bos = said.text.split(), self.speech.bos
        if random.random() > HINTS or not spoken:
            return [bos]
        start = random.randrange(len(spoken))
        return [bos, *self.tokenizer.encode(" ".join(spoken[start:start + random.randint(1, 3)]))]

    def hide(self, mask):
        """The mask [T, 1, 1, c] of the captions' conditioning with some vision tokens hidden."""
        count = (self.model.config["vision"]["grid_size"] // self.model.config["compressor"]["pool_size"]) ** 2
        hidden = torch.rand(len(mask), 1, 1, count, device=mask.device) < self.settings.dropout
        return torch.cat([mask[..., :-count], mask[..., -count:].masked_fill(hidden, float("-inf"))], -1)

    def blindfold(self, mask, batch: Batch, drawn):
        """The mask with all hidden but what was read, from captions whose photo read episodes like it and whose number drawn [T]
        of 0 to 1 is small: by a picture in full view nobody learns to read."""
        group = torch.arange(batch.allowed.shape[1], device=mask.device) // GROUP
        alike = (batch.allowed & (group[batch.first:][:len(batch.rows), None] == group)).any(1)[batch.owner]
        blind = alike & (drawn < self.settings.blind)
        return torch.cat([mask[..., :1], mask[..., 1:].masked_fill(blind[:, None, None, None], float("-inf"))], -1)

    def padded(self, rows) -> torch.Tensor:
        return pad(rows, self.pad).to(self.device)

    def texts(self, row: int, count: int) -> list[Said]:
        """That are said of a photo, drawn by their kinds' shares: each once before one comes twice."""
        said = list(self.train.said[row])
        said.sort(key=lambda s: random.random() ** (1 / SHARES[s.kind]), reverse=True)  # Efraimidis and Spirakis 2006
        return [said[i % len(said)] for i in range(count)]

    def draw(self) -> Batch:
        each, bos = self.settings.captions_each, self.speech.bos
        rows, view = self.batch()
        # All processes draw the whole batch; from here on it is about the part of this one.
        photos = self.processes.part(len(rows))
        captions, first = slice(photos.start * each, photos.stop * each), photos.start
        chosen = [said for r in rows for said in self.texts(r, each)]
        asked = [(i, a) for i, r in enumerate(rows) for a in self.questions(r)] or [(0, self.speech.to_decline())]
        prompts = [self.prompt(said) for said in chosen]
        tokens = [[self.speech.beginning(said), *wrap(self.model.config, said.tokens)[1:]] for said in chosen]
        allowed = memory_mask(len(rows), self.device)
        of, questions = zip(*((i - first, q) for (i, _), q in zip(asked, self.spelled_out([a for _, a in asked]))))
        mine = [j for j, i in enumerate(of) if 0 <= i < photos.stop - first]
        rows = rows[photos]
        beside, beside_view, more = self.asked_beside()
        of += tuple(len(rows) + i for i, _ in more)
        mine += range(len(questions), len(of))
        questions += tuple(self.spelled_out([a for _, a in more]))
        batch = Batch(first, rows, view[photos], torch.arange(len(rows), device=self.device).repeat_interleave(each),
                      self.padded([[bos, *said.tokens[:MAX_TOKENS]] for said in chosen[captions]]),
                      self.padded(prompts[captions]), self.padded(tokens[captions]), allowed[photos],
                      torch.tensor([of[j] for j in mine], dtype=torch.long, device=self.device),
                      *self.questioned([questions[j] for j in mine]), beside, beside_view,
                      torch.tensor([bool(self.train.rows[r]["captions"]) for r in rows], device=self.device))
        self.trainer.draw_apart()
        return batch

    def asked_beside(self) -> tuple[np.ndarray, np.ndarray, list[tuple[int, Asked]]]:
        """Photos that this process asks about beside those of the batch, a view of each, and a question about each: kinds of question take turns by ASKED_SHARES"""
        drawn = [random.choice(self.askable[kind]) for kind in random.choices(list(self.askable), [ASKED_SHARES[k] for k in self.askable], k=self.settings.asked)] if self.askable else []
        drawn = drawn[self.processes.part(len(drawn))]
        return (np.array([r for r, _ in drawn], int), np.random.randint(self.train.views.count, size=self.settings.asked)[:len(drawn)], [(i, a) for i, (_, a) in enumerate(drawn)])

    @functools.cached_property
    def askable(self) -> dict[str, list[tuple[int, Asked]]]:
        """By kind of question, all that is asked of training photos"""
        out = defaultdict(list)
        for row, asked in enumerate(self.train.asked):
            for a in asked:
                out[kind_of(a)].append((row, a))
        return {kind: out[kind] for kind in sorted(out) if kind in ASKED_SHARES}

    def questions(self, row: int) -> list[Asked]:
        """Some that are asked of a photo, now and then one that is not answered"""
        asked = self.train.asked[row]
        some = random.sample(asked, min(len(asked), ASKED_EACH))
        return some + [self.speech.to_decline()] * (random.random() < DECLINED_EACH)

    def spelled_out(self, asked: list[Asked]) -> list[tuple[list[int], list[int]]]:
        """Each question and its answer, behind the mark"""
        mark, end = self.speech.ask, self.model.config["eos_token_id"]
        return [([mark, *self.spelled(a.question)], [mark, *a.answer, end]) for a in asked]

    def questioned(self, spelled: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Questions [Q, n] and answers [Q, n]"""
        return self.padded([question for question, _ in spelled]), self.padded([answer for _, answer in spelled])

    def spelled(self, question: list[int]) -> list[int]:
        """With or without the sign at its end, as people type it"""
        mark = self.question_mark
        body = question[:-1] if question[-1:] == [mark] else question
        return [*body[:QUESTION_TOKENS], *([mark] if random.random() < 0.6 else [])]

    @functools.cached_property
    def question_mark(self) -> int:
        return self.tokenizer.encode("what?")[-1]

    def contrast(self, seen: Seen, said_query: torch.Tensor, batch: Batch) -> torch.Tensor:
        """InfoNCE of the photos that somebody wrote of, of all processes"""
        gather = self.processes.gather
        query, said_query, told, owner = gather(seen.query), gather(said_query), gather(batch.told.long()) > 0, gather(batch.owner + batch.first)
        place = told.long().cumsum(0) - 1
        mine = told[owner]
        return info_nce(query[told], said_query[mine], place[owner[mine]]) if told.sum() > 1 else query.sum() * 0

    def answer_loss(self, model, seen: Seen, batch: Batch) -> torch.Tensor:
        vision = seen.vision
        if len(batch.beside):
            vision = torch.cat([vision, model.compressor(self.train.features(model, batch.beside, batch.beside_view))])
        return answered_loss(model, batch.questions, batch.answers, vision[batch.asked], self.processes)

    def unseen_loss(self, model) -> torch.Tensor:
        """Of some questions whose pictures are not here"""
        return answered_loss(model, *self.questioned(self.drawn_unseen()), processes=self.processes)

    def drawn_unseen(self) -> list[tuple[list[int], list[int]]]:
        """This process's part of those of a step, spelled out"""
        asked = self.spelled_out(self.unseen.draw(self.settings.unseen))
        return asked[self.processes.part(len(asked))]

    def conditioning(self, model, seen: Seen, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each caption, by its own prompt; what is read is read once a photo, by its picture alone."""
        owner = batch.owner
        values = episode_values(model, seen, batch.said[::len(batch.said) // len(batch.rows)])
        gather = self.processes.gather
        retrieved, found = model.memory.read(seen.query, gather(seen.query.detach()), gather(values), batch.allowed)
        vision = seen.vision[owner]
        text, keep = model.encode_text(batch.prompts)
        return model.condition(retrieved[owner], model.fuse(text, keep, vision)[0], keep, vision, found[owner])

    def losses(self) -> dict[str, torch.Tensor]:
        """Of one step: all texts together, where that gives all that is wanted"""
        return self.losses_one_by_one() if self.tutors or not self.settings.ternary else self.losses_together()

    def losses_together(self) -> dict[str, torch.Tensor]:
        """As losses_one_by_one, by packed.py"""
        model, train, batch, padding, processes = self.model, self.train, self.draw(), self.pad, self.processes
        unseen = self.questioned(self.drawn_unseen()) if self.unseen else None
        lines = self.text.draw(self.settings.batch * self.settings.captions_each // 2) if self.text else None
        features = train.features(model, batch.rows, batch.view)
        photos, captions = len(batch.rows), len(batch.owner)
        beside = [train.features(model, batch.beside, batch.beside_view)] if len(batch.beside) else []
        vision = model.compressor(torch.cat([features, *beside]))
        table = packed.table_of(model)

        # All that is read goes through the text encoder at once.
        bos = Part(batch.said.new_full((1, 1), model.config["bos_token_id"]), padding)
        said, prompts, asked, guessed = (parts_of(tokens, padding, parts) if tokens is not None else [] for tokens, parts in
                                         ((batch.said, 3), (batch.prompts, 3), (batch.questions, 3), (unseen[0] if unseen else None, 3)))
        read = [bos, *(part for parts in (said, prompts, asked, guessed) for _, part in parts)]
        text = packed.encode(model.text_encoder, F.embedding(packed.laid_out(read), table), read)

        # What of it sees pictures: no prompt, captions as episodes, prompts and questions, in this order.
        each = captions // photos
        nothing = torch.zeros(photos, 1, dtype=torch.long, device=self.device), torch.arange(photos, device=self.device)
        episodes = [(rows[own], part.rows()[own], part.keep[own]) for rows, part in said for own in [rows % each == 0] if own.any()]
        pictures = [nothing, *((rows, batch.owner[which]) for which, rows, _ in episodes)]
        begin = sum(rows.numel() for rows, _ in pictures)
        pictures += [(part.rows(), batch.owner[which]) for which, part in prompts] + [(part.rows(), batch.asked[which]) for which, part in asked]
        fused = packed.fuse(model.fusion, text, pictures, vision)
        query = model.memory.query(fused[:photos])
        first, values = photos, []
        for _, rows, keep in episodes:
            values.append(packed.mean_of_kept(fused[first:first + rows.numel()].unflatten(0, rows.shape), keep))
            first += rows.numel()
        values = model.memory.value(torch.cat(values))[torch.cat([which for which, _, _ in episodes]).argsort()]
        alone = model.fusion.norm(text)  # without pictures
        said_query = model.memory.query(torch.cat([packed.mean_of_kept(part.of(alone), part.keep) for _, part in said]))
        said_query = said_query[torch.cat([which for which, _ in said]).argsort()]
        losses = self.memory_losses(Seen.of(features, vision[:photos], query), said_query, batch)

        # What the decoder is conditioned on: what was read, pictures, prompts and questions.
        retrieved, found = model.memory.read(query, processes.gather(query.detach()), processes.gather(values), batch.allowed)
        tokens = torch.cat([retrieved[:, 0], vision.flatten(0, 1), fused[begin:], *(part.of(alone).flatten(0, 1) for _, part in guessed)])
        seen = (photos + torch.arange(len(vision) * vision.shape[1], device=self.device)).view(vision.shape[:2])
        place, first = [], photos + seen.numel()
        for parts, like in ((prompts, batch.prompts), (asked, batch.questions), (guessed, unseen[0] if unseen else None)):
            rows = torch.zeros_like(like) if like is not None else None
            for which, part in parts:
                rows[which, :part.tokens.shape[1]] = first + torch.arange(part.tokens.numel(), device=self.device).view(part.tokens.shape)
                first += part.tokens.numel()
            place.append(rows)
        told = torch.cat([batch.owner[:, None], place[0], seen[batch.owner]], 1)
        mask = torch.zeros(told.shape, device=self.device)
        mask[:, 0].masked_fill_(~found[batch.owner], float("-inf"))
        mask[:, 1:1 + place[0].shape[1]].masked_fill_(batch.prompts == padding, float("-inf"))
        mask = mask[:, None, None]
        mask = self.blindfold(self.hide(mask), batch, torch.rand(len(mask), device=self.device))

        spoken: list[tuple[str, Part, tuple | None, torch.Tensor]] = []  # loss, what the decoder is given, its conditioning, what comes next
        def speak(name: str, tokens, condition) -> None:
            spoken.append((name, Part(tokens[:, :-1], padding), condition, tokens[:, 1:]))

        for which, part in parts_of(batch.tokens, padding, 3):
            speak("lm", part.tokens, (told[which], mask[which]))
        for name, parts, rows, answers in (("answer", asked, place[1], batch.answers), ("unseen", guessed, place[2], unseen[1] if unseen else None)):
            for which, part in parts:
                condition = rows[which, :part.tokens.shape[1]]
                hidden = torch.zeros(condition.shape, device=self.device).masked_fill_(~part.keep, float("-inf"))
                if name == "answer":
                    condition = torch.cat([condition, seen[batch.asked[which]]], 1)
                    hidden = F.pad(hidden, (0, seen.shape[1]))
                own = answers[which]
                speak(name, own[:, :int((own != padding).sum(1).max())], (condition, hidden[:, None, None]))
        if lines is not None:
            speak("text", lines, None)
        given = [part for _, part, _, _ in spoken]
        states = packed.decode(model.decoder, F.embedding(packed.laid_out(given), table), given, [condition for _, _, condition, _ in spoken], tokens)
        nexts = torch.cat([wanted.flatten() for _, _, _, wanted in spoken])
        real = nexts != padding
        smooth = torch.cat([torch.full((wanted.numel(),), 0.05 if name in ("lm", "text") else 0.0, device=self.device) for name, _, _, wanted in spoken])
        surprise = packed.surprises(model, packed.Rows.apply(states, real.nonzero()[:, 0]), nexts[real], smooth[real])
        sums: dict = defaultdict(list)
        for (name, *_), own in zip(spoken, surprise.split([int((wanted != padding).sum()) for *_, wanted in spoken])):
            sums[name].append(own)
        for name, own in sums.items():
            every = torch.cat(own)
            losses[name] = every.sum() / max(1, len(every)) * processes.weight(torch.tensor(len(every), device=self.device))
        if train.inputs:
            losses["feature"] = F.mse_loss(features, train.teacher(model, batch.rows, batch.view))
        return losses

    def memory_losses(self, seen: Seen, said_query, batch: Batch) -> dict[str, torch.Tensor]:
        """Of the space that the memory is searched in"""
        model = self.model
        losses = {"infonce": self.contrast(seen, said_query, batch)}
        if self.anchors:
            losses["anchors"] = self.anchors(seen.query, said_query, batch.rows, batch.owner)
        if self.settings.consistency:
            # |M' - M|^2 for the paper's write M' = M + alpha w q^T.
            w = seen.query @ self.processes.gather(seen.query).t() / model.memory.temperature
            w = w.masked_fill(~batch.allowed, -1e9).softmax(-1)
            losses["memory"] = (model.memory.alpha * w).square().sum(1).mean()
        return losses

    def losses_one_by_one(self) -> dict[str, torch.Tensor]:
        model, train, batch = self.model, self.train, self.draw()
        seen = Seen(model, train.features(model, batch.rows, batch.view))
        said_query = caption_query(model, batch.said)
        losses = self.memory_losses(seen, said_query, batch)
        sequence, mask = self.conditioning(model, seen, batch)
        mask = self.blindfold(self.hide(mask), batch, torch.rand(len(mask), device=mask.device))
        if self.tutors:
            logits, real = model.logits(batch.tokens[:, :-1], sequence, mask), batch.tokens[:, 1:] != self.pad
            losses["lm"] = token_loss(model, logits, batch.tokens) * self.processes.weight(real.sum())
            losses["distil"] = distil_loss(logits, self.tutored(batch), real, self.processes)
        else:
            losses["lm"] = spoken_loss(model, batch.tokens, sequence, mask, processes=self.processes)
        losses["answer"] = self.answer_loss(model, seen, batch)
        if self.unseen:
            losses["unseen"] = self.unseen_loss(model)
        if self.text:
            losses["text"] = self.text.loss(model, self.settings.batch * self.settings.captions_each // 2)
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
        """Of at most so many photos and questions of each kind"""
        net, held = self.trainer.average, self.held
        row: dict = {}
        for name in ("flickr8k", "coco"):
            photos = held.where(name, captions=5)[:limit]
            if len(photos):
                said = greedy_captions(net, self.tokenizer, held, photos)
                scores = score(said, [held.captions[r] for r in photos])
                row |= {name: scores["CIDEr"], f"{name}_bleu4": scores["BLEU-4"], f"{name}_distinct": len(set(said)), f"{name}_said": said[:3]}
        labelled = held.where()
        labelled = np.array([r for r in labelled if held.rows[r]["set"] not in ("coco", "rooms") and any(names(n) for n in held.rows[r]["labels"])], int)
        labelled = labelled[::max(1, len(labelled) // limit)]
        if len(labelled):
            said = greedy_captions(net, self.tokenizer, held, labelled)
            named = [any(holds_one(words(c), names(label)) for label in held.rows[r]["labels"]) for r, c in zip(labelled, said)]
            row |= {"named": round(sum(named) / len(named), 4), "named_said": said[:3]}
        self.trainer.log({"photos": limit, **self.held_losses(min(limit, 300)), **row, **self.held_answers(limit)})

    def held_answers(self, limit: int) -> dict[str, float]:
        """Share of questions about validation photos that are answered right, by kind"""
        right, net = defaultdict(list), self.trainer.average
        photos = np.array([r for r, asked in enumerate(self.held.asked) if asked], int)
        photos = photos[::max(1, len(photos) // limit)]
        for rows in np.split(photos, range(50, len(photos), 50)) if len(photos) else ():
            with torch.no_grad():
                asked = [(i, a) for i, r in enumerate(rows) for a in self.held.asked[r][:8]]
                owner = torch.tensor([i for i, _ in asked])
                said = ask(net, self.tokenizer, Seen(net, self.held.features(net, rows, 0)), [a.question for _, a in asked], owner)
            for (_, a), answer in zip(asked, said):
                right[kind_of(a)].append(same_answer(answer, a.text[1]))
        return {f"answer_{kind}": round(sum(r) / len(r), 4) for kind, r in right.items()}

    def held_losses(self, limit: int) -> dict[str, float]:
        """Of validation photos with people's captions: nats per token, and how often a caption finds its photo among the first ten."""
        net, rows = self.trainer.average, self.held.where("flickr8k", captions=5)[:limit]
        if not len(rows):
            rows = self.held.where(captions=1)[:limit]
        if not len(rows):
            return {}
        with torch.no_grad():
            seen, loss = Seen(net, self.held.features(net, rows, 0)), 0.0
            condition = net.condition(None, seen.fused, seen.keep, seen.vision)
            each = min(5, min(len(self.held.tokens[r]) for r in rows))
            for i in range(each):
                tokens = self.padded([wrap(net.config, self.held.tokens[r][i]) for r in rows])
                loss += float(token_loss(net, net.logits(tokens[:, :-1], *condition), tokens, 0.0)) / each
            said = self.padded([[net.config["bos_token_id"], *self.held.tokens[r][0]] for r in rows])
            found = recall_at_10(caption_query(net, said), seen.query, torch.eye(len(rows), dtype=torch.bool, device=self.device))
        return {"val_lm": round(loss, 4), "val_recall": round(found, 4)}

    def run(self, losses, weights: dict[str, float]) -> None:
        every, trainer = self.settings.evaluate_every, self.trainer
        while trainer.running():
            trainer.update(losses(), weights)
            if every and trainer.step % every == 0 and trainer.progress() < 1:
                if self.processes.count == 1:  # several might not find the same number of views
                    self.train.views.look()
                if self.processes.first:
                    self.evaluate(300)
        if every and trainer.step > trainer.began and self.processes.first:
            self.evaluate(1000)


class SelfCritical(Captioning):
    """Samples captions and makes those likelier that score above the photo's other samples: by CIDEr where several people described
    the photo, by whether its label is named where a label is all there is."""

    labelled_share = NAMED_SHARE

    def __init__(self, *rest):
        super().__init__(*rest)
        self.references = [[words(c) for c in rows] for rows in self.train.captions]
        self.cider = Cider([rows for rows in self.references if rows])

    @functools.cached_property
    def labels(self) -> list[set[str]]:
        """Of each photo that nobody described, the words that name what it is labelled with"""
        return [set() if row["captions"] else set().union(*(names(label) for label in row["labels"])) for row in self.train.rows]

    def spoken_of(self) -> np.ndarray:
        """One person's sentence alone is a poor judge"""
        return np.array([r for r, labels in enumerate(self.labels) if labels and self.train.said[r] or len(self.train.captions[r]) >= 3])

    def reward(self, row: int, caption: str) -> float:
        said, labels = words(caption), self.labels[row]
        if not labels:
            return self.cider(said, self.references[row])
        return NAMED_REWARD * holds_one(said, labels)

    def losses(self) -> dict[str, torch.Tensor]:
        model, train, each, batch = self.model, self.train, self.settings.captions_each, self.draw()
        rows, owner = batch.rows, batch.owner
        batch.prompts = torch.full((len(owner), 1), model.config["bos_token_id"], device=self.device)  # unasked
        seen = Seen(model, train.features(model, rows, batch.view))
        said_query = caption_query(model, batch.said)
        sequence, mask = self.conditioning(model, seen, batch)
        # All of a photo's captions alike, for they are held against each other.
        mask = self.blindfold(mask, batch, torch.rand(len(rows), device=self.device)[owner])
        with rounded_once(model.decoder):
            sampled = model.generate(sequence.detach(), mask, sample=True)
        rewards = torch.tensor([self.reward(rows[i], self.tokenizer.decode(ids)) for ids, i in zip(sampled, owner.tolist())]).view(-1, each)
        advantage = (rewards - (rewards.sum(1, keepdim=True) - rewards) / (each - 1)).flatten().to(self.device)

        batch.tokens = self.padded([wrap(model.config, ids) for ids in sampled])
        logits = model.logits(batch.tokens[:, :-1], sequence, mask)
        spoken = F.cross_entropy(logits.transpose(1, 2), batch.tokens[:, 1:], ignore_index=self.pad, reduction="none")
        real = batch.tokens[:, 1:] != self.pad
        losses = {"self_critical": (spoken.sum(1) * advantage / self.processes.mean(real.sum(1).float().mean())).mean(),
                  "infonce": self.contrast(seen, said_query, batch), "answer": self.answer_loss(model, seen, batch)}
        if self.unseen:
            losses["unseen"] = self.unseen_loss(model)
        if self.tutors:
            # What the tutors would say next in the model's own sentences (arXiv 2306.13649): without it the model ends in a
            # few sentences that suit many photos.
            losses["distil"] = distil_loss(logits, self.tutored(batch), real, self.processes)
        if self.anchors:
            losses["anchors"] = self.anchors(seen.query, said_query, rows, owner)
        if train.inputs:
            losses["feature"] = F.mse_loss(seen.features, train.teacher(model, rows, batch.view))
        described = torch.tensor([not self.labels[r] for r in rows])
        return {**losses, **{name: rewards[which].mean().to(self.device) for name, which in (("reward", described), ("named", ~described)) if which.any()}}


def language(settings: Language, run: Run, model, tokenizer) -> None:
    """Captions as plain text, without pictures."""
    text = Text(run, model.config, tokenizer, settings.text)
    trainer = Trainer(settings, run, model, [*model.decoder.parameters(), *model.embedding.parameters()])
    while trainer.running():
        trainer.update({"lm": text.loss(model, settings.batch)}, {"lm": 1.0})


def caption(settings: Caption, run: Run, model, tokenizer) -> None:
    """Also the stage joint, which sees pixels."""
    inputs = (lambda views: inputs_of(model, views, settings.whole, run.device)) if isinstance(settings, Joint) else None
    stage = Captioning(settings, run, model, tokenizer, inputs)
    share = DISTIL_SHARE if stage.tutors else 0.0
    stage.run(stage.losses, {"lm": 1.0 - share, "distil": share, "infonce": INFO_NCE_WEIGHT * settings.infonce,
                             "anchors": settings.anchors, "memory": CONSISTENCY_WEIGHT, "text": TEXT_WEIGHT, "answer": ANSWER_WEIGHT,
                             "unseen": UNSEEN_WEIGHT,
                             "feature": FEATURE_WEIGHT})


def self_critical(settings: SelfCriticalSettings, run: Run, model, tokenizer) -> None:
    inputs = None if settings.on_grid else lambda views: inputs_of(model, views, settings.whole, run.device)
    stage = SelfCritical(settings, run, model, tokenizer, inputs)
    stage.run(stage.losses, {"self_critical": 1.0, "distil": settings.imitation, "infonce": INFO_NCE_WEIGHT * settings.infonce,
                             "anchors": settings.anchors, "answer": ANSWER_WEIGHT / 3, "unseen": UNSEEN_WEIGHT / 3, "feature": FEATURE_WEIGHT, "reward": 0.0, "named": 0.0})
