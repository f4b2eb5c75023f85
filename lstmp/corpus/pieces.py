"""Open vocabulary: words cut into pieces by sentencepiece, and pieces put together to words.

A vocabulary of pieces writes into its symbols where words begin and end: ``▁the▁`` is a word, ``▁ca`` begins one,
``t▁`` ends one, ``n`` is within one. (sentencepiece marks the beginning alone; phones that depend on their place in the
word need both, and a language model gains by them: P. Smit, S. Virpioja, M. Kurimo, "Improved subword modeling for
WFST-based speech recognition", Interspeech 2017.) Symbols wholly in brackets, such as ``<UNK>`` and ``[NOISE]``, and
``!SIL`` are words even among pieces, and are not cut.
"""

import argparse
import functools
import io
import itertools
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from lstmp import config
from lstmp.corpus.textlines import numbered_lines
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.stage import Stage

MARK = "\u2581"
MODEL = "pieces.model"  # in the folders of dictionary and lang
_WHOLE = re.compile(r"<.+>|\[.+\]|\(.+\)|!SIL")
_LINE = 500  # words given to sentencepiece at a time; it leaves out lines that are too long for it
KINDS = ("unigram", "bpe")


def is_whole(symbol: str) -> bool:
    """Whether a symbol is a word even among pieces."""
    return _WHOLE.fullmatch(symbol) is not None


def made_of_pieces(symbols: Iterable[str]) -> bool:
    """Whether a vocabulary is one of pieces: symbols with which words begin are in it, and such with which they end."""
    begins = ends = False
    for symbol in symbols:
        if MARK in symbol and symbol.strip(MARK):
            begins, ends = begins or symbol.startswith(MARK), ends or symbol.endswith(MARK)
    return begins and ends


def borders(symbol: str) -> tuple[bool, bool]:
    """Whether a word begins, and whether one ends, with a symbol of a vocabulary of pieces."""
    if is_whole(symbol):
        return True, True
    return symbol.startswith(MARK), symbol.endswith(MARK)


class Names(dict):
    """Word id → symbol, as words.txt has them."""

    @functools.cached_property
    def pieces(self) -> bool:
        """Whether the symbols are pieces of words."""
        return made_of_pieces(self.values())

    def spans(self, ids: Sequence[int]) -> list[tuple[str, range]]:
        """The words that a sequence of ids spells, each with the places in the sequence that it is made of."""
        symbols = [self[i] for i in ids]
        if not self.pieces:
            return [(s, range(n, n + 1)) for n, s in enumerate(symbols)]
        out: list[tuple[str, range]] = []
        within = False  # a word, which goes on
        for n, symbol in enumerate(symbols):
            begins, ends = borders(symbol)
            text = symbol.strip(MARK)
            if within and not begins:
                word, places = out[-1]
                out[-1] = word + text, range(places.start, n + 1)
            else:
                out.append((text, range(n, n + 1)))
            within = not ends
        return out

    def words(self, ids: Sequence[int]) -> list[str]:
        """The words that a sequence of ids spells."""
        return [word for word, _ in self.spans(ids)]


class Pieces:
    """A sentencepiece model that was trained by :func:`train_pieces`.

    Raises:
        UserError: no such file, or no such model.
    """

    def __init__(self, path):
        import sentencepiece

        path = Path(path)
        if not path.is_file():
            raise UserError("no such file", file=path, hint="make it with local/train_pieces.sh")
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError):
            raise UserError("not a sentencepiece model", file=path, hint="make it with local/train_pieces.sh") from None
        self.letters = {s for s in map(self._model.id_to_piece, range(len(self._model))) if len(s) == 1} - {MARK}
        self.cut = functools.cache(self.cut)  # type: ignore[method-assign]  # of this object alone

    def cut(self, word: str) -> tuple[str, ...]:
        """The pieces of a word, with their marks; one in brackets, or with an unknown letter, stays whole."""
        if is_whole(word) or not set(word) <= self.letters:
            return (word,)
        parts = self._model.encode(word, out_type=str)
        if parts[0] == MARK and len(parts) > 1:  # the mark alone cannot be spoken
            parts[:2] = [MARK + parts[1]]
        parts[-1] += MARK
        return (word,) if any(map(is_whole, parts)) else tuple(parts)

    def cut_into(self, word: str, known: Container[str]) -> tuple[str, ...]:
        """As :meth:`cut`, but where a piece is not among the symbols ``known``, such as those that a dictionary can
        pronounce, the word is cut into the fewest that are; of the ways to do so the likeliest is taken."""
        usual = self.cut(word)
        if all(symbol in known for symbol in usual) or len(usual) == 1 and MARK not in usual[0]:
            return usual
        best: list[tuple[int, float, tuple[str, ...]] | None] = [(0, 0.0, ())]  # of the first so many letters
        for end in range(1, len(word) + 1):
            ways = []
            for begin, way in enumerate(best):
                piece = (MARK if begin == 0 else "") + word[begin:end]
                symbol = piece + MARK if end == len(word) else piece
                if way is not None and symbol in known:
                    score = self._model.get_score(self._model.piece_to_id(piece))
                    ways.append((way[0] + 1, way[1] - score, (*way[2], symbol)))
            best.append(min(ways, default=None))
        return usual if best[-1] is None else best[-1][2]

    def single_letters(self) -> list[tuple[str, str]]:
        """(letter, symbol) for every letter in each of its four places: with these any word can be spelled."""
        return [(c, left + c + right) for c in sorted(self.letters) for left in ("", MARK) for right in ("", MARK)]


def train_pieces(texts, out, *, size: int = 1000, kind: str = "unigram", skip_id: bool = False) -> None:
    """Train a sentencepiece model on text and write it to ``out/pieces.model``.

    Args:
        texts: files of sentences, one a line, plain or gzip.
        size: number of pieces, as sentencepiece counts them, every letter among them.
        kind: `unigram` or `bpe`.
        skip_id: the first word of each line is an utterance-id.

    Raises:
        UserError: no text, or too little for so many pieces.
    """
    import sentencepiece

    if kind not in KINDS:
        raise UserError(f"--kind must be one of {', '.join(KINDS)}, not {kind}", hint="correct the value")
    if size < 10:
        raise UserError(f"--size must be 10 or more, not {size}", hint="500 to 5000 are usual")
    out = Path(out)
    stage = Stage(out, "pieces", inputs=texts, settings=[size, kind, skip_id])
    if stage.is_done():
        return
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts, skip_id), max_sentence_length=1 << 24, model_writer=model,
            vocab_size=size, model_type=kind,
            character_coverage=1.0, normalization_rule_name="identity", bos_id=-1, eos_id=-1, unk_id=0,
            hard_vocab_limit=False, num_threads=1, minloglevel=2)
    except RuntimeError as e:
        raise UserError(f"sentencepiece refuses it: {' '.join(str(e).split())}", file=", ".join(map(str, texts)),
                        hint="give more text, or a --size between its letters' number and its words'") from None
    path = out / MODEL
    config.write_bytes(path, model.getvalue())
    pieces = Pieces(path)
    stage.mark(outputs=[path])
    say(f"{path}: {len(pieces._model)} pieces, {len(pieces.letters)} letters")


def _lines(texts, skip_id: bool) -> Iterator[str]:
    """The words of the texts that are to be cut, some at a time."""
    for path in texts:
        for _, line in numbered_lines(path):
            words = (w for w in line.split()[1 if skip_id else 0:] if not is_whole(w))
            while part := list(itertools.islice(words, _LINE)):
                yield " ".join(part)


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="local/train_pieces.sh", description="Train a sentencepiece model: what "
                                     "pieces words are cut into for an open vocabulary.")
    parser.add_argument("--text", nargs="+", required=True, help="text, a sentence a line, plain or .gz")
    parser.add_argument("--out", required=True, help="the folder to write pieces.model to")
    parser.add_argument("--size", type=int, default=1000, help="number of pieces (default: %(default)s)")
    parser.add_argument("--kind", default="unigram", help=f"{' or '.join(KINDS)} (default: %(default)s)")
    parser.add_argument("--skip-id", action="store_true", help="the first column is an utterance-id (Kaldi's text)")
    args = parser.parse_args(argv)
    train_pieces(args.text, args.out, size=args.size, kind=args.kind, skip_id=args.skip_id)


if __name__ == "__main__":
    main()
