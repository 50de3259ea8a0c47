"""Recipes: lists of stages in TOML, each a table with settings of its kind (settings.py).

  about = "one sentence"
  [config]           # of the model, where it differs from default_config.json; tables are merged
  [[stage]]
  do = "encoder"     # the kind: see KINDS
  name = "encoder"   # of what it makes; the kind, where it is not given
  steps = 2000       # settings of this kind
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import earlier
from ..model.bitmar import DEFAULT_CONFIG, load_config
from . import settings

INSTALLED = Path(__file__).parents[1] / "recipes"  # where the package is installed without the repository around it
FOLDER = INSTALLED if INSTALLED.exists() else Path(__file__).parents[2] / "recipes"
KINDS = {"photos": settings.Photos, "tokenizer": settings.Tokens, "views": settings.Pack, "first_convolutions": settings.FirstConvolutions, "tell": settings.Tell,
         "language": settings.Language, "text": settings.Text, "encoder": settings.Encoder, "see": settings.See, "caption": settings.Caption, "joint": settings.Joint,
         "self_critical": settings.SelfCritical, "mix": settings.Mix, "recall": settings.Recall, "bag_of_words": settings.BagOfWords, "export": settings.Export,
         "evaluate": settings.Evaluate}


@dataclass(frozen=True)
class Recipe:
    name: str
    about: str
    config: dict
    stages: dict[str, tuple[str, settings.Stage]]  # by name, in their order: kind and settings


def merged(base: dict, changes: dict) -> dict:
    """The base with these changes; a section of it that is False in them is left out."""
    def change(key, value):
        return merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    without = {key for key, value in changes.items() if value is False and isinstance(base.get(key), dict)}
    return {key: value for key, value in {**base, **{key: change(key, value) for key, value in changes.items()}}.items() if key not in without}


def fits(value, hint) -> bool:
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if typing.get_origin(hint) is types.UnionType:
        return any(fits(value, each) for each in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    if typing.get_origin(hint) is dict:
        return isinstance(value, dict) and all(fits(item, typing.get_args(hint)[1]) for item in value.values())
    return isinstance(value, hint) and (hint is not int or not isinstance(value, bool))


def stage_of(kind: str, table: dict, where: str) -> settings.Stage:
    if kind not in KINDS:
        raise SystemExit(f"{where}: no kind of stage is called {kind!r}; there are {', '.join(KINDS)}")
    hints = typing.get_type_hints(KINDS[kind])
    for key, value in table.items():
        if key not in hints:
            raise SystemExit(f"{where}: a stage {kind!r} has no setting {key!r}; it has {', '.join(hints)}")
        if not fits(value, hints[key]):
            raise SystemExit(f"{where}: {key} = {value!r} is no {getattr(hints[key], '__name__', hints[key])}")
    return KINDS[kind](**{"name": kind, **{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}})


def assigned(text: str) -> tuple[str, str, object]:
    """STAGE.SETTING=VALUE, the value as in TOML or a bare word"""
    place, sign, value = text.partition("=")
    stage, dot, key = place.rpartition(".")
    if not sign or not dot:
        raise SystemExit(f"--set {text}: STAGE.SETTING=VALUE is wanted")
    try:
        return stage, key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return stage, key, value


def load(name: str, changes: Sequence[str] = ()) -> Recipe:
    """A file, or one of FOLDER by its name, with `changes` as of --set."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.exists():
        raise SystemExit(f"{path}: no such recipe; there are {', '.join(sorted(p.stem for p in FOLDER.glob('*.toml')))}, or name a .toml file")
    try:
        document = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise SystemExit(f"{path}: {error}") from None
    tables = {table["name"]: table for table in earlier.stages(document.get("stage", []))}
    if len(tables) < len(document.get("stage", [])):
        raise SystemExit(f"{path}: two stages have one name")
    for stage, key, value in map(assigned, changes):
        if stage not in tables:
            raise SystemExit(f"--set {stage}.{key}: {path} has no stage {stage!r}; it has {', '.join(tables)}")
        tables[stage][key] = value
    stages = {}
    for stage, table in tables.items():
        kind = str(table.pop("do", None))
        stages[stage] = kind, stage_of(kind, table, f"{path}, stage {stage!r}")
    config = merged(load_config(DEFAULT_CONFIG), earlier.config(document.get("config", {})))
    return Recipe(path.stem, document.get("about", ""), config, stages)


class Done:
    """Which stages of a folder are done, and by which settings: WORK/done/NAME.json"""

    def __init__(self, work: Path):
        self.folder = work / "done"

    @staticmethod
    def record(kind: str, stage: settings.Stage) -> dict:
        return json.loads(json.dumps({"do": kind, **dataclasses.asdict(stage)}))

    def has(self, kind: str, stage: settings.Stage) -> bool:
        file = self.folder / f"{stage.name}.json"
        if not file.exists():
            return False
        # A record from before a setting existed: the setting had its default.
        now, default = self.record(kind, stage), self.record(kind, KINDS[kind](name=stage.name))
        before = {**default, **earlier.stage(json.loads(file.read_text()))}
        changed = [f"{key} = {before.get(key)!r}, now {now.get(key)!r}" for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        if changed:
            raise SystemExit(f"{file}: the stage was done by other settings: {'; '.join(changed)}. Take another --work, or delete this file and "
                             f"what the stage and those after it made")
        return True

    def add(self, kind: str, stage: settings.Stage) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{stage.name}.json").write_text(json.dumps(self.record(kind, stage), indent=1) + "\n")
