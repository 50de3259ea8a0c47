"""The stage that teaches the vision encoder to predict the teacher's grid from pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..data.dataset import ResidentViews, Views
from ..data.inputs import inputs_of
from ..data.views import GRID
from .captioning import load_tutor
from .muon import muon
from .settings import Encoder, Run
from .trainer import Replay, Trainer, backward

KINDS_WEIGHT = 0.3  # of the teacher's kinds of thing, beside the error of the grid
THROUGH_WEIGHT = 3.0  # of the error after a captioner's compressor, beside that of the grid


def at_teachers_grid(features: torch.Tensor) -> torch.Tensor:
    """[B, g * g, features] of a student whose grid is another than the teacher's, resampled to it."""
    side = round(features.shape[1] ** 0.5)
    if side == GRID:
        return features
    grid = features.transpose(1, 2).unflatten(-1, (side, side))
    return F.interpolate(grid, (GRID, GRID), mode="bilinear", antialias=True, align_corners=False).flatten(2).transpose(1, 2)


def encoder(settings: Encoder, run: Run, model, tokenizer) -> None:
    features, device, processes = model.config["vision"]["feature_size"], run.device, run.processes
    cuda, folder = str(device).startswith("cuda"), run.work / settings.views

    def views_of(split: str) -> Views:
        return ResidentViews(folder, split, features, device) if cuda and settings.whole else Views(folder, split)

    views, held = views_of("train"), Views(folder, "val")
    mixed = views_of("mixed") if settings.mixed else None
    vision = model.vision
    sources = [(inputs_of(model, split, settings.whole, device), split) for split in (views, mixed) if split]
    held_seen = inputs_of(model, held, settings.whole, device)
    vision.stem[:held_seen.first].requires_grad_(False)
    captioner = load_tutor(run.checkpoint(settings.through), device, run.precision(settings.ternary)) if settings.through else None
    optimizer = muon([vision], vision.parameters(), settings.rate, settings.decay) if settings.orthogonal else None
    trainer = Trainer(settings, run, model, vision.parameters(), settings.decay, optimizer)
    counts = [settings.batch - round(settings.batch * settings.mixed), round(settings.batch * settings.mixed)]
    if any(count % processes.count for count in counts):
        raise SystemExit(f"{settings.name}: {counts[0]} views and {counts[1]} mixed ones are no multiple of {processes.count} processes")
    weights = {"mse": 1.0, "cosine": 0.5, "through": THROUGH_WEIGHT, "kinds": KINDS_WEIGHT}
    kinds_file = folder / "kinds.pt"
    kinds = {name: value.to(device) for name, value in torch.load(kinds_file).items()} if kinds_file.exists() else None

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder sees and the grids that it should make of it: this process's part of what all draw."""
        seen, wanted = [], []
        for (inputs, split), count in zip(sources, counts):
            part = processes.part(count)
            rows, view = np.random.randint(len(split), size=count)[part], np.random.randint(split.count, size=count)[part]
            seen.append(inputs(rows, view)), wanted.append(split.grids(rows, view))
        return torch.cat(seen), torch.cat(wanted)

    def see(net, x):
        return net.transform(net.run_stem(x, held_seen.first))

    learning = torch.compile(see) if run.compiled else see

    def losses(net, x, wanted, see=see):
        whole = wanted.to(device).float()
        wanted = whole[..., :features]
        got = at_teachers_grid(see(net, x))
        errors = {"mse": F.mse_loss(got, wanted), "cosine": 1 - F.cosine_similarity(got, wanted, -1).mean()}
        if captioner:
            errors["through"] = F.mse_loss(captioner.compressor(got), captioner.compressor(wanted))
        if kinds:  # which of the teacher's kinds the mean of the grid tells, by the teacher's own classifier
            of = lambda grid: grid.mean(1) @ kinds["weight"][:grid.shape[-1]] + kinds["bias"]
            errors["kinds"] = F.kl_div(of(got).log_softmax(-1), of(whole).log_softmax(-1), log_target=True, reduction="batchmean")
        return errors

    def step(x, wanted):
        values = losses(vision, x, wanted)
        backward(values, weights)
        return values

    replay = Replay(trainer.optimizer, step, list(draw()), device) if cuda else None
    while trainer.running():
        if replay:
            trainer.advance(replay(*draw()))
        else:
            trainer.update(losses(vision, *draw(), learning), weights)
        if trainer.step % 250 == 0:
            if processes.count == 1:  # several might not find the same number of views
                for _, split in sources:
                    split.look()
            rows = np.arange(0, len(held), max(1, len(held) // 400))
            with torch.no_grad():
                got = losses(trainer.average.vision, held_seen(rows, 0), held.grids(rows, 0))
            trainer.log({"views": views.count, **{"val_" + name: round(float(v), 4) for name, v in got.items()}})
