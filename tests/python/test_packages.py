"""The packages of models/bitmar: what each may know, what is installed, and the commands that people run."""

import ast
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

import bitmar
from bitmar.train import recipe

BITMAR = Path(bitmar.__file__).parent
ORDER = ("model", "teachers", "data", "train", "eval", "compat")  # each may know itself and those before it
SHARED = {"earlier", "deadline"}
ALSO = {"train": {"eval.metrics", "eval.evaluate"}}  # the reward, and the stage evaluate
COMMANDS = ("prepare", "train", "export", "evaluate", "answers", "calibrate")


def imported(file: Path) -> set[str]:
    """What a module takes of the others, as PACKAGE.MODULE or MODULE"""
    out, own = set(), file.relative_to(BITMAR).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*own[:len(own) - node.level + 1], *(node.module or "").split(".")]
            base = [part for part in base if part]
            out |= {".".join(base)} if len(base) > 1 or base and base[0] in SHARED else {".".join([*base, alias.name]) for alias in node.names}
    return out


class Packages(unittest.TestCase):
    def test_none_knows_what_comes_after_it(self):
        found = 0
        for i, package in enumerate(ORDER):
            for file in (BITMAR / package).glob("*.py"):
                for name in imported(file):
                    found += 1
                    known = name.split(".")[0] in {*SHARED, *ORDER[:i + 1]} or name in ALSO.get(package, ())
                    self.assertTrue(known, f"{file.relative_to(BITMAR)} imports {name}")
        self.assertGreater(found, 100)
        for name in SHARED:
            self.assertEqual(imported(BITMAR / f"{name}.py"), set())

    def test_all_of_them_are_installed_with_their_files(self):
        project = tomllib.loads((BITMAR.parent / "pyproject.toml").read_text())["tool"]["setuptools"]
        packages = {".".join(file.parent.relative_to(BITMAR.parent).parts) for file in BITMAR.rglob("__init__.py")}
        self.assertEqual(set(project["packages"]), packages | {"bitmar.recipes"})
        self.assertEqual(BITMAR.parent / project["package-dir"]["bitmar.recipes"], recipe.FOLDER)
        folders = {"bitmar.recipes": recipe.FOLDER, **{name: BITMAR.parent / name.replace(".", "/") for name in packages}}
        installed = {file for name, patterns in project["package-data"].items() for pattern in patterns for file in folders[name].glob(pattern)}
        files = {file for folder in (BITMAR, recipe.FOLDER) for file in folder.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
        self.assertEqual(installed, files)
        self.assertGreater(len(files), 7)

    def test_commands(self):
        started = {name: subprocess.Popen([sys.executable, "-m", f"bitmar.{name}", "--help"], stdout=subprocess.PIPE, text=True) for name in COMMANDS}
        for name, process in started.items():
            self.assertIn(f"{name}", process.communicate()[0].split("\n")[0])
            self.assertEqual(process.returncode, 0)


if __name__ == "__main__":
    unittest.main()
