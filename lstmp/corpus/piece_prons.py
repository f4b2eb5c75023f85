"""Learns the pronunciations of pieces of words from a dictionary of words that are cut into the same pieces.

The phones of a word are divided among its pieces, in order, with at least one phone per piece. EM over all words
estimates the probability p(q | Π) that a piece Π has the phones q; the probability of a division is the product over
its pieces. This is a joint multigram with given letter side (S. Deligne, F. Yvon, F. Bimbot, "Variable-length sequence
matching for phonetic transcription using joint multigrams", Eurospeech 1995). If the phones of the dictionary are
letters, EM is not needed, since the letters of a piece are its phones.
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
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # multiplicative hash of a piece and its phones: golden ratio (Knuth), odd


@dataclasses.dataclass
class _Group:
    """The words with n pieces and m phones, and all segments of phones that a piece can have in such a word.

    Attributes:
        words: pieces and phones of each word.
        segments: (index k of the piece, first phone i, end j).
        ids: int64 [segments, words], the index of the pair of piece and phones.
    """

    words: list[Cut]
    segments: list[tuple[int, int, int]]
    ids: np.ndarray

    def expected(self, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute posteriors of the segments and log-likelihoods of the words by the forward-backward algorithm.

        Args:
            prob: p(phones | piece) of each pair of piece and phones.

        Returns:
            Posterior probabilities [segments, words] and log-likelihoods [words].
        """
        n, m = len(self.words[0][0]), len(self.words[0][1])
        p = prob[self.ids]
        forward, backward = np.zeros((2, n + 1, m + 1, len(self.words)))
        forward[0, 0] = backward[n, m] = 1.0
        for s, (k, i, j) in enumerate(self.segments):
            forward[k + 1, j] += forward[k, i] * p[s]
        for s, (k, i, j) in reversed(list(enumerate(self.segments))):
            backward[k, i] += p[s] * backward[k + 1, j]
        total = np.maximum(forward[n, m], 1e-300)
        return np.stack([forward[k, i] * p[s] * backward[k + 1, j] / total
                         for s, (k, i, j) in enumerate(self.segments)]), np.log(total)


def learn(words: Iterable[Cut], iterations: int = 8) -> tuple[Prons, list[float]]:
    """Estimate p(phones | piece) from words and their phones.

    Args:
        words: pieces and phones of each word; words with fewer phones than pieces are left out.
        iterations: number of EM iterations; at the start, all divisions have equal probability.

    Returns:
        piece → {phones: probability}; and the log-likelihood per word before each iteration except the first.
    """
    groups, piece_of, pairs = _groups(words)
    prob = np.ones(len(piece_of))
    likelihood = []
    for _ in range(iterations):
        counts, total = np.zeros(len(piece_of)), 0.0
        for group in groups:
            posterior, loglike = group.expected(prob)
            counts += np.bincount(group.ids.ravel(), posterior.ravel(), minlength=len(piece_of))
            total += float(loglike.sum())
        likelihood.append(total / max(sum(len(g.words) for g in groups), 1))
        prob = counts / np.bincount(piece_of, counts)[piece_of]
    prons: Prons = defaultdict(dict)
    for (piece, phones), p in zip(pairs, prob.tolist(), strict=True):
        prons[piece][phones] = p
    return dict(prons), likelihood[1:]


def _groups(words: Iterable[Cut]):
    """Group the words by their numbers of pieces and phones.

    Returns:
        The groups; and for each pair of piece and phones that occurs the number of the piece, and the pair.
    """
    by_size: dict[tuple[int, int], list[Cut]] = defaultdict(list)
    numbers: tuple[dict[str, int], dict[str, int]] = {}, {}
    for pieces, phones in words:
        if len(pieces) <= len(phones):
            by_size[len(pieces), len(phones)].append((pieces, phones))
            for table, symbols in zip(numbers, (pieces, phones), strict=True):
                for symbol in symbols:
                    table.setdefault(symbol, len(table) + 1)
    groups, keys = [], []
    for (n, m), cuts in sorted(by_size.items()):
        segments = [(k, i, j) for k in range(n) for i in range(k, m - (n - k) + 1)
                    for j in range(i + 1, m - (n - k) + 2) if (k > 0 or i == 0) and (k < n - 1 or j == m)]
        piece = np.array([[numbers[0][x] for x in pieces] for pieces, _ in cuts], np.uint64)
        phone = np.array([[numbers[1][x] for x in phones] for _, phones in cuts], np.uint64)
        keys.append(np.stack([_hashed(piece[:, k], phone[:, i:j]) for k, i, j in segments]))
        groups.append(_Group(cuts, segments, keys[-1]))
    if not groups:
        return [], np.zeros(0, np.int64), []
    _, first, inverse = np.unique(np.concatenate([k.ravel() for k in keys]), return_index=True, return_inverse=True)
    offsets = np.cumsum([0] + [k.size for k in keys])
    for group, begin in zip(groups, offsets, strict=False):
        group.ids = inverse[begin:begin + group.ids.size].reshape(group.ids.shape)
    pairs = []
    for position in first.tolist():
        g = int(np.searchsorted(offsets, position, side="right")) - 1
        segment, word = divmod(position - int(offsets[g]), len(groups[g].words))
        (k, i, j), (pieces, phones) = groups[g].segments[segment], groups[g].words[word]
        pairs.append((pieces[k], phones[i:j]))
    return groups, np.array([numbers[0][piece] for piece, _ in pairs]), pairs


def _hashed(piece: np.ndarray, phones: np.ndarray) -> np.ndarray:
    """Hash pieces, [W], with their phones, [W, L], to 64 bits; two pairs collide with a probability of 2^−64."""
    out = piece * _MULTIPLIER
    for column in phones.T:
        out = (out ^ (out >> np.uint64(29))) * _MULTIPLIER + column
    return (out ^ (out >> np.uint64(32))) * _MULTIPLIER + np.uint64(phones.shape[1])


def complete(prons: Prons, symbols: Iterable[str], letters: list[tuple[str, str]]) -> Prons:
    """Add pronunciations for symbols that occur in no word of the dictionary.

    A new symbol gets the pronunciations of the same letters at another position in the word. If there are none, it gets
    the concatenation of the most likely pronunciations of its letters. Symbols that have neither are left out.

    Args:
        prons: the learned pronunciations.
        symbols: all symbols that need pronunciations.
        letters: (letter, symbol) of each letter at each position, see :meth:`.Pieces.single_letters`.
    """
    by_letters: dict[str, list[str]] = defaultdict(list)
    for symbol in prons:
        by_letters[symbol.strip(MARK)].append(symbol)
    out = dict(prons)
    for letter, symbol in letters:  # the letters first, because longer symbols may need them
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


def prune_prons(prons: Prons, cutoff: float, max_prons: int) -> Prons:
    """Keep only the likely pronunciations of each piece, and renormalize their probabilities to a sum of 1.

    Args:
        prons: piece → {phones: probability}.
        cutoff: minimum probability, relative to the most likely pronunciation of the piece.
        max_prons: maximum number of pronunciations of a piece.
    """
    out = {}
    for piece, distribution in prons.items():
        best = sorted(distribution.items(), key=lambda x: (-x[1], x[0]))[:max_prons]
        kept = {phones: p for phones, p in best if p >= cutoff * best[0][1]}
        out[piece] = {phones: p / sum(kept.values()) for phones, p in kept.items()}
    return out


def prepare_piece_dict(dict_dir, model, out, *, cutoff: float = 0.02, max_prons: int = 16) -> None:
    """Write the dictionary folder ``out``, with pieces of words instead of words.

    Args:
        dict_dir: a dictionary of words; its phones and questions are copied unchanged, so that acoustic models trained
            with it can be used with the new dictionary.
        model: the sentencepiece model, which is copied into the folder.
        out: the dictionary folder to write.
        cutoff, max_prons: see :func:`prune_prons`.

    Raises:
        UserError: a file is missing or damaged, or no word of the dictionary can be cut into pieces.
    """
    dict_dir, model, out = Path(dict_dir), Path(model), Path(out)
    if not 0 < cutoff <= 1 or max_prons < 1:
        raise UserError("--least must be above 0 and at most 1, and --most must be 1 or more",
                        hint="correct the values")
    stage = Stage(out, "piece_dict", inputs=[dict_dir, model], settings=[cutoff, max_prons])
    if stage.is_done():
        return
    dictionary, pieces = Dictionary.load(dict_dir), Pieces(model)
    special = [e for e in dictionary.entries if set(e[2]) <= set(dictionary.silence)]
    special_words = {e[0] for e in special}  # these remain words even if they are not in brackets
    special = [(w if is_whole(w) else f"{MARK}{w}{MARK}", p, phones) for w, p, phones in special]
    cut = [(pieces.cut(word), phones) for word, _, phones in dictionary.entries if word not in special_words]
    cut = [(symbols, phones) for symbols, phones in cut if MARK in symbols[0]]  # others have unknown letters
    if not cut:
        raise UserError("no word of the dictionary can be cut into these pieces", file=dict_dir / "lexiconp.txt",
                        hint="train the pieces on text that has the spelling of the dictionary")
    symbols = sorted({s for word, _ in cut for s in word} | {s for _, s in pieces.single_letters()})
    if is_graphemic(dictionary):
        prons = {s: {phones: 1.0} for s in symbols if (phones := spelled(s.strip(MARK)))}
        method = "spelled"
    else:
        prons, likelihood = learn(cut)
        prons = prune_prons(complete(prons, symbols, pieces.single_letters()), cutoff, max_prons)
        method = f"learned, log-likelihood per word increased by {likelihood[-1] - likelihood[0]:.1f}"
    if left_out := [s for s in symbols if s not in prons]:
        warn(f"{model}: {len(left_out)} pieces have no pronunciation and are left out: {' '.join(left_out[:5])}")
    entries = special + [(s, max(round(p, 6), 1e-6), phones) for s in prons for phones, p in prons[s].items()]
    old = dictionary.silence_model
    silence = old and SilenceModel(old.start, old.end_silence, old.end_none, old.overall)
    dataclasses.replace(dictionary, entries=sorted(entries), silence_model=silence).write(out)
    config.copy_file(model, out / MODEL)
    stage.mark(outputs=[p for p in sorted(out.iterdir()) if p.is_file() and not p.name.startswith(".")])
    say(f"{out}: {len(prons)} position-dependent pieces, {len(entries) - len(special)} pronunciations, {method}")


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="local/prepare_piece_dict.sh", description="Make a dictionary of pieces of "
                                     "words; their pronunciations are learned from a dictionary of words.")
    parser.add_argument("--dict", required=True, help="dictionary folder of the words")
    parser.add_argument("--pieces", required=True, help="pieces.model, written by local/train_pieces.sh")
    parser.add_argument("--out", required=True, help="the dictionary folder to write")
    parser.add_argument("--least", type=float, default=0.02, help="minimum probability of a pronunciation, relative to "
                        "the most likely one of the piece (default: %(default)s)")
    parser.add_argument("--most", type=int, default=16, help="maximum number of pronunciations of a piece "
                        "(default: %(default)s)")
    args = parser.parse_args(argv)
    prepare_piece_dict(args.dict, args.pieces, args.out, cutoff=args.least, max_prons=args.most)


if __name__ == "__main__":
    main()
