"""Answers to questions about photos, by the engine from pixels, scored.

usage: python -m bitmar.answers --model DIR --engine PATH/TO/bitmar (--data DATA | --questions FILE [--photos FOLDER_OR_TAR])
           [--types NAME...] [--beams N] [--limit N] [--out answers.jsonl]

DATA is what bitmar.prepare made: its validation photos' questions are asked. FILE has one question per line instead: {"image": path,
"question": text, "answer": text, "type": name}, with paths relative to --photos or to the folder of FILE. An empty answer means
that the model should decline. --types: questions of these types alone (object number color location are COCO-QA's).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from ..data.dataset import load_rows
from ..data.prepare import open_at
from ..data.texts import normalised, same_answer
from ..data.views import open_photo, read_photos

READ_BY_ENGINE = {".png", ".jpg", ".jpeg"}  # other formats are decoded here
BINS = 10


def engine_answers(command: list[str], directory: Path, asked: list[tuple[Path, str]], beams: int) -> list[dict]:
    """One JSON line a question from `bitmar ask --list FILE --jsonl` (native, or the node build's CLI)."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lines:
        lines.writelines(f"{path}\t{' '.join(question.split())}\n" for path, question in asked)
        lines.flush()
        done = subprocess.run([*command, "ask", "--model", str(directory), "--beams", str(beams), "--jsonl", "--list", lines.name],
                              check=True, capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(asked):
        raise ValueError(f"{len(asked)} questions, {len(answers)} answers")
    return answers


def photo_files(names: list[str], photos: Path, folder: Path) -> dict[str, Path]:
    """A file that the engine reads for every name; of other formats a PNG in `folder`."""
    archive = {} if photos.is_dir() else read_photos(photos)
    files = {}
    for i, name in enumerate(dict.fromkeys(names)):
        if not archive and Path(name).suffix.lower() in READ_BY_ENGINE:
            files[name] = photos.absolute() / name
            continue
        files[name] = folder / f"{i:05d}.png"
        open_photo(archive[name] if archive else (photos / name).read_bytes()).save(files[name], compress_level=1)
    return files


def questions_of(data: Path) -> tuple[list[dict], dict[str, dict]]:
    """Of validation photos, and those photos' rows by name."""
    photos = {row["id"]: row for row in load_rows(data, "val")}
    return [{"image": name, "question": question, "answer": answer, "type": kind}
            for name, row in photos.items() for question, answer, kind in row["questions"]], photos


def by_type(rows: list[dict], answers: list[dict]) -> dict[str, dict]:
    """Of each type, and of all as "all": questions, share right, share declined, and the floor, which is the share of the type's
    most frequent answer; that of all gives each type its own."""
    table = {}
    for kind in sorted({row["type"] for row in rows}):
        own = [(row, answer) for row, answer in zip(rows, answers) if row["type"] == kind]
        (most, count), = Counter(normalised(row["answer"]) for row, _ in own).most_common(1)
        table[kind] = {"questions": len(own), "right": sum(same_answer(a["answer"], row["answer"]) for row, a in own) / len(own),
                       "declined": sum(a["declined"] for _, a in own) / len(own), "floor": count / len(own), "majority": most}
    table["all"] = {"questions": len(rows), "majority": ""}
    for share in ("right", "declined", "floor"):
        table["all"][share] = sum(row[share] * row["questions"] for kind, row in table.items() if kind != "all") / len(rows)
    return table


def reliability(confidence: list[float], correct: list[bool]) -> tuple[float, list[tuple[int, float, float]]]:
    """Expected calibration error (arXiv 1706.04599), and of each bin with answers: how many, mean confidence, share right."""
    sure, true = np.array(confidence), np.array(correct, float)
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins = [(int(own.sum()), float(sure[own].mean()), float(true[own].mean())) for own in (place == i for i in range(BINS)) if own.any()]
    return sum(n * abs(mean - share) for n, mean, share in bins) / len(sure), bins


def report(rows: list[dict], answers: list[dict]) -> str:
    lines = ["| type | questions | right | majority answer | declined |", "|---|---|---|---|---|"]
    for kind, row in by_type(rows, answers).items():
        most = f" ({row['majority'] or 'none'})" if kind != "all" else ""
        lines.append(f"| {kind} | {row['questions']} | {row['right']:.1%} | {row['floor']:.1%}{most} | {row['declined']:.1%} |")
    error, bins = reliability([a["confidence"] for a in answers], [same_answer(a["answer"], row["answer"]) for row, a in zip(rows, answers)])
    lines += ["", f"expected calibration error of the confidence, {BINS} bins: {error:.3f}", "",
              "| answers | mean confidence | right |", "|---|---|---|"]
    lines += [f"| {n} | {mean:.2f} | {share:.1%} |" for n, mean, share in bins]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--engine", nargs="+", required=True, help="command of the engine's CLI")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path)
    source.add_argument("--questions", type=Path)
    parser.add_argument("--types", nargs="+", help="default: all")
    parser.add_argument("--photos", type=Path, help="a folder, or a tar archive of files")
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--limit", type=int, help="at most this many questions, the first")
    parser.add_argument("--out", type=Path, help="question, wanted and given answer, one JSON line each")
    args = parser.parse_args()
    if args.data:
        rows, held = questions_of(args.data)
    else:
        rows = [json.loads(line) for line in args.questions.read_text().splitlines() if line.strip()]
    rows = [row for row in rows if not args.types or row["type"] in args.types][:args.limit]
    if not rows:
        parser.error("no such questions")
    rows.sort(key=lambda row: row["image"])  # questions about the same photo one after another: the engine sees it once
    with tempfile.TemporaryDirectory() as folder:
        names = [row["image"] for row in rows]
        if args.data:
            files = {name: Path(folder) / f"{i:05d}.png" for i, name in enumerate(dict.fromkeys(names))}
            for name, file in files.items():
                open_photo(open_at(held[name])).save(file, compress_level=1)
        else:
            files = photo_files(names, args.photos or args.questions.parent, Path(folder))
        answers = engine_answers(args.engine, args.model, [(files[row["image"]], row["question"]) for row in rows], args.beams)
    print(report(rows, answers))
    if args.out:
        args.out.write_text("".join(
            json.dumps({**row, "said": a["answer"], "declined": a["declined"], "confidence": a["confidence"],
                        "right": same_answer(a["answer"], row["answer"])}) + "\n" for row, a in zip(rows, answers)))


if __name__ == "__main__":
    main()
