"""Brings every source of photos and text into one form, with one split.

usage: python -m bitmar.prepare --out DIR [--text FILE_OR_FOLDER...] [--new-split FILE] SOURCE...

A SOURCE is a folder of one of these forms, told apart by what lies in it:
  photos.jsonl                  a row a photo: {"image": NAME, "captions": [TEXT...], "kind": [KIND...], "labels": [...],
                                "questions": [[QUESTION, ANSWER, TYPE]...], "split": "train" | "val" | "test", "group": ...},
                                all but `image` optional; the photos lie in images.tar or in the folder itself.
  captions.json, images.tar     Flickr8k: {"train": [{"image", "captions"}], "val": [...]}
  annotations/*.json            COCO's own: captions_*.json, and *questions*.json beside *annotations*.json of VQA where they
                                are there; photos in folders beside `annotations`, or in annotations' parent.
A folder of such folders stands for all of them.

DIR receives
  photos.jsonl     a row a photo, validation last: {"id": "SET/NAME", "set", "split", "file", "offset", "bytes",
                   "captions": [[TEXT, KIND]...], "labels", "questions", "near"}. The photo is `bytes` bytes at `offset` of
                   `file`; KIND is human, web, rebuilt or found; photos of equal `near` look alike.
  text.txt         caption lines without photos, each once
  questions.jsonl  {"question", "answer", "type"} without photos

No text of a validation photo is in the text files or among the captions of other photos: captions of a photo that is in two
data sets would otherwise be learned from one and tested in the other. Near-alike photos are on one side of the split; the same
photo twice is kept once. Which photos are validation photos is fixed by name in models/data/validation.txt; a source that
is not in it brings its own split, or is for training.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from .data import clean_caption

SPLIT = Path(__file__).parents[1] / "data" / "validation.txt"
# A person's own words in another form are human: rephrased for a dialogue, translated, refined.
KINDS = {"human": "human", "visdial": "human", "translated": "human", "human-refined:MSCOCO-FG": "human",
         "model:VinVL-base": "web", "web-or-model": "web",
         "cocoqa": "rebuilt", "vsr": "rebuilt", "valse:plurals": "rebuilt", "daquar": "rebuilt", "objects": "rebuilt"}
PICTURES = {".jpg", ".jpeg", ".png", ".webp"}

SIDE = 16  # pixels of the thumbnails by which photos are compared
ALIKE, SAME = 0.92, 0.985  # cosine of two thumbnails: of one place or person; of one photo

# Ethnic origin, and what somebody feels, is not the model's to say. Age is kept where it is a plain word for a person
# ("a little girl"), not where it is a number.
ORIGIN = re.compile(r"\b(asian|caucasian|african[- ]american|african|hispanic|latino|latina|arab|oriental|chinese|japanese|korean|indian|"
                    r"mexican|european|middle[- ]eastern|dark[- ]skinned|light[- ]skinned|ethnic|white (?=man|woman|men|women|boy|girl|people|person|male|female)|"
                    r"black (?=man|woman|men|women|boy|girl|people|person|male|female))\s*")
MOOD = re.compile(r"\b(happy|sad|angry|unhappy|depressed|disgusted|fearful|happily|sadly|angrily|cheerful)\s+")
AGE = re.compile(r"\b(elderly|middle[- ]aged|teenaged|(?:\d+|two|three|four|five|six|ten|twenty|thirty|forty|fifty|sixty)[- ]years?[- ]olds?)\s*")


def without_persons_traits(text: str) -> str:
    """A caption without words for origin, age in years and mood: "an asian man" -> "a man"."""
    for pattern in (ORIGIN, MOOD, AGE):
        text = pattern.sub("", text)
    text = re.sub(r"\ban (?=[bcdfghjklmnpqrstvwxyz])(?!hour|honest)", "a ", text)
    text = re.sub(r"\ba (?=[aeio])(?!one|once)", "an ", text)
    return " ".join(text.split())


def normal(text: str) -> str:
    """What two captions have in common that differ in case, signs and spaces alone."""
    return "".join(c for c in text.lower() if c.isalnum())


def share(name: str) -> float:
    """Of 0 to 1, from a name alone."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32


# --- sources ----------------------------------------------------------------------------------------------------------------

def files_of(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Photos by name: file, offset, bytes."""
    archive = folder / "images.tar"
    if archive.exists():
        with tarfile.open(archive) as tar:
            return {m.name.removeprefix("./"): (str(archive), m.offset_data, m.size) for m in tar if m.isfile()}
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES)
    return {str(p.relative_to(folder)): (str(p), 0, p.stat().st_size) for p in found}


def place(row: dict, files: dict, name: str, folder: Path) -> dict:
    if name not in files:
        raise SystemExit(f"{folder}: no photo {name}")
    row["file"], row["offset"], row["bytes"] = files[name]
    return row


def own_rows(folder: Path):
    """photos.jsonl beside the photos"""
    files = files_of(folder)
    for number, line in enumerate((folder / "photos.jsonl").read_text().splitlines(), 1):
        try:
            r = json.loads(line)
            name = r["image"]
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(f"{folder / 'photos.jsonl'}:{number}: {error!r}; a row is an object with `image`") from None
        captions = r.get("captions", [])
        kinds = [KINDS.get(k, k) for k in r.get("kind", ["human"] * len(captions))]
        if len(kinds) != len(captions) or set(kinds) - {"human", "web", "rebuilt", "found"}:
            raise SystemExit(f"{folder / 'photos.jsonl'}:{number}: `kind` names each caption human, web, rebuilt or found")
        extra = {key: r[key] for key in ("coco_id", "group", "fine", "scene", "scene_guess", "what", "high_level", "split") if key in r}
        yield place({"image": name, "captions": [[t, k] for t, k in zip(captions, kinds)], "labels": list(dict.fromkeys(r.get("labels", []))),
                     "questions": [q if len(q) == 3 else [*q, "daquar"] for q in r.get("questions", [])], **extra}, files, name, folder)


def flickr8k_rows(folder: Path):
    files = files_of(folder)
    for split, rows in json.loads((folder / "captions.json").read_text()).items():
        for r in rows:
            yield place({"image": r["image"], "captions": [[c, "human"] for c in r["captions"]], "labels": [], "questions": [],
                         "split": split}, files, r["image"], folder)


def coco_rows(folder: Path):
    """annotations/captions_SPLIT.json, and VQA's questions and annotations, of photos that are there."""
    files = {Path(name).name: entry for name, entry in files_of(folder).items()}
    rows: dict[int, dict] = {}
    for path in sorted((folder / "annotations").glob("captions_*.json")):
        document = json.loads(path.read_text())
        split = "val" if "val" in path.stem else "train"
        for image in document["images"]:
            rows[image["id"]] = place({"image": image["file_name"], "coco_id": image["id"], "captions": [], "labels": [], "questions": [],
                                       "split": split}, files, image["file_name"], folder)
        for annotation in document["annotations"]:
            rows[annotation["image_id"]]["captions"].append([annotation["caption"], "human"])
    answers = {a["question_id"]: a for path in (folder / "annotations").glob("*annotations*.json")
               for a in json.loads(path.read_text())["annotations"]}
    for path in sorted((folder / "annotations").glob("*uestions*.json")):
        for q in json.loads(path.read_text())["questions"]:
            if q["question_id"] in answers and q["image_id"] in rows:
                a = answers[q["question_id"]]
                rows[q["image_id"]]["questions"].append([q["question"], a["multiple_choice_answer"], f"vqa:{a['answer_type']}"])
    yield from rows.values()


def sources(folder: Path):
    """(set, rows) of a folder or of the folders in it"""
    if (folder / "photos.jsonl").exists():
        yield folder.name, own_rows(folder)
    elif (folder / "captions.json").exists():
        yield folder.name, flickr8k_rows(folder)
    elif list((folder / "annotations").glob("captions_*.json")):
        yield folder.name, coco_rows(folder)
    else:
        inner = [f for f in sorted(folder.iterdir()) if f.is_dir()] if folder.is_dir() else []
        if not inner:
            raise SystemExit(f"{folder}: neither photos.jsonl, nor captions.json, nor annotations/captions_*.json")
        for f in inner:
            yield from sources(f)


# --- captions found for photos that have none ----------------------------------------------------------------------------------

STOP_WORDS = set("a an the is are was were be been being of in on at to and or with for from by as it its this that these those what who whom which where "
                 "when how many much color colour does do did there their his her into onto up down over under out off some while next".split())
FEWEST_SHARED = 4  # content words of question and answer together


def content_words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower())) - STOP_WORDS


class Finder:
    """Human lines by their words. COCO-QA's questions were made from their photos' own captions, so that a line with all content words of
    a question and its answer is nearly always such a caption, or fits as well as one."""

    def __init__(self, lines: list[str]):
        self.lines, self.having = lines, defaultdict(set)
        for i, line in enumerate(lines):
            for word in content_words(line):
                self.having[word].add(i)

    def __call__(self, question: str, answer: str) -> str | None:
        words = content_words(f"{question} {answer}")
        if len(words) < FEWEST_SHARED:
            return None
        rarest, *others = sorted((self.having.get(w, set()) for w in words), key=len)
        found = rarest.intersection(*others)
        return min((self.lines[i] for i in found), key=lambda line: (len(line), line), default=None)


# --- photos that look alike ---------------------------------------------------------------------------------------------------

def open_at(row: dict) -> bytes:
    with open(row["file"], "rb") as file:
        file.seek(row["offset"])
        return file.read(row["bytes"])


def thumbnail(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (4 * SIDE, 4 * SIDE))
    pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.BOX), np.float32).ravel()
    pixels -= pixels.mean()
    return pixels / max(1e-6, float(np.linalg.norm(pixels)))


def pairs_alike(a: np.ndarray, b: np.ndarray, limit: float):
    """Rows (i, j) of thumbnails whose cosine is above the limit."""
    for start in range(0, len(a), 4096):
        i, j = np.nonzero(a[start:start + 4096] @ b.T > limit)
        yield from zip((i + start).tolist(), j.tolist())


class Groups:
    """Disjoint sets of rows"""

    def __init__(self, count: int):
        self.parent = list(range(count))

    def root(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        self.parent[self.root(j)] = self.root(i)


def place_of(row: dict) -> str | None:
    """What tells that photos of a set are of one place, person or thing."""
    if row["set"] == "house_rooms":
        return re.sub(r"\D.*", "", row["image"])
    if row["set"] == "rooms":  # frames of a film, numbered: neighbours are often of one room
        return str(int(re.sub(r"\D", "", row["image"])) // 12)
    if row["set"] == "kitchen_hands":
        return row.get("scene")
    return row.get("group") or row.get("fine")


def near_alike(rows: list[dict], thumbnails: np.ndarray) -> Groups:
    groups, sets, places = Groups(len(rows)), defaultdict(list), {}
    for i, row in enumerate(rows):
        sets[row["set"]].append(i)
        where = place_of(row)
        if where is not None:
            groups.join(places.setdefault((row["set"], where), i), i)
    for members in sets.values():
        part = thumbnails[members]
        for i, j in pairs_alike(part, part, ALIKE):
            if i < j:
                groups.join(members[i], members[j])
    return groups


# --- the split ----------------------------------------------------------------------------------------------------------------

def new_split(rows: list[dict], groups: Groups) -> set[str]:
    """Names of validation photos, by hash of the group they are in: 200 of COCO's photos with five human captions and 6 % of its other
    photos with questions, 3 % of captioned web photos, 12 % of what is labelled. Flickr8k's are its own."""
    chosen = set()
    five = [r for r in rows if r["set"] == "coco" and sum(k == "human" for _, k in r["captions"]) >= 5]
    tested = {r["id"] for r in sorted(five, key=lambda r: share(f"coco {r['coco_id']}"))[:200]}
    for i, row in enumerate(rows):
        draw = share(rows[groups.root(i)]["id"])
        if row["set"] == "coco":
            take = row["id"] in tested or (row not in five and row["questions"] and share(f"coco {row['coco_id']}") < 0.06)
        elif row["set"] == "flickr8k":
            take = False
        else:
            take = draw < (0.03 if row["set"] == "web_captioned" else 0.12)
        if take:
            chosen.add(row["id"])
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="caption lines and questions (*.jsonl) without photos, or folders of them")
    parser.add_argument("--new-split", type=Path, help="write the names of validation photos here, instead of reading the committed list")
    args = parser.parse_args()
    rows = [{"id": f"{name}/{row['image']}", "set": name, **row} for folder in args.sources for name, found in sources(folder) for row in found]
    if len({r["id"] for r in rows}) < len(rows):
        raise SystemExit("two photos have one name: name source folders differently")
    print(f"{len(rows)} photos", flush=True)
    thumbnails = np.stack([thumbnail(open_at(r)) for r in rows])
    groups = near_alike(rows, thumbnails)
    if args.new_split:
        args.new_split.write_text("".join(name + "\n" for name in sorted(new_split(rows, groups))))
    listed = set((args.new_split or SPLIT).read_text().split("\n")) - {""}
    known = {name.split("/")[0] for name in listed}
    for i, row in enumerate(rows):
        row["near"] = groups.root(i)
        own = row.pop("split", "train")
        row["split"] = ("val" if row["id"] in listed else "train") if row["set"] in known else own

    # The same photo twice: validation keeps it, else the one with more texts.
    worth = lambda i: (rows[i]["split"] == "val", len(rows[i]["captions"]) + len(rows[i]["questions"]), -i)
    dropped = Counter()
    for i, j in pairs_alike(thumbnails, thumbnails, SAME):
        if i < j and not any(rows[k]["split"] == "drop" for k in (i, j)):
            worse = min(i, j, key=worth)
            if rows[worse]["split"] == "train":
                rows[worse]["split"] = "drop"
                dropped[rows[worse]["set"]] += 1
    # One side for each group.
    sides = defaultdict(set)
    for row in rows:
        sides[row["near"]].add(row["split"])
    for row in rows:
        if row["split"] == "train" and "val" in sides[row["near"]]:
            row["split"] = "drop"
            dropped[row["set"]] += 1
    print(f"left out, the same as or beside a validation photo, or twice: {dict(dropped)}", flush=True)
    rows = [r for split in ("train", "val") for r in rows if r["split"] == split]

    # What is said of validation photos is said nowhere else.
    secret = {normal(t) for r in rows if r["split"] == "val" for t, _ in r["captions"]}
    asked = {(normal(q[0]), normal(q[1])) for r in rows if r["split"] == "val" for q in r["questions"]}
    tested = {r["coco_id"] for r in rows if r["split"] == "val" and "coco_id" in r}
    for row in rows:
        if row["split"] == "train":
            cleaned = [[without_persons_traits(clean_caption(t)), k] for t, k in row["captions"] if normal(t) not in secret]
            row["captions"] = [[t, k] for t, k in cleaned if t]
    args.out.mkdir(parents=True, exist_ok=True)
    files = [f for p in args.text for f in (sorted(p.iterdir()) if p.is_dir() else [p])]
    lines: dict[str, None] = {}
    for file in (f for f in files if f.suffix == ".txt"):
        for line in file.read_text().splitlines():
            if 3 <= len(line.split()) <= 30 and normal(line) not in secret:
                lines[without_persons_traits(clean_caption(line))] = None
    # COCO-QA's kinds of question; a photo that people described needs nothing found
    finder, found = Finder(list(lines)), 0
    for row in (r for r in rows if r["split"] == "train" and not any(k == "human" for _, k in r["captions"])):
        lines_of = {finder(q, a) for q, a, kind in row["questions"] if kind in ("object", "number", "color", "location")} - {None}
        row["captions"] += [[line, "found"] for line in sorted(lines_of)]
        found += bool(lines_of)
    print(f"captions found for {found} photos", flush=True)
    with (args.out / "photos.jsonl").open("w") as out:
        for row in rows:
            out.write(json.dumps(row) + "\n")
    (args.out / "text.txt").write_text("".join(line + "\n" for line in lines))
    questions = 0
    with (args.out / "questions.jsonl").open("w") as out:
        for file in (f for f in files if f.suffix == ".jsonl"):
            for q in map(json.loads, file.read_text().splitlines()):
                if q.get("coco_id") not in tested and (normal(q["question"]), normal(q["answer"])) not in asked:
                    out.write(json.dumps({"question": q["question"], "answer": q["answer"], "type": q["type"]}) + "\n")
                    questions += 1
    table = defaultdict(Counter)
    for row in rows:
        table[row["set"]].update({row["split"]: 1, "captions": len(row["captions"]), "questions": len(row["questions"])})
    for name, count in table.items():
        print(f"{name:18} {count['train']:6} train {count['val']:5} validation {count['captions']:6} captions {count['questions']:6} questions")
    print(f"{len(lines)} lines and {questions} questions without photos", flush=True)


if __name__ == "__main__":
    main()
