"""Every command in the documentation exists, with the options it is given."""

import importlib
import re
import subprocess

import pytest
from helpers import ROOT
from helpers.shell_blocks import KINDS, blocks_of, commands, pages
from sitemaker.commands import help_of, help_of_module
from sitemaker.pages import CODE, scripts

from lstmp import cli
from lstmp.errors import UserError
from lstmp.recipe.options import parse_options
from lstmp.recipe.resolve import resolve

BLOCKS = [block for page in pages() for block in blocks_of(page)]
OTHERS = set("""
    [ apt-get arecord awk cat cd chmod cmp comm column cp cut diff docker echo export ffmpeg find git grep gunzip head
    kill less ls mkdir mktemp mv nvidia-smi paste pip pre-commit python python3 rm rsync sbatch scp sed set sleep sort
    sox squeue srun ssh tail tar test torchrun tr uniq unset unzip uv wc wget zcat
""".split())
PASSING = ("test.sh", "local/node.sh", "local/on_hosts.sh")  # options to other programs
PLACEHOLDER = re.compile(r"…|^[A-Z][A-Z_]*$|<\w+>")
EXAMPLES = ("count_words", "--lstmp.kind gru")  # what CONTRIBUTING.md adds as an example


def wrong_options(arguments: list[str], text: str) -> list[str]:
    """The options that a help does not name."""
    named = set(re.findall(r"(?<![\w-])-{1,2}[a-z][\w-]*", text))
    options = [a.split("=")[0] for a in arguments if re.match(r"--[a-z]", a)]
    return [o for o in options if o not in named and o != "--help"]


def problem_of_run(arguments: list[str], folder) -> str:
    """What `./run.sh --dry-run` would say to these options; placeholders are taken for a folder that exists."""
    if "--help" in arguments or any("…" in a for a in arguments):
        return ""
    try:
        options = parse_options([str(folder) if PLACEHOLDER.search(a) else a for a in arguments])
        if options.get("recipe") == "mine":  # a copy that the page makes
            options["recipe"] = "own"
        if options.pop("corpus", "") and options.get("recipe") in ("own", "mini_librispeech"):
            for split in ("train-clean-5", "dev", "test", "test-other-fb"):  # the larger of mini_librispeech's layouts
                (folder / "LibriSpeech" / split).mkdir(parents=True, exist_ok=True)
            options["corpus"] = str(folder)
        resolve(options)
    except UserError as e:
        return str(e)
    return ""


def problem_of(words: list[str], folder) -> str:
    """What is wrong with a command, or nothing."""
    program, *arguments = words
    name = program.removeprefix("./")
    if name == "run.sh" or words[:2] == ["lstmp", "run"]:
        return problem_of_run(arguments[name != "run.sh":], folder)
    if name in scripts():
        if name in PASSING or name.startswith("recipes/"):
            return ""
        wrong = wrong_options(arguments, help_of(name))
        return f"{name} has no {', '.join(wrong)}" if wrong else ""
    if name == "lstmp" and arguments and not arguments[0].startswith("-"):
        if arguments[0] not in cli.COMMANDS:
            return f"no command lstmp {arguments[0]}"
        wrong = wrong_options(arguments, help_of(f"lstmp {arguments[0]}"))
        return f"lstmp {arguments[0]} has no {', '.join(wrong)}" if wrong else ""
    if "-m" in arguments and (module := arguments[arguments.index("-m") + 1]).startswith(("lstmp.", "benchmarks.")):
        if not (ROOT / (module.replace(".", "/") + ".py")).is_file():
            return f"no module {module}"
        wrong = wrong_options(arguments[arguments.index("-m") + 2:], help_of_module(module))
        return f"{module} has no {', '.join(wrong)}" if wrong else ""
    for path in [name, *(a for a in arguments[:1] if name in (".", "python", "sbatch", "bash"))]:
        if "/" in path and path.endswith((".py", ".sh", ".sbatch")) and not (ROOT / path).is_file():
            return f"no file {path}"
    known = name in OTHERS or name in (".", "lstmp") or (ROOT / name).is_file() or "env/bin/" in name or name[0] == "$"
    return "" if known else f"unknown program {program}"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.name)
def test_a_block_has_known_commands_and_options(block, tmp_path):
    assert block.needs <= KINDS, f"unknown need: {block.needs - KINDS}"
    done = subprocess.run(["bash", "-n"], input=block.before + "\n" + block.text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = commands(block.text)
    assert found or block.text.startswith("#!")
    if block.run_by:
        lines = (ROOT / block.run_by).read_text(encoding="utf-8")
        missing = [words for words in found if " ".join(words) not in lines]
        assert not missing, f"not in {block.run_by}: {missing}"
    if "a script to be written" not in block.needs:
        assert not [p for words in found if (p := problem_of(words, tmp_path))]


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_commands_in_the_text_have_known_options(page, tmp_path):
    spans = [m[0].strip("`") for m in CODE.finditer(page.read_text(encoding="utf-8")) if not m[2]]
    call = re.compile(r"(\./)?((run|test|transcribe)\.sh|(steps|local)/\w+\.sh|lstmp [a-z-]+) .*-"
                      r"|python -m (lstmp|benchmarks)\.")
    calls = [s for s in spans if call.match(s) and not any(e in s for e in EXAMPLES)]
    found = {c: commands(c.replace("<", "").replace(">", ""))[0] for c in calls}
    assert not {c: p for c, words in found.items() if (p := problem_of(words, tmp_path))}


def test_wrong_commands_are_noticed(tmp_path):
    for text in ("steps/decoed.sh --model x", "steps/decode.sh --modell x", "lstmp transcribbe",
                 "./run.sh --lstmp.cels 3", "./run.sh --recipe tinny", "python -m lstmp.no.such",
                 "cat x | frobnicate", "lstmp align --njj 2",
                 "./run.sh --lstmp.epochs many", "python docs/no_such.py", ". local/paths.sh"):
        assert any(problem_of(words, tmp_path) for words in commands(text)), text
    assert commands('a --lexicon "" --data b') == [["a", "--lexicon", "", "--data", "b"]]
    assert commands("for x in a b; do  # c\n  ls $x > y && A=1 cat \\\n z; done") == [["ls", "$x"], ["cat", "z"]]
    assert importlib.util.find_spec("sitemaker.pages")
