"""What a run of training is told: the settings of every stage, and what all stages of a run share.

A recipe (recipe.py) is a list of stages in TOML; each table there is one of these classes. A setting that names a checkpoint names a stage
of the recipe (its checkpoint is WORK/NAME.pt), or is "shipped", the exported model to start from (--shipped), or is a path to either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..deadline import Deadline
from ..model.quant import Precision, fast_products
from .parallel import ALONE, Processes

CAPTIONER = ("compressor", "embedding", "text_encoder", "fusion", "memory", "decoder")  # all after the encoder, the bag-of-words head left out


@dataclass(frozen=True)
class Run:
    """What all stages of a run share."""

    data: Path  # what bitmar.prepare made
    work: Path  # receives all that is made
    config: dict  # of the model
    device: str = "cpu"
    products: torch.dtype = torch.float32
    deadline: Deadline = field(default_factory=Deadline)
    processes: Processes = ALONE
    shipped: Path = Path(__file__).parents[2] / "default"
    cache: Path = Path(".cache/teacher")  # of teachers that are downloaded
    compiled: bool = False  # by torch.compile, what pays for it

    def checkpoint(self, name: str, kind="pt") -> Path:
        """The file or folder that a setting names."""
        path = self.shipped if name == "shipped" else Path(name) if "/" in name else self.work / f"{name}.{kind}"
        if not path.exists():
            raise SystemExit(f"{path}: not there; run the stage that makes it first")
        return path

    @property
    def products_on_cpu(self) -> torch.dtype:
        """For stages that never run on a GPU"""
        return fast_products("cpu") if self.device.startswith("cuda") else self.products

    def precision(self, ternary=True) -> Precision:
        return Precision(self.products, ternary)


@dataclass(frozen=True)
class Stage:
    name: str = ""  # of what it makes; the kind of the stage, where none is given


# --- stages that learn --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Learning(Stage):
    """WORK/NAME.pt is the checkpoint, WORK/NAME.jsonl the learning curve."""

    steps: int = 1500
    seconds: float | None = None  # how long the stage lasts, instead of its steps; its schedule goes by the clock
    rate: float = 1e-3  # at its highest
    batch: int = 32  # of all processes together
    seed: int = 0
    start: dict[str, str] = field(default_factory=dict)  # from parts of the model (comma-separated; "captioner" is all after the encoder) to checkpoints
    ternary: bool = True  # False: the same architecture in float
    bits: dict[str, int] = field(default_factory=dict)  # of weights that are not ternary, by layer (set_bits in quant.py): for measurements only
    views: str = "views"  # folder of packed views in WORK
    components: int | None = None  # of the teacher's grid, where they are not the configuration's (a tutor's)
    config: str | None = None  # a JSON file, where the model is another than the recipe's


@dataclass(frozen=True)
class Language(Learning):
    """The decoder learns captions as plain text, without pictures."""

    steps: int = 900
    rate: float = 1.5e-3
    batch: int = 256  # lines
    text: bool = False  # the data's lines without photos too


@dataclass(frozen=True)
class Text(Learning):
    """The decoder learns language from plain text (data/corpus.py)."""

    steps: int = 2500
    rate: float = 3e-3
    batch: int = 16384  # tokens of a step
    views: str = ""  # none
    at_once: int = 8192  # tokens of which gradients are computed at once
    length: int = 256  # tokens of a window
    long_length: int = 1024  # tokens of a window in the last part of the stage
    long_share: float = 0.15  # that part, as a share of the stage
    tutor: str | None = None  # a checkpoint of the same vocabulary to learn from: the next words that it expects (arXiv 1503.02531)
    tutor_share: float = 0.5  # of a label that is what the tutor expects; the rest is the text's own next word
    bpe_dropout: float = 0.0  # share of merges that are left out when the text is encoded: drawn once and without a seed, so every epoch reads the same tokens
    orthogonal: bool = True  # Muon for the decoder's matrices, where PyTorch has it
    decay: float = 0.05
    evaluate_every: int = 100  # steps; 0: never


@dataclass(frozen=True)
class Encoder(Learning):
    """The vision encoder learns to predict the teacher's grid from pixels."""

    rate: float = 8e-3
    batch: int = 64  # views
    orthogonal: bool = True  # Muon for its matrices and convolutions, where PyTorch has it
    decay: float = 0.02
    first_convolutions: str | None = None  # the stage whose first convolutions it begins with
    whole: bool = False  # train the first five convolutions too (a step takes longer)
    mixed: float = 0.0  # share of the views that are of two photos mixed (views.py)
    through: str | None = None  # a captioner of the teacher's grid: the error of what its compressor makes of the grid counts too


@dataclass(frozen=True)
class Caption(Learning):
    """All after the encoder learns to caption and to answer, from the grid of the packed views."""

    rate: float = 1.2e-3
    text: bool = False  # the data's lines without photos too
    found: str | None = None  # the stage (tell) whose sentences photos with labels alone have
    photos: int | None = None  # train on the first so many alone
    captions_each: int = 5
    infonce: float = 1.0  # multiplies the paper's weight
    dropout: float = 0.1  # of the decoder's branches and of vision tokens
    tutors: tuple[str, ...] = ()  # checkpoints of the stage caption to learn from: their next words, by the teacher's grid
    anchors: float = 1.0  # weight of the contrast against the first tutor's space; 0: none
    blind: float = 0.2  # share of the captions with episodes like them to read that see nothing else
    consistency: bool = True
    unseen: int = 64  # questions of a step whose pictures are not here
    asked: int = 0  # questions of a step about photos beside those of the batch
    evaluate_every: int = 300  # steps; 0: never, not even at the end


@dataclass(frozen=True)
class Joint(Caption):
    """The same and the encoder, from pixels."""

    whole: bool = False  # as in Encoder


@dataclass(frozen=True)
class SelfCritical(Joint):
    """The same, rewarded for its own samples (self-critical training)."""

    on_grid: bool = False  # of the packed grids instead of pixels: the encoder stays as it is
    imitation: float = 0.03  # weight of the tutors' words beside the reward


@dataclass(frozen=True)
class Recall(Learning):
    """What the memory is searched by."""

    steps: int = 400
    rate: float = 3e-4
    batch: int = 512  # photos
    on_grid: bool = False


@dataclass(frozen=True)
class BagOfWords(Learning):
    """The bag-of-words head."""

    rate: float = 2e-3
    batch: int = 256
    on_grid: bool = False


# --- stages that make what others need ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Photos(Stage):
    """Draws photos with captions, labels and questions, and prepares them as the data (shapes.py)."""

    count: int = 240
    held: int = 40
    side: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Tokens(Stage):
    """WORK/tokenizer.json: learned from the data's captions and lines, or the one of another model with the tokens that it lacks."""

    size: int = 4096
    extend: str | None = None
    text: bool = True  # learned from the data's lines without photos too
    endings: bool = False  # endings of words are kept apart (data/morphemes.py, merges.py)


@dataclass(frozen=True)
class Pack(Stage):
    """WORK/NAME: packed views of every photo, with the teacher's grid of each (views.py)."""

    teacher: str = "ensemble"
    teacher_weights: str | None = None
    views: int = 8
    mixed: int = 0
    size: int = 128  # pixels a side
    like: str | None = None  # a model whose features the grid is rotated towards
    grids_of: str | None = None  # views to take the grids from, where only the size is another
    processes: int = 8  # that pack, on a GPU: it waits for pictures to be drawn


@dataclass(frozen=True)
class FirstConvolutions(Stage):
    """WORK/NAME.pt: ternary first convolutions that imitate InceptionV3's (first_convolutions.py)."""

    steps: int = 1500
    views: str = "views"


@dataclass(frozen=True)
class Tell(Stage):
    """WORK/NAME.jsonl: sentences for photos that have labels alone, by a captioner (tell.py)."""

    checkpoint: str = "shipped"
    views: str = "views"


@dataclass(frozen=True)
class See(Stage):
    """WORK/NAME: views with the grid that a trained encoder makes of them (see.py)."""

    checkpoint: str = "encoder"
    views: str = "views"
    views_each: int = 1
    mirrored: bool = True  # also the mirror images; without them the mirror image of a grid stands for the grid of a mirror image


@dataclass(frozen=True)
class Mix(Stage):
    """WORK/NAME.pt: a checkpoint between two (mix.py)."""

    begin: str = ""
    end: str = ""
    share: float = 0.5  # 0 is the beginning, 1 the end


@dataclass(frozen=True)
class Export(Stage):
    """WORK/NAME: the model as the engine loads it (export.py)."""

    checkpoint: str = "bag_of_words"


@dataclass(frozen=True)
class Evaluate(Stage):
    """WORK/NAME.json: scores of validation photos' greedy captions by the exported model, in PyTorch (evaluate.py)."""

    model: str = "model"
    limit: int = 200
