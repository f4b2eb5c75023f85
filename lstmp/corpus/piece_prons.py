"""How pieces of words are pronounced: learned from a dictionary, whose words are cut into the same pieces.

A word's phones are divided among its pieces, in order and at least one each; which way is likely, EM finds out, from
all words together: a piece Π has the phones q with a probability p(q | Π), and a division the product of its pieces'.
(A joint multigram whose side of letters is given: S. Deligne, F. Yvon, F. Bimbot, "Variable-length sequence matching
for phonetic transcription using joint multigrams", Eurospeech 1995.) A dictionary whose phones are letters needs none
of this: there a piece is spelled.
"""

import argparse
import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.graphemes import is_graphemic, spelled
from lstmp.corpus.pieces import MARK, MODEL, Pieces, is_whole
from lstmp.corpus.silence_model import SilenceModel
from lstmp.errors import UserError, command
from lstmp.log import say, warn
from lstmp.stage import Stage

Cut = tuple[tuple[str, ...], tuple[str, ...]]  # the pieces of a word, its phones
Prons = dict[str, dict[tuple[str, ...], float]]
_ODD = np.uint64(0x9E3779B97F4A7C15)  # of the hash of a piece and its phones; golden ratio, as in Knuth


@dataclasses.dataclass
class _Group:
    """The words with n pieces and m phones, and every place that a piece may take in such a word.

    Attributes:
        words: of each, its pieces and phones.
        slots: (piece k, first phone i, end j).
        ids: int64 [slots, words]: which piece with which phones that is.
    """

    words: list[Cut]
    slots: list[tuple[int, int, int]]
    ids: np.ndarray

    def expected(self, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior probability of each slot, [slots, words], and the words' log-likelihoods, by forward-backward."""
        n, m = len(self.words[0][0]), len(self.words[0][1])
        p = prob[self.ids]
        forward, backward = np.zeros((2, n + 1, m + 1, len(self.words)))
        forward[0, 0] = backward[n, m] = 1.0
        for s, (k, i, j) in enumerate(self.slots):
            forward[k + 1, j] += forward[k, i] * p[s]
        for s, (k, i, j) in reversed(list(enumerate(self.slots))):
            backward[k, i] += p[s] * backward[k + 1, j]
        total = np.maximum(forward[n, m], 1e-300)
        return np.stack([forward[k, i] * p[s] * backward[k + 1, j] / total
                         for s, (k, i, j) in enumerate(self.slots)]), np.log(total)


def learn(words: Iterable[Cut], iterations: int = 8) -> tuple[Prons, list[float]]:
    """p(phones | piece) from words and their phones.

    Args:
        words: those with fewer phones than pieces are left out.
        iterations: of EM, from all divisions equally likely.

    Returns:
        piece → {phones: probability}, and the log-likelihood per word before each iteration but the first.
    """
    groups, owner, spans = _groups(words)
    prob = np.ones(len(owner))
    likelihood = []
    for _ in range(iterations):
        counts, total = np.zeros(len(owner)), 0.0
        for group in groups:
            posterior, loglike = group.expected(prob)
            counts += np.bincount(group.ids.ravel(), posterior.ravel(), minlength=len(owner))
            total += float(loglike.sum())
        likelihood.append(total / max(sum(len(g.words) for g in groups), 1))
        prob = counts / np.bincount(owner, counts)[owner]
    prons: Prons = defaultdict(dict)
    for (piece, phones), p in zip(spans, prob.tolist(), strict=True):
        prons[piece][phones] = p
    return dict(prons), likelihood[1:]


def _groups(words: Iterable[Cut]):
    """The words by numbers of pieces and phones; of each piece with phones that occurs the piece's number, and both."""
    by_size: dict[tuple[int, int], list[Cut]] = defaultdict(list)
    numbers: tuple[dict[str, int], dict[str, int]] = {}, {}
    for pieces, phones in words:
        if len(pieces) <= len(phones):
            by_size[len(pieces), len(phones)].append((pieces, phones))
            for table, symbols in zip(numbers, (pieces, phones), strict=True):
                for symbol in symbols:
                    table.setdefault(symbol, len(table) + 1)
    groups, keys = [], []
    for (n, m), mine in sorted(by_size.items()):
        slots = [(k, i, j) for k in range(n) for i in range(k, m - (n - k) + 1) for j in range(i + 1, m - (n - k) + 2)
                 if (k > 0 or i == 0) and (k < n - 1 or j == m)]
        piece = np.array([[numbers[0][x] for x in pieces] for pieces, _ in mine], np.uint64)
        phone = np.array([[numbers[1][x] for x in phones] for _, phones in mine], np.uint64)
        keys.append(np.stack([_hashed(piece[:, k], phone[:, i:j]) for k, i, j in slots]))
        groups.append(_Group(mine, slots, keys[-1]))
    if not groups:
        return [], np.zeros(0, np.int64), []
    _, first, inverse = np.unique(np.concatenate([k.ravel() for k in keys]), return_index=True, return_inverse=True)
    at = np.cumsum([0] + [k.size for k in keys])
    for group, begin in zip(groups, at, strict=False):
        group.ids = inverse[begin:begin + group.ids.size].reshape(group.ids.shape)
    spans = []
    for where in first.tolist():
        g = int(np.searchsorted(at, where, side="right")) - 1
        slot, word = divmod(where - int(at[g]), len(groups[g].words))
        (k, i, j), (pieces, phones) = groups[g].slots[slot], groups[g].words[word]
        spans.append((pieces[k], phones[i:j]))
    return groups, np.array([numbers[0][piece] for piece, _ in spans]), spans


def _hashed(piece: np.ndarray, phones: np.ndarray) -> np.ndarray:
    """A number of 64 bits for each piece, [W], with its phones, [W, L]; they meet by chance once in 2^64 pairs."""
    out = piece * _ODD
    for column in phones.T:
        out = (out ^ (out >> np.uint64(29))) * _ODD + column
    return (out ^ (out >> np.uint64(32))) * _ODD + np.uint64(phones.shape[1])


def complete(prons: Prons, symbols: Iterable[str], letters: list[tuple[str, str]]) -> Prons:
    """Pronunciations for symbols that no word of the dictionary had: those of the same letters in another place of a
    word, or else their letters' most likely ones in a row; symbols that have neither are left out."""
    by_letters: dict[str, list[str]] = defaultdict(list)
    for symbol in prons:
        by_letters[symbol.strip(MARK)].append(symbol)
    out = dict(prons)
    for letter, symbol in letters:  # first the letters, which the others may need
        if symbol not in out and by_letters[letter]:
            out[symbol] = _mixture([prons[s] for s in by_letters[letter]])
    for symbol in symbols:
        text = symbol.strip(MARK)
        if symbol in out or not text:
            continue
        if by_letters[text]:
            out[symbol] = _mixture([prons[s] for s in by_letters[text]])
        elif all(c in out for c in text):
            out[symbol] = {tuple(p for c in text for p in max((prob, q) for q, prob in out[c].items())[1]): 1.0}
    return out


def _mixture(distributions: list[dict]) -> dict:
    out: dict = defaultdict(float)
    for d in distributions:
        for phones, p in d.items():
            out[phones] += p / len(distributions)
    return dict(out)


def likely(prons: Prons, least: float, most: int) -> Prons:
    """Of each piece the pronunciations at least ``least`` times as likely as its likeliest, ``most`` of them; their
    probabilities sum to 1 again."""
    out = {}
    for piece, distribution in prons.items():
        best = sorted(distribution.items(), key=lambda x: (-x[1], x[0]))[:most]
        kept = {phones: p for phones, p in best if p >= least * best[0][1]}
        out[piece] = {phones: p / sum(kept.values()) for phones, p in kept.items()}
    return out


def prepare_piece_dict(dict_dir, model, out, *, least: float = 0.02, most: int = 16) -> None:
    """Write the dictionary folder ``out``, with the pieces of words in the place of words.

    Args:
        dict_dir: a dictionary of words; phones and questions stay as they are, so that its acoustic models fit.
        model: the sentencepiece model, which is put into the folder.
        least, most: see :func:`likely`.

    Raises:
        UserError: a file is missing or damaged, or no word of the dictionary can be cut.
    """
    dict_dir, model, out = Path(dict_dir), Path(model), Path(out)
    if not 0 < least <= 1 or most < 1:
        raise UserError("--least must lie above 0, up to 1, --most be 1 or more", hint="correct the values")
    stage = Stage(out, "piece_dict", inputs=[dict_dir, model], settings=[least, most])
    if stage.is_done():
        return
    dictionary, pieces = Dictionary.load(dict_dir), Pieces(model)
    special = [e for e in dictionary.entries if set(e[2]) <= set(dictionary.silence)]
    known = {e[0] for e in special}  # words, whatever their names look like
    special = [(w if is_whole(w) else f"{MARK}{w}{MARK}", p, phones) for w, p, phones in special]
    cut = [(pieces.cut(word), phones) for word, _, phones in dictionary.entries if word not in known]
    cut = [(symbols, phones) for symbols, phones in cut if MARK in symbols[0]]  # else it has letters of its own
    if not cut:
        raise UserError("no word of it can be cut into these pieces", file=dict_dir / "lexiconp.txt",
                        hint="train the pieces on text in the spelling of the dictionary")
    symbols = sorted({s for word, _ in cut for s in word} | {s for _, s in pieces.single_letters()})
    if is_graphemic(dictionary):
        prons = {s: {phones: 1.0} for s in symbols if (phones := spelled(s.strip(MARK)))}
        how = "spelled"
    else:
        prons, likelihood = learn(cut)
        prons = likely(complete(prons, symbols, pieces.single_letters()), least, most)
        how = f"learned, {likelihood[-1] - likelihood[0]:.1f} log-likelihood per word gained"
    if silent := [s for s in symbols if s not in prons]:
        warn(f"{model}: {len(silent)} pieces have no pronunciation and are left out: {' '.join(silent[:5])}")
    entries = special + [(s, max(round(p, 6), 1e-6), phones) for s in prons for phones, p in prons[s].items()]
    old = dictionary.silence_model
    silence = old and SilenceModel(old.start, old.end_silence, old.end_none, old.overall)
    dataclasses.replace(dictionary, entries=sorted(entries), silence_model=silence).write(out)
    config.copy_file(model, out / MODEL)
    stage.mark(outputs=[p for p in sorted(out.iterdir()) if p.is_file() and not p.name.startswith(".")])
    say(f"{out}: {len(prons)} pieces in their places, {len(entries) - len(special)} pronunciations, {how}")


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="local/prepare_piece_dict.sh", description="A dictionary of pieces of words: "
                                     "their pronunciations are learned from a dictionary of words.")
    parser.add_argument("--dict", required=True, help="dictionary folder of the words")
    parser.add_argument("--pieces", required=True, help="pieces.model, from local/train_pieces.sh")
    parser.add_argument("--out", required=True, help="the folder to write")
    parser.add_argument("--least", type=float, default=0.02, help="leave out pronunciations less likely than so many "
                        "times the piece's likeliest (default: %(default)s)")
    parser.add_argument("--most", type=int, default=16, help="pronunciations of a piece (default: %(default)s)")
    args = parser.parse_args(argv)
    prepare_piece_dict(args.dict, args.pieces, args.out, least=args.least, most=args.most)


if __name__ == "__main__":
    main()
