"""The parts of the lexicons that the hypotheses of a report need, each read once: a lexicon may have 200,000 words."""

from dataclasses import dataclass
from pathlib import Path

from lstmp import config, files
from lstmp.corpus.lang import Lang, read_names
from lstmp.corpus.part_of_lang import write_part
from lstmp.corpus.pieces import Names
from lstmp.errors import UserError
from lstmp.parallel import run_jobs
from lstmp.report.experiment import Decoding


@dataclass(frozen=True)
class Lexicon:
    """The part of a lang folder with the words of all hypotheses that were decoded with it, and the words' names."""

    names: Names
    lang: Lang


Lexicons = dict[Path, Lexicon | UserError]  # lang folder → its part, or why it cannot be read


def lang_of(d: Decoding) -> Path:
    """The lang folder that the graph of a decoding was made from.

    Raises:
        UserError: graph.json is missing, or does not name it.
    """
    path = Path(str(d.info.get("graph", ""))) / "graph.json"
    lang = config.read_json(path, "run stage 9, graphs").get("lang")
    if not isinstance(lang, str):
        raise UserError("it does not name its lang folder", file=path, hint="make the graph again")
    return Path(lang)


def read_lexicons(decodings: list[Decoding], work: Path, nj: int) -> Lexicons:
    """Read the lexicons of decodings. ``work`` is a folder to make temporary files in."""
    words: dict[Path, set[str]] = {}
    for d in decodings:
        try:
            words.setdefault(lang_of(d), set()).update(w for hyp in d.hyps.values() for w in hyp)
        except UserError:
            continue  # noted when the decoding is shown

    def read(folder: Path) -> Lexicon | UserError:
        try:
            if (folder / "pieces.model").is_file():  # the hypotheses are in words, the lexicon in pieces, which are few
                return Lexicon(read_names(folder / "words.txt"), Lang.load(folder))
            with files.temporary_folder(work) as out:
                part = write_part(folder, words[folder], out)
                return Lexicon(read_names(part / "words.txt"), Lang.load(part))
        except UserError as e:
            return e

    return dict(zip(words, run_jobs(read, words, nj, "lexicons", "lexicon"), strict=True))
