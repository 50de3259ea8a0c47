"""Brings every source of photos and text into one form, with one split (written down for users in docs/data.md).

usage: python -m bitmar.prepare --out DIR [--text FILE_OR_FOLDER...] [--split FILE | --new-split FILE] SOURCE...

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
photo twice is kept once. Which photos are validation photos is fixed by name in validation.txt; a source of which no
photo is named there brings its own split, or is for training. Where no source brings any, one in twenty is drawn by its name.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import tarfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .dataset import clean_caption
from .texts import clean_answer

SPLIT = Path(__file__).with_name("validation.txt")
# A person's own words in another form are human: rephrased for a dialogue, translated, refined.
KINDS = {"human": "human", "visdial": "human", "translated": "human", "human-refined:MSCOCO-FG": "human",
         "model:VinVL-base": "web", "web-or-model": "web",
         "cocoqa": "rebuilt", "vsr": "rebuilt", "valse:plurals": "rebuilt", "daquar": "rebuilt", "objects": "rebuilt"}
PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
SPLITS = ("train", "val", "test")
FEWEST_OF_A_KIND = 8  # photos, for its figures to be told
DRAWN = 0.05  # of the photos, where no source has a split and none is listed

SIDE = 16  # pixels of the thumbnails by which photos are compared
ALIKE, SAME = 0.92, 0.985  # cosine of two thumbnails: of one place or person; of one photo

# Ethnic origin (of people: food and animals have theirs), and what somebody feels, is not the model's to say. Age is kept where it is a plain word for a person
# ("a little girl"), not where it is a number.
THINGS = (r"(?:food|restaurant|cuisine|dish|meal|salad|noodle|elephant|buffalo|ocean|sea|city|cities|country|countries|market|street|town|village|union|commission|parliament|republic|"
          r"style|writing|character|letter|language|flag|lantern|rug|vase|tea|beetle|plane|car|train|motorcycle|bus|plug|savanna|wild|landscape|architecture|temple|garden)")
ORIGIN = re.compile(r"\b(?:african[- ]american|(?:asian|african|chinese|japanese|korean|indian|mexican|european)(?![- ](?:\w+ )?" + THINGS + r")|caucasian|hispanic|latino|latina|arab|oriental|"
                    r"middle[- ]eastern|dark[- ]skinned|light[- ]skinned|ethnic|white (?=man|woman|men|women|boy|girl|people|person|male|female)|"
                    r"black (?=man|woman|men|women|boy|girl|people|person|male|female))\s*")
MOOD = re.compile(r"\b(happy|sad|angry|unhappy|depressed|disgusted|fearful|happily|sadly|angrily|cheerful)\s+")
AGE = re.compile(r"\b(elderly|middle[- ]aged|teenaged|(?:\d+|two|three|four|five|six|ten|twenty|thirty|forty|fifty|sixty)[- ]years?[- ]olds?)\s*")

# "an hour", "an suv", "an mp3 player", "an x-ray"
SPOKEN_WITH_A_VOWEL = r"hour|honest|heir|herb|suv\b|nba\b|[fhlmnrsx][^aeiouy\s]*\b"


def without_persons_traits(text: str) -> str:
    """A caption without words for origin, age in years and mood: "an asian man" -> "a man". Its articles are put right."""
    text = " ".join(text.split())
    for pattern in (ORIGIN, MOOD, AGE):
        text = pattern.sub("", text)
    text = re.sub(rf"\ban (?=[bcdfghjklmnpqrstvwxyz])(?!{SPOKEN_WITH_A_VOWEL})", "a ", text)
    text = re.sub(r"\ba (?=[aeio])(?!one|once|eu)", "an ", text)
    return " ".join(text.split())


def normal(text: str) -> str:
    """What two captions have in common that differ in case, signs and spaces alone."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum())


def spoken_forms(text: str) -> set[str]:
    """normal() of a caption as it was written and as the model is taught it"""
    return {normal(text), normal(without_persons_traits(clean_caption(text)))} - {""}


def share(name: str) -> float:
    """Of 0 to 1, from a name alone."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32


# --- sources ----------------------------------------------------------------------------------------------------------------

def read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SystemExit(f"{path}: not JSON ({error})") from None


def json_lines(path: Path):
    """(where, object) of each line that is not empty"""
    # Not splitlines(): a text may hold other signs that end lines.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise SystemExit(f"{path}:{number}: not JSON ({error})") from None
            if not isinstance(row, dict):
                raise SystemExit(f"{path}:{number}: not an object")
            yield f"{path}:{number}", row


def files_of(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Photos by name: file, offset, bytes."""
    archive = folder / "images.tar"
    if archive.exists():
        try:
            with tarfile.open(archive, "r:") as tar:
                return {m.name.removeprefix("./"): (str(archive), m.offset_data, m.size) for m in tar if m.isfile()}
        except tarfile.TarError as error:
            raise SystemExit(f"{archive}: not an uncompressed tar archive ({error})") from None
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES)
    return {str(p.relative_to(folder)): (str(p), 0, p.stat().st_size) for p in found}


def place(row: dict, files: dict, name: str, folder: Path) -> dict:
    if name not in files:
        raise SystemExit(f"{folder}: no photo {name}")
    row["file"], row["offset"], row["bytes"] = files[name]
    return row


def texts_of(row: dict, key: str, where: str) -> list[str]:
    texts = row.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise SystemExit(f"{where}: `{key}` is a list of texts")
    return texts


def own_row(r: dict, where: str) -> dict:
    """A row of photos.jsonl, checked"""
    if not isinstance(r.get("image"), str):
        raise SystemExit(f"{where}: a row has the name of its photo as `image`")
    captions, labels = texts_of(r, "captions", where), texts_of(r, "labels", where)
    kinds = [KINDS.get(k, k) for k in texts_of(r, "kind", where)] if "kind" in r else ["human"] * len(captions)
    if len(kinds) != len(captions) or set(kinds) - {"human", "web", "rebuilt", "found"}:
        raise SystemExit(f"{where}: `kind` names each caption human, web, rebuilt or found")
    questions = r.get("questions", [])
    if not isinstance(questions, list) or not all(isinstance(q, list) and len(q) in (2, 3) and all(isinstance(t, str) for t in q) for q in questions):
        raise SystemExit(f"{where}: `questions` is a list of [question, answer] or [question, answer, type]")
    if r.get("split", "train") not in SPLITS:
        raise SystemExit(f"{where}: `split` is train, val or test")
    extra = {key: r[key] for key in ("coco_id", "group", "fine", "scene", "scene_guess", "what", "high_level", "split") if key in r}
    return {"image": r["image"], "captions": [[t, k] for t, k in zip(captions, kinds)], "labels": [label for label in dict.fromkeys(labels) if label.strip()],
            "questions": [q if len(q) == 3 else [*q, "daquar"] for q in questions], **extra}


def own_rows(folder: Path):
    """photos.jsonl beside the photos"""
    files = files_of(folder)
    for where, r in json_lines(folder / "photos.jsonl"):
        row = own_row(r, where)
        yield place(row, files, row["image"], folder)


def flickr8k_rows(folder: Path):
    files, path = files_of(folder), folder / "captions.json"
    document = read_json(path)
    if not isinstance(document, dict) or set(document) - set(SPLITS):
        raise SystemExit(f"{path}: an object with rows of train, val and test")
    for split, rows in document.items():
        for i, r in enumerate(rows):
            where = f"{path}: row {i} of {split}"
            if not isinstance(r, dict):
                raise SystemExit(f"{where}: not an object")
            row = own_row({key: r[key] for key in ("image", "captions") if key in r} | {"split": split}, where)
            yield place(row, files, row["image"], folder)


def most_common_answer(annotation: dict) -> str:
    """Of VQA; OK-VQA's annotations hold the answers alone."""
    if "multiple_choice_answer" in annotation:
        return annotation["multiple_choice_answer"]
    return Counter(a["answer"] for a in annotation["answers"]).most_common(1)[0][0]


@contextlib.contextmanager
def of_coco(path: Path):
    """A file of COCO's or VQA's"""
    document = read_json(path)
    try:
        yield document
    except (KeyError, TypeError, IndexError) as error:
        raise SystemExit(f"{path}: not COCO's form ({error!r})") from None


def coco_rows(folder: Path):
    """annotations/captions_SPLIT.json, and VQA's questions and annotations, of photos that are there."""
    files = {Path(name).name: entry for name, entry in files_of(folder).items()}
    rows: dict[int, dict] = {}
    for path in sorted((folder / "annotations").glob("captions_*.json")):
        split, absent = next((s for s in ("val", "test") if s in path.stem), "train"), 0
        with of_coco(path) as document:
            for image in document["images"]:
                if image["file_name"] not in files:
                    absent += 1
                    continue
                if rows.get(image["id"], {}).get("split", split) != split:
                    raise SystemExit(f"{path}: photo {image['id']} is of another split in another file; leave the captions of one year")
                row = {"image": image["file_name"], "coco_id": image["id"], "captions": [], "labels": [], "questions": [], "split": split}
                rows.setdefault(image["id"], place(row, files, image["file_name"], folder))
            for annotation in document["annotations"]:
                if annotation["image_id"] in rows:
                    rows[annotation["image_id"]]["captions"].append([annotation["caption"], "human"])
        if absent:
            print(f"{path}: {absent} of {len(document['images'])} photos are not there", flush=True)
    if not rows:
        raise SystemExit(f"{folder}: none of the photos that its captions name")
    answers = {}
    for path in sorted((folder / "annotations").glob("*annotations*.json")):
        with of_coco(path) as document:
            answers |= {a["question_id"]: a for a in document["annotations"]}
    for path in sorted((folder / "annotations").glob("*uestions*.json")):
        with of_coco(path) as document:
            for q in document["questions"]:
                if q["question_id"] in answers and q["image_id"] in rows:
                    a = answers[q["question_id"]]
                    rows[q["image_id"]]["questions"].append([q["question"], most_common_answer(a), f"vqa:{a.get('answer_type', '')}"])
    yield from rows.values()


def sources(folder: Path):
    """(set, rows) of a folder or of the folders in it"""
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no such folder")
    if (folder / "photos.jsonl").exists():
        yield folder.name, own_rows(folder)
    elif (folder / "captions.json").exists():
        yield folder.name, flickr8k_rows(folder)
    elif list((folder / "annotations").glob("captions_*.json")):
        yield folder.name, coco_rows(folder)
    else:
        inner = [f for f in sorted(folder.iterdir()) if f.is_dir()]
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


def thumbnail(row: dict) -> np.ndarray:
    try:
        image = Image.open(io.BytesIO(open_at(row)))
        image.draft("RGB", (4 * SIDE, 4 * SIDE))
        pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.BOX), np.float32).ravel()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SystemExit(f"{row['file']}: {row['image']} is no picture that can be read ({error})") from None
    pixels -= pixels.mean()
    return pixels / max(1e-6, float(np.linalg.norm(pixels)))


def pairs_alike(a: np.ndarray, b: np.ndarray, limit: float):
    """Rows (i, j) of thumbnails whose cosine is above the limit."""
    for start in range(0, len(a), 1024):  # all of COCO: half a gigabyte at once
        i, j = np.nonzero(a[start:start + 1024] @ b.T > limit)
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
    own = row.get("group") or row.get("fine")
    if row["set"] == "house_rooms":
        return re.sub(r"\D.*", "", row["image"]) or own
    if row["set"] == "rooms":  # frames of a film, numbered: neighbours are often of one room
        number = re.sub(r"\D", "", row["image"])
        return str(int(number) // 12) if number else own
    if row["set"] == "kitchen_hands":
        return row.get("scene")
    return own


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

def most_of_a_kind(rows: list[dict], groups: Groups) -> set[int]:
    """Groups that hold more than half of the photos of a kind (first label) that has FEWEST_OF_A_KIND or more"""
    of_kind, in_group = Counter(), Counter()
    for i, row in enumerate(rows):
        of_kind.update(row["labels"][:1])
        in_group.update((groups.root(i), label) for label in row["labels"][:1])
    return {group for (group, label), count in in_group.items() if of_kind[label] >= FEWEST_OF_A_KIND and 2 * count > of_kind[label]}


def new_split(rows: list[dict], groups: Groups) -> set[str]:
    """Names of validation photos, by hash of the group they are in: 200 of COCO's photos with five human captions and 6 % of its other
    photos with questions, 3 % of captioned web photos, 12 % of what is labelled. Flickr8k's are its own. A group with most of the photos
    of a kind is for training: that kind could not be learned otherwise."""
    chosen, only = set(), most_of_a_kind(rows, groups)
    five = [r for r in rows if r["set"] == "coco" and sum(k == "human" for _, k in r["captions"]) >= 5]
    tested = {r["id"] for r in sorted(five, key=lambda r: share(f"coco {r.get('coco_id', r['image'])}"))[:200]}
    for i, row in enumerate(rows):
        draw = share(rows[groups.root(i)]["id"])
        if row["set"] == "coco":
            take = row["id"] in tested or (row not in five and row["questions"] and share(f"coco {row.get('coco_id', row['image'])}") < 0.06)
        elif row["set"] == "flickr8k":
            take = False
        else:
            take = groups.root(i) not in only and draw < (0.03 if row["set"] == "web_captioned" else 0.12)
        if take:
            chosen.add(row["id"])
    return chosen


def drawn_split(rows: list[dict], groups: Groups) -> set[str]:
    """Names of one in twenty photos, whole groups by hash of the first name in them, at least one group"""
    draws = sorted((share(rows[root]["id"]), root) for root in {groups.root(i) for i in range(len(rows))})
    few = {root for draw, root in draws if draw < DRAWN} or {draws[0][1]}
    return {row["id"] for i, row in enumerate(rows) if groups.root(i) in few}


def split_rows(rows: list[dict], thumbnails: np.ndarray, groups: Groups, listed: set[str]) -> tuple[list[dict], list[dict]]:
    """Rows kept, validation last, each with its `split` and `near`; and other copies of photos held out, which are left out but whose
    texts are those photos' texts. `listed`: names of validation photos."""
    known = {row["set"] for row in rows if row["id"] in listed}
    for i, row in enumerate(rows):
        row["near"] = groups.root(i)
        own = row.pop("split", "train")
        row["split"] = ("val" if row["id"] in listed else "train") if row["set"] in known else own
    if all(row["split"] == "train" for row in rows):
        chosen = drawn_split(rows, groups)
        print(f"no validation photo is named: {len(chosen)} are drawn", flush=True)
        for row in rows:
            row["split"] = "val" if row["id"] in chosen else "train"

    def held_out(i: int) -> bool:
        return rows[i]["split"] in ("val", "test")

    # The same photo twice: what is held out stays, else the one with more texts.
    worth = lambda i: (held_out(i), len(rows[i]["captions"]) + len(rows[i]["questions"]), -i)
    dropped, copies, by_coco = Counter(), [], defaultdict(list)
    for i, row in enumerate(rows):
        if "coco_id" in row:
            by_coco[str(row["coco_id"])].append(i)
    same = [(i, j) for i, j in pairs_alike(thumbnails, thumbnails, SAME) if i < j]
    for i, j in same + [(ids[0], j) for ids in by_coco.values() for j in ids[1:]]:
        if not any(rows[k]["split"] == "drop" for k in (i, j)):
            better, worse = sorted((i, j), key=worth, reverse=True)
            if rows[worse]["split"] == "train":
                if held_out(better):
                    copies.append(rows[worse])
                rows[worse]["split"] = "drop"
                dropped[rows[worse]["set"]] += 1
    # One side for each group.
    sides = defaultdict(set)
    for row in rows:
        sides[row["near"]].add(row["split"])
    for row in rows:
        if row["split"] == "train" and sides[row["near"]] & {"val", "test"}:
            row["split"] = "drop"
            dropped[row["set"]] += 1
    print(f"left out, the same as or beside a validation photo, or twice: {dict(dropped)}", flush=True)
    copies += [row for row in rows if row["split"] == "test"]
    kept = [row for split in ("train", "val") for row in rows if row["split"] == split]
    if not kept or kept[0]["split"] != "train":
        raise SystemExit("no photo is left to train on")
    return kept, copies


class Secret:
    """What is said and asked of photos held out, and is learned nowhere."""

    def __init__(self, rows: list[dict]):
        self.said = {form for row in rows for text, _ in row["captions"] for form in spoken_forms(text)}
        self.asked = {self.pair(q[0], q[1]) for row in rows for q in row["questions"]}
        self.photos = {str(row["coco_id"]) for row in rows if "coco_id" in row}

    @staticmethod
    def pair(question: str, answer: str) -> tuple[str, str]:
        return normal(question), normal(clean_answer(answer))

    def has(self, text: str) -> bool:
        return not self.said.isdisjoint(spoken_forms(text))

    def has_question(self, q: dict) -> bool:
        return str(q.get("coco_id")) in self.photos or self.pair(q["question"], q["answer"]) in self.asked


def text_lines(files: list[Path], secret: Secret) -> list[str]:
    """Caption lines as they are learned, each once"""
    lines: dict[str, None] = {}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            if 3 <= len(line.split()) <= 30 and not secret.has(line):
                lines[without_persons_traits(clean_caption(line))] = None
    return list(lines)


def text_questions(files: list[Path], secret: Secret):
    for file in files:
        for where, q in json_lines(file):
            if not all(isinstance(q.get(key), str) for key in ("question", "answer")):
                raise SystemExit(f"{where}: a question has `question` and `answer`")
            if not secret.has_question(q):
                yield {"question": q["question"], "answer": q["answer"], "type": q.get("type", "")}


def add_found(rows: list[dict], lines: list[str]) -> int:
    """Adds to photos that nobody described the captions that COCO-QA's kinds of question find; to how many."""
    finder, count = Finder(lines), 0
    for row in rows:
        if not any(kind == "human" for _, kind in row["captions"]):
            found = {finder(q, a) for q, a, kind in row["questions"] if kind in ("object", "number", "color", "location")} - {None}
            row["captions"] += [[line, "found"] for line in sorted(found)]
            count += bool(found)
    return count


def prepare(folders: list[Path], out: Path, text: Sequence[Path] = (), split: Path = SPLIT, new_list: Path | None = None) -> None:
    """Fills the folder `out`. The validation photos are those of the list `split`; with new_list they are drawn and written there."""
    for path in text:
        if not path.exists():
            raise SystemExit(f"{path}: no such file or folder")
    rows = [{"id": f"{name}/{row['image']}", "set": name, **row} for folder in folders for name, found in sources(folder) for row in found]
    twice = [name for name, count in Counter(r["id"] for r in rows).items() if count > 1]
    if twice:
        raise SystemExit(f"two photos have one name, {twice[0]}: name source folders differently")
    if not rows:
        raise SystemExit("no photos")
    print(f"{len(rows)} photos", flush=True)
    thumbnails = np.stack([thumbnail(r) for r in rows])
    groups = near_alike(rows, thumbnails)
    if new_list:
        new_list.write_text("".join(name + "\n" for name in sorted(new_split(rows, groups))))
    listed = set((new_list or split).read_text().split("\n")) - {""}
    rows, copies = split_rows(rows, thumbnails, groups, listed)
    train = [r for r in rows if r["split"] == "train"]

    # What is said of validation photos is said nowhere else.
    secret = Secret([r for r in rows if r["split"] == "val"] + copies)
    for row in train:
        cleaned = [[without_persons_traits(clean_caption(t)), k] for t, k in row["captions"] if not secret.has(t)]
        row["captions"] = [[t, k] for t, k in cleaned if t]
    files = [f for p in text for f in (sorted(p.iterdir()) if p.is_dir() else [p])]
    lines = text_lines([f for f in files if f.suffix == ".txt"], secret)
    print(f"captions found for {add_found(train, lines)} photos", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "photos.jsonl").open("w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
    (out / "text.txt").write_text("".join(line + "\n" for line in lines))
    questions = 0
    with (out / "questions.jsonl").open("w") as file:
        for q in text_questions([f for f in files if f.suffix == ".jsonl"], secret):
            file.write(json.dumps(q) + "\n")
            questions += 1
    table = defaultdict(Counter)
    for row in rows:
        table[row["set"]].update({row["split"]: 1, "captions": len(row["captions"]), "questions": len(row["questions"])})
    for name, count in table.items():
        print(f"{name:18} {count['train']:6} train {count['val']:5} validation {count['captions']:6} captions {count['questions']:6} questions")
    print(f"{len(lines)} lines and {questions} questions without photos", flush=True)



def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="caption lines (*.txt) and questions (*.jsonl) without photos, or folders of them")
    parser.add_argument("--split", type=Path, default=SPLIT, help="a list of the names of validation photos, SET/NAME a line")
    parser.add_argument("--new-split", type=Path, help="write the names of validation photos here, instead of reading a list")
    args = parser.parse_args()
    prepare(args.sources, args.out, args.text, args.split, args.new_split)


if __name__ == "__main__":
    main()
