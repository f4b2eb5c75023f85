"""How many faults in the code do the tests notice? A sample of mutants, each one small change of one line.

    python benchmarks/mutants.py --count 100 --rooms corpus features decode --modules stage [--seed 1] [--limit 300]

A mutant is drawn over all places of the chosen modules where an operator, a comparison, a constant, a condition or a
whole statement can be changed; text for people (messages, docstrings) is left alone. It is tried in a copy of the
checkout with the tests of its module's mirror file, then with those that name the module, then with those of its room.
Killed is what makes a test fail; what takes longer than --limit seconds is told apart. Prints each and the share.
"""

import argparse
import ast
import copy
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SWAPS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
         ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add,
         ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or,
         ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}


def places(tree: ast.Module) -> list[tuple[ast.AST, str]]:
    """(node, kind of change) of every mutant of a module."""
    found, texts = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("UserError", "say", "warn", "p.add_argument",
                                                                     "parser.add_argument", "argparse.ArgumentParser"):
            texts |= {id(n) for n in ast.walk(node)}  # messages: what they say is for people
        if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation is not None:
            texts |= {id(n) for n in ast.walk(node.annotation)}
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            texts |= {id(n) for d in (*node.decorator_list, getattr(node, "returns", None)) if d for n in ast.walk(d)}
            if node.name == "main":
                texts |= {id(n) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in texts:
            continue
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            found.append((node, "compare"))
        elif isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in SWAPS:
            found.append((node, "operator"))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            found.append((node, "not"))
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
            found.append((node, "constant"))
        elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
            found.append((node, "condition"))
        elif isinstance(node, ast.Return) and node.value is not None:
            found.append((node, "return"))
        elif isinstance(node, (ast.Raise, ast.AugAssign)) or (isinstance(node, ast.Expr)
                                                              and isinstance(node.value, ast.Call)):
            found.append((node, "statement"))
    return found


def change(node: ast.AST, kind: str):
    """Change ``node`` in its tree."""
    match kind:
        case "compare":
            node.ops[0] = SWAPS[type(node.ops[0])]()
        case "operator":
            node.op = SWAPS[type(node.op)]()
        case "not":
            node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), node.operand)
        case "constant":
            node.value = not node.value if isinstance(node.value, bool) else node.value + 1
        case "condition":
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case "return":
            node.value = ast.Constant(None)
        case "statement":
            node.__class__ = ast.Pass
            node._fields = ()


def mutants(files: list[Path]) -> list[tuple[Path, int]]:
    """(file, number of the place) of all of them."""
    return [(f, n) for f in files for n in range(len(places(ast.parse(f.read_text(encoding="utf-8")))))]


def mutant(file: Path, n: int) -> tuple[str, str]:
    """The text of a mutated module, and what was changed."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    node, kind = places(tree)[n]
    before = ast.unparse(copy.deepcopy(node)).splitlines()[0]
    line = node.lineno
    change(node, kind)
    after = "" if kind == "statement" else ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).splitlines()[0]
    return ast.unparse(ast.fix_missing_locations(tree)), f"{line}: {kind}: {before}  →  {after or 'pass'}"


def tests_of(checkout: Path, name: Path) -> list[list[str]]:
    """Test files to try one after the other: the module's mirror, then those that name it, then those of its room."""
    dotted = ".".join(name.with_suffix("").parts)
    room, _, stem = dotted.rpartition(".")
    mirror = checkout / "tests" / Path(*name.parts[1:-1]) / f"test_{name.stem}.py"
    named = re.compile(rf"\b{re.escape(dotted)}\b|from {re.escape(room)} import [^\n]*\b{stem}\b")
    others = [p for p in sorted((checkout / "tests").rglob("test_*.py")) if p != mirror and named.search(p.read_text())]
    of_room = [p for p in sorted(mirror.parent.glob("test_*.py")) if p != mirror and p not in others]
    return [[str(p) for p in paths] for paths in ([mirror] if mirror.exists() else [], others, of_room)]


def tried(checkout: Path, tests: list[str], limit: int) -> str:
    """"killed" where the tests fail, "no end" where they take too long, else nothing."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        return "" if process.wait(limit) in (0, 5) else "killed"  # 5: there are no tests
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        return "no end"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=100)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--rooms", nargs="*", default=["corpus", "features", "decode"])
    p.add_argument("--modules", nargs="*", default=["stage"], help="of lstmp/ itself")
    p.add_argument("--limit", type=int, default=600, help="seconds for a round of tests (default: %(default)s)")
    p.add_argument("--numbers", type=int, nargs="+", help="of the sample, such as those that lived before")
    a = p.parse_args()
    files = [f for room in a.rooms for f in sorted((ROOT / "lstmp" / room).glob("*.py"))]
    files += [ROOT / "lstmp" / f"{m}.py" for m in a.modules]
    chosen = random.Random(a.seed).sample(mutants(files), a.count)
    counts = Counter()
    with tempfile.TemporaryDirectory(prefix="lstmp-mutants-") as folder:
        checkout = Path(folder) / "checkout"
        shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".git", "exp", "data", "models", ".hypothesis"))
        for number, (file, n) in enumerate(chosen, 1):
            if a.numbers and number not in a.numbers:
                continue
            name = file.relative_to(ROOT)
            text, what = mutant(file, n)
            (checkout / name).write_text(text, encoding="utf-8")
            rounds = (tried(checkout, tests, a.limit) for tests in tests_of(checkout, name) if tests)
            found = next(filter(None, rounds), "")
            shutil.copyfile(file, checkout / name)
            counts[found or "LIVES"] += 1
            print(f"{number}/{a.count} {found or 'LIVES'}  {name}:{what}", flush=True)
    print(f"{dict(counts)}; killed: {100 * counts['killed'] / counts.total():.0f} %")


if __name__ == "__main__":
    main()
