"""Stage 2, second half: convert ``dict/`` to ``lang/`` with symbol tables, phone classes, topology and the lexicon L.

As in Kaldi, phones are marked with their position in the word: ``_B`` begin, ``_I`` internal, ``_E`` end, ``_S``
single. Optional silence is the silence phone without a mark. If the dictionary has silence probabilities
(``lexiconp_silprob.txt`` and ``silprob.txt``), L contains them. In a dictionary of pieces of words, the marks refer to
the word (``▁ca`` of CAT has ``_B _I``), and silence occurs only between words.
"""

import argparse
import functools
from pathlib import Path

from lstmp import config
from lstmp.corpus.dictionary import UNKNOWN_WORD, Dictionary
from lstmp.corpus.fst import write_fst
from lstmp.corpus.lexicon_fst import disambiguate, lexicon_fst, silprob_lexicon_fst
from lstmp.corpus.pieces import MODEL, borders, made_of_pieces
from lstmp.corpus.silence_model import LEXICON
from lstmp.corpus.topology import Topology
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.stage import Stage

MARKS = ("_B", "_E", "_I", "_S")
BOUNDARY = {"_B": "begin", "_E": "end", "_I": "internal", "_S": "singleton"}
CLASSES = ("silence", "nonsilence", "optional_silence", "disambig", "sets", "roots", "extra_questions",
           "word_boundary")
FILES = ("phones.txt", "words.txt", "L.fst", "L_disambig.fst", "oov.txt", "oov.int", "topo", "lexiconp.txt",
         "silprob.txt", *(f"phones/{name}.{kind}" for name in CLASSES for kind in ("txt", "int")))


def mark_positions(phones: tuple[str, ...], begins: bool = True, ends: bool = True) -> tuple[str, ...]:
    """Add position marks: ``(K, AE1, T)`` → ``(K_B, AE1_I, T_E)``; a word of one phone gets ``_S``.

    Args:
        phones: the phones of a word, or of a piece of a word.
        begins, ends: whether the word begins and ends with the piece.
    """
    if len(phones) == 1:
        return (phones[0] + ("_S" if begins and ends else "_B" if begins else "_E" if ends else "_I"),)
    return (phones[0] + ("_B" if begins else "_I"), *(p + "_I" for p in phones[1:-1]),
            phones[-1] + ("_E" if ends else "_I"))


def variants(group, silence) -> list[str]:
    """Return all position variants of the phones of ``group``; silence phones also have a variant without a mark."""
    return [phone + mark for phone in group for mark in (("", *MARKS) if phone in silence else MARKS)]


def prepare_lang(dict_dir, out, *, oov: str = UNKNOWN_WORD, sil_prob: float = 0.5, nonsilence_states: int = 3,
                 silence_states: int = 5) -> None:
    """Write the lang folder ``out``, which :class:`lstmp.corpus.lang.Lang` reads, from a dictionary folder.

    Args:
        dict_dir: Kaldi's ``dict/``, see :class:`lstmp.corpus.dictionary.Dictionary`.
        out: the folder to write.
        oov: the word that replaces unknown words; it must have a pronunciation.
        sil_prob: probability of silence at the start and after each word, in (0, 1); not used if the dictionary has
            silence probabilities.
        nonsilence_states, silence_states: number of HMM states of a phone.

    Raises:
        UserError: the dictionary has an error, or an option is out of range.
    """
    if not 0 < sil_prob < 1:
        raise UserError(f"--sil-prob must be between 0 and 1, not {sil_prob}", hint="0.5 is usual")
    if min(nonsilence_states, silence_states) < 1:
        raise UserError("a phone needs at least one state", hint="3 for speech and 5 for silence are usual")
    out, settings = Path(out), [oov, sil_prob, nonsilence_states, silence_states]
    stage = Stage(out, "lang", inputs=[dict_dir], settings=settings, version=2)
    if stage.is_done():
        return
    dictionary = Dictionary.load(dict_dir)
    if all(word != oov for word, _, _ in dictionary.entries):
        raise UserError(f"the word for unknown words, {oov}, has no entry", file=Path(dict_dir) / "lexiconp.txt",
                        hint="add it, or give another word by --oov")

    pieces = made_of_pieces(word for word, _, _ in dictionary.entries)
    word_borders = [borders(word) if pieces else (True, True) for word, _, _ in dictionary.entries]
    marked = [(word, prob, mark_positions(phones, *b))
              for (word, prob, phones), b in zip(dictionary.entries, word_borders, strict=True)]
    symbols = disambiguate([phones for _, _, phones in marked])
    num_disambig = max(symbols) + 1  # one more than the words need; it follows the optional silence
    phones, classes = _phone_table(dictionary, num_disambig)
    words = {w: i for i, w in enumerate(["<eps>", *sorted({w for w, _, _ in marked}), "#0", "<s>", "</s>"])}

    for name, table in (("phones.txt", phones), ("words.txt", words)):
        config.write_text(out / name, "".join(f"{s} {i}\n" for s, i in table.items()))
    for name in CLASSES:
        rows = classes[name]
        config.write_text(out / "phones" / f"{name}.txt", "".join(" ".join(row) + "\n" for row in rows))
        config.write_text(out / "phones" / f"{name}.int",
                          "".join(" ".join(str(phones.get(x, x)) for x in row) + "\n" for row in rows))
    config.write_text(out / "oov.txt", oov + "\n")
    config.write_text(out / "oov.int", f"{words[oov]}\n")
    model = dictionary.silence_model
    if model is None:
        (out / LEXICON).unlink(missing_ok=True)
        config.write_text(out / "silprob.txt", f"{sil_prob!r}\n")
    else:
        terms = [model.of(word, ph) for word, _, ph in dictionary.entries]
        model.write(out, marked, terms)
    config.write_text(out / "lexiconp.txt", "".join(f"{w} {p!r} {' '.join(ph)}\n" for w, p, ph in marked))
    Topology.bakis(nonsilence=[phones[p] for (p,) in classes["nonsilence"]],
                   silence=[phones[p] for (p,) in classes["silence"]],
                   nonsilence_states=nonsilence_states, silence_states=silence_states).write(out / "topo")

    entries = [(words[w], p, tuple([phones[x] for x in ph])) for w, p, ph in marked]
    silence = phones[dictionary.optional_silence]
    if model is None:
        build = functools.partial(lexicon_fst, sil_prob=sil_prob, borders=word_borders)
    else:
        build = functools.partial(silprob_lexicon_fst, terms=terms, model=model, borders=word_borders)
    write_fst(build(entries, silence=silence), out / "L.fst")
    entries = [(w, p, (*ph, phones[f"#{k}"]) if k else ph) for (w, p, ph), k in zip(entries, symbols, strict=True)]
    write_fst(build(entries, silence=silence, silence_disambig=phones[f"#{num_disambig}"],
                    backoff=(phones["#0"], words["#0"])), out / "L_disambig.fst")
    (out / MODEL).unlink(missing_ok=True)
    # the text of the language model will be cut with this model
    if has_pieces_model := (Path(dict_dir) / MODEL).is_file():
        config.copy_file(Path(dict_dir) / MODEL, out / MODEL)
    more = [*([LEXICON] if model else []), *([MODEL] if has_pieces_model else [])]
    stage.mark(outputs=[out / name for name in (*FILES, *more)])
    say(f"{out}: {len(words) - 4} words, {len(entries)} pronunciations, {len(classes['nonsilence'])} nonsilence and "
        f"{len(classes['silence'])} silence phones with position marks, {num_disambig + 1} disambiguation symbols")


def _phone_table(dictionary: Dictionary, num_disambig: int) -> tuple[dict[str, int], dict[str, list[list[str]]]]:
    """Return the phone symbol table, and the rows of every file of ``lang/phones/``."""
    is_silence = set(dictionary.silence)
    groups = [[p] for p in dictionary.silence] + [list(g) for g in dictionary.nonsilence]
    sets = [variants(group, is_silence) for group in groups]
    silence = variants(dictionary.silence, is_silence)
    nonsilence = [p for group in dictionary.nonsilence for p in variants(group, is_silence)]
    disambig = [f"#{k}" for k in range(num_disambig + 1)]
    bases = [p for group in dictionary.nonsilence for p in group]
    questions = [variants(group, is_silence) for group in dictionary.extra_questions]
    questions += [[p + mark for p in bases] for mark in MARKS]
    questions += [[p + mark for p in dictionary.silence] for mark in ("", *MARKS)]
    roots = [[*(("not-shared", "not-split") if row[0] in silence else ("shared", "split")), *row] for row in sets]
    boundary = [[p, BOUNDARY.get(p[-2:], "nonword")] for p in silence + nonsilence]
    phones = {p: i for i, p in enumerate(["<eps>", *silence, *nonsilence, *disambig])}
    one_per_row = {"silence": silence, "nonsilence": nonsilence, "disambig": disambig,
                   "optional_silence": [dictionary.optional_silence]}
    return phones, {**{name: [[p] for p in column] for name, column in one_per_row.items()}, "sets": sets,
                    "roots": roots, "extra_questions": questions, "word_boundary": boundary}


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="local/prepare_lang.sh", description=__doc__)
    parser.add_argument("--dict", required=True, help="the dictionary folder, data/<recipe>/dict")
    parser.add_argument("--out", required=True, help="the lang folder to write, data/<recipe>/lang")
    parser.add_argument("--oov", default=UNKNOWN_WORD, help="the word that replaces unknown words (default: "
                        "%(default)s)")
    parser.add_argument("--sil-prob", type=float, default=0.5, help="probability of optional silence, if the "
                        "dictionary has no silence probabilities (default: %(default)s)")
    parser.add_argument("--nonsilence-states", type=int, default=3, help="number of HMM states of a nonsilence phone "
                        "(default: %(default)s)")
    parser.add_argument("--silence-states", type=int, default=5, help="number of HMM states of a silence phone "
                        "(default: %(default)s)")
    args = parser.parse_args(argv)
    prepare_lang(args.dict, args.out, oov=args.oov, sil_prob=args.sil_prob, nonsilence_states=args.nonsilence_states,
                 silence_states=args.silence_states)


if __name__ == "__main__":
    main()
