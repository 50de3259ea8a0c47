"""The stage that learns what the memory is searched by (the projection of its queries), all else as it is.

What is projected stands still, so it is seen once, and a step holds hundreds of photos against each other's captions, where the
stages that learn everything hold a few dozen (InfoNCE as there, arXiv 1807.03748).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..data.dataset import AT_ONCE, fingerprint, kept_beside, pad
from ..data.inputs import Pixels
from ..data.texts import Speech
from ..deadline import Deadline
from ..eval.metrics import recall_at_10
from .captioning import MAX_TOKENS, Seen, Split, info_nce
from .settings import Recall, Run
from .trainer import Trainer

VIEWS = 4  # of a photo that are learned from: the whole, a crop and the mirror images of both
DROPOUT = 0.1  # of what is projected


def pooled_images(model, split: Split, view: int, deadline: Deadline) -> torch.Tensor:
    """Of every photo [photos, d]: the mean of the fused tokens, without a prompt, kept beside the view."""
    parts = (model.vision, model.compressor, model.embedding, model.text_encoder, model.fusion)
    name = f"pooled-{fingerprint(value for part in parts for value in part.state_dict().values())}.npy"
    return kept_beside(split.views, view, name, model.config["hidden_size"],
                       lambda rows: Seen(model, split.features(model, rows, view)).pooled, deadline)


@torch.no_grad()
def pooled_captions(model, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every caption [T, d], without a picture, and the rows [T] of their photos."""
    said = [(row, [model.config["bos_token_id"], *tokens[:MAX_TOKENS]]) for row, captions in enumerate(split.tokens) for tokens in captions]
    device, out = model.embedding.weight.device, []
    for start in range(0, len(said), AT_ONCE):
        tokens = pad([tokens for _, tokens in said[start:start + AT_ONCE]], model.config["pad_token_id"]).to(device)
        out.append(model.fuse(*model.encode_text(tokens))[1])
    return torch.cat(out), torch.tensor([row for row, _ in said], device=device)


def recall(settings: Recall, run: Run, model, tokenizer) -> None:
    device, query = run.device, model.memory.query
    inputs = None if settings.on_grid else lambda views: Pixels(views, device)
    train, held = (Split(run.work / settings.views, run.data, name, Speech(tokenizer, model.config), inputs) for name in ("train", "val"))
    model.requires_grad_(False)
    model.memory.query_proj.requires_grad_(True)
    images = torch.stack([pooled_images(model, train, view, run.deadline) for view in range(min(VIEWS, train.views.count))]).to(device)
    held_images = pooled_images(model, held, 0, run.deadline).to(device)
    (captions, owner), (held_captions, held_owner) = (pooled_captions(model, split) for split in (train, held))
    held_own = held_owner[:, None] == torch.arange(len(held.views), device=device)
    trainer = Trainer(settings, run, model, model.memory.query_proj.parameters())
    photos, batch = len(train.views), min(settings.batch, len(train.views))
    while trainer.running():
        rows, view = torch.randperm(photos, device=device)[:batch], torch.randint(len(images), (batch,), device=device)
        place = torch.full((photos,), -1, device=device)  # of a photo in the batch
        place[rows] = torch.arange(batch, device=device)
        own = place[owner] >= 0
        seen, said = (query(F.dropout(states, DROPOUT)) for states in (images[view, rows], captions[own]))
        trainer.update({"infonce": info_nce(seen, said, place[owner[own]])}, {"infonce": 1.0})
        if trainer.step % 100 == 0 or trainer.progress() == 1:
            query_of = trainer.average.memory.query
            with torch.no_grad():
                seen, said = query_of(held_images), query_of(held_captions)
            trainer.log({"val_text_to_image": round(recall_at_10(said, seen, held_own), 4), "val_image_to_text": round(recall_at_10(seen, said, held_own.t()), 4)})
