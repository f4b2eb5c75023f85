"""Cuts words into pieces with sentencepiece for an open vocabulary, and joins pieces to words.

The symbols of a vocabulary of pieces mark where words begin and end: ``▁the▁`` is a word, ``▁ca`` begins a word, ``t▁``
ends a word, and ``n`` is inside a word. (sentencepiece marks only the beginning. Position-dependent phones need both
marks, and language models improve with both: P. Smit, S. Virpioja, M. Kurimo, "Improved subword modeling for WFST-based
speech recognition", Interspeech 2017.) Symbols in brackets, such as ``<UNK>`` and ``[NOISE]``, and ``!SIL`` are words
even in a vocabulary of pieces, and are not cut.
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
MODEL = "pieces.model"  # in dictionary and lang folders
_WHOLE = re.compile(r"<.+>|\[.+\]|\(.+\)|!SIL")
_LINE = 500  # maximum number of words per line given to sentencepiece, which skips lines that are too long
MODEL_TYPES = ("unigram", "bpe")


def is_whole(symbol: str) -> bool:
    """Whether a symbol is a word even in a vocabulary of pieces."""
    return _WHOLE.fullmatch(symbol) is not None


def made_of_pieces(symbols: Iterable[str]) -> bool:
    """Whether a vocabulary consists of pieces: some symbols are marked as the beginning of a word, some as the end."""
    begins = ends = False
    for symbol in symbols:
        if MARK in symbol and symbol.strip(MARK):
            begins, ends = begins or symbol.startswith(MARK), ends or symbol.endswith(MARK)
    return begins and ends


def borders(symbol: str) -> tuple[bool, bool]:
    """Whether a word begins, and whether it ends, with a symbol of a vocabulary of pieces."""
    if is_whole(symbol):
        return True, True
    return symbol.startswith(MARK), symbol.endswith(MARK)


class Names(dict):
    """The symbol table words.txt as a dictionary from id to symbol."""

    @functools.cached_property
    def pieces(self) -> bool:
        """Whether the symbols are pieces of words."""
        return made_of_pieces(self.values())

    def spans(self, ids: Sequence[int]) -> list[tuple[str, range]]:
        """Join a sequence of ids to words, and return each word with its range of positions in the sequence."""
        symbols = [self[i] for i in ids]
        if not self.pieces:
            return [(s, range(n, n + 1)) for n, s in enumerate(symbols)]
        out: list[tuple[str, range]] = []
        inside_word = False  # the last word has not ended yet
        for n, symbol in enumerate(symbols):
            begins, ends = borders(symbol)
            text = symbol.strip(MARK)
            if inside_word and not begins:
                word, positions = out[-1]
                out[-1] = word + text, range(positions.start, n + 1)
            else:
                out.append((text, range(n, n + 1)))
            inside_word = not ends
        return out

    def words(self, ids: Sequence[int]) -> list[str]:
        """Join a sequence of ids to words."""
        return [word for word, _ in self.spans(ids)]


class Pieces:
    """A sentencepiece model trained by :func:`train_pieces`.

    Raises:
        UserError: the file does not exist or is not a sentencepiece model.
    """

    def __init__(self, path):
        import sentencepiece

        path = Path(path)
        if not path.is_file():
            raise UserError("no such file", file=path, hint="create it with local/train_pieces.sh")
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError):
            raise UserError("not a sentencepiece model", file=path,
                            hint="create it with local/train_pieces.sh") from None
        self.letters = {s for s in map(self._model.id_to_piece, range(len(self._model))) if len(s) == 1} - {MARK}
        self.cut = functools.cache(self.cut)  # type: ignore[method-assign]  # a cache for this object alone

    def cut(self, word: str) -> tuple[str, ...]:
        """Cut a word into pieces with marks; a word in brackets, or with an unknown letter, is returned unchanged."""
        if is_whole(word) or not set(word) <= self.letters:
            return (word,)
        parts = self._model.encode(word, out_type=str)
        if parts[0] == MARK and len(parts) > 1:  # the mark alone has no pronunciation
            parts[:2] = [MARK + parts[1]]
        parts[-1] += MARK
        return (word,) if any(map(is_whole, parts)) else tuple(parts)

    def cut_into(self, word: str, known: Container[str]) -> tuple[str, ...]:
        """Cut a word into pieces of the set ``known``, such as the symbols of a dictionary.

        The result is that of :meth:`cut` if all its pieces are known. Otherwise the word is cut into the smallest
        possible number of known pieces, and among these divisions the most likely one is chosen. If there is none, the
        result of :meth:`cut` is returned.
        """
        usual = self.cut(word)
        if all(symbol in known for symbol in usual) or len(usual) == 1 and MARK not in usual[0]:
            return usual
        best: list[tuple[int, float, tuple[str, ...]] | None] = [(0, 0.0, ())]  # best division of each prefix
        for end in range(1, len(word) + 1):
            divisions = []
            for begin, prefix in enumerate(best):
                piece = (MARK if begin == 0 else "") + word[begin:end]
                symbol = piece + MARK if end == len(word) else piece
                if prefix is not None and symbol in known:
                    score = self._model.get_score(self._model.piece_to_id(piece))
                    divisions.append((prefix[0] + 1, prefix[1] - score, (*prefix[2], symbol)))
            best.append(min(divisions, default=None))
        return usual if best[-1] is None else best[-1][2]

    def single_letters(self) -> list[tuple[str, str]]:
        """Return (letter, symbol) for every letter and combination of marks; any word can be spelled with these."""
        return [(c, left + c + right) for c in sorted(self.letters) for left in ("", MARK) for right in ("", MARK)]


def train_pieces(texts, out, *, size: int = 1000, model_type: str = "unigram", skip_id: bool = False) -> None:
    """Train a sentencepiece model on text and write it to ``out/pieces.model``.

    Args:
        texts: text files with one sentence per line, plain or gzip.
        out: the folder to write.
        size: number of pieces as counted by sentencepiece, including every letter.
        model_type: `unigram` or `bpe`.
        skip_id: whether the first word of each line is an utterance-id.

    Raises:
        UserError: there is no text, or too little text for this number of pieces.
    """
    import sentencepiece

    if model_type not in MODEL_TYPES:
        raise UserError(f"--kind must be one of {', '.join(MODEL_TYPES)}, not {model_type}", hint="correct the value")
    if size < 10:
        raise UserError(f"--size must be 10 or more, not {size}", hint="500 to 5000 are usual")
    out = Path(out)
    stage = Stage(out, "pieces", inputs=texts, settings=[size, model_type, skip_id])
    if stage.is_done():
        return
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts, skip_id), max_sentence_length=1 << 24, model_writer=model,
            vocab_size=size, model_type=model_type,
            character_coverage=1.0, normalization_rule_name="identity", bos_id=-1, eos_id=-1, unk_id=0,
            hard_vocab_limit=False, num_threads=1, minloglevel=2)
    except RuntimeError as e:
        raise UserError(f"sentencepiece cannot train: {' '.join(str(e).split())}", file=", ".join(map(str, texts)),
                        hint="give more text, or a --size between the numbers of letters and of words") from None
    path = out / MODEL
    config.write_bytes(path, model.getvalue())
    pieces = Pieces(path)
    stage.mark(outputs=[path])
    say(f"{path}: {len(pieces._model)} pieces, {len(pieces.letters)} letters")


def _lines(texts, skip_id: bool) -> Iterator[str]:
    """Yield the words of the texts without words in brackets, in lines of limited length."""
    for path in texts:
        for _, line in numbered_lines(path):
            words = (w for w in line.split()[1 if skip_id else 0:] if not is_whole(w))
            while part := list(itertools.islice(words, _LINE)):
                yield " ".join(part)


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="local/train_pieces.sh", description="Train a sentencepiece model, which "
                                     "cuts words into pieces for an open vocabulary.")
    parser.add_argument("--text", nargs="+", required=True, help="text with one sentence per line, plain or .gz")
    parser.add_argument("--out", required=True, help="the folder to which pieces.model is written")
    parser.add_argument("--size", type=int, default=1000, help="number of pieces (default: %(default)s)")
    parser.add_argument("--kind", default="unigram", help=f"model type, {' or '.join(MODEL_TYPES)} (default: "
                        "%(default)s)")
    parser.add_argument("--skip-id", action="store_true", help="the first column is an utterance-id (Kaldi's text)")
    args = parser.parse_args(argv)
    train_pieces(args.text, args.out, size=args.size, model_type=args.kind, skip_id=args.skip_id)


if __name__ == "__main__":
    main()
