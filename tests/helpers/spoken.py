"""Makes an alignment folder with known words: random paths through the HMMs of a lexicon, with or without marks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.random_hmms import random_path, random_transitions, random_tree, reordered
from lstmp import config
from lstmp.corpus.lang import Lang
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.gmm.align import write_states
from lstmp.gmm.model import AcousticModel

LEXICON = "RED R E D\nREAD R E D\nREAD R I D\nA A\nDARE D A R E\nAID A I D\nIDA I D A\nARE A R\nOR R\nI I\n"


@dataclass
class Spoken:
    """Folders, and for each utterance its alignment and its words as (word, first frame, length)."""

    lang_dir: Path
    data: Path
    ali: Path
    lang: Lang
    alignment: dict[str, np.ndarray]
    words: dict[str, list[tuple[str, int, int]]]


def make(folder: Path, marks: bool = True, utts: int = 12, seed: int = 0, shift: float = 0.01) -> Spoken:
    """Write dict, lang, text and alignment below ``folder``; ``shift`` is the frame shift in seconds."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    (folder / "lexicon.txt").write_text(LEXICON)
    prepare_dict(folder / "lexicon.txt", folder / "dict")
    prepare_lang(folder / "dict", folder / "lang", sil_prob=0.5)
    if not marks:
        without_marks(folder / "lang")
    lang = Lang.load(folder / "lang")
    tree = random_tree(lang, rng)
    transitions = random_transitions(lang, tree, rng)
    known = [w for w in lang.lexicon if lang.word_names[w] not in ("<UNK>", "!SIL")]
    alignment, words, text = {}, {}, {}
    for n in range(utts):
        utt, phones, owner = f"s{n % 2}-{n:02d}", [], []
        spoken = rng.choice(known, 1 + n % 5).tolist()
        for k, word in enumerate(spoken):
            if rng.random() < 0.5:
                phones, owner = [*phones, lang.optional_silence], [*owner, -1]
            prons = lang.lexicon[word]
            pron = prons[int(rng.integers(len(prons)))][1]
            phones, owner = [*phones, *pron], [*owner, *[k] * len(pron)]
        if n % 2:
            phones, owner = [*phones, lang.optional_silence], [*owner, -1]
        walks = random_path(phones, transitions, tree, rng)
        of_frame = np.repeat(owner, [len(w) for w in walks])
        alignment[utt] = np.array(reordered([t for w in walks for t in w], transitions), dtype=np.int32)
        words[utt] = [(lang.word_names[w], int(np.flatnonzero(of_frame == k)[0]), int((of_frame == k).sum()))
                      for k, w in enumerate(spoken)]
        text[utt] = " ".join(lang.word_names[w] for w in spoken)
    (folder / "data").mkdir()
    config.write_text(folder / "data" / "text", "".join(f"{u} {text[u]}\n" for u in sorted(text)))
    write_states(folder / "ali", alignment, transitions, lang.phone_names, shift)
    AcousticModel(transitions, tree, None, None).save(folder / "ali")
    return Spoken(folder / "lang", folder / "data", folder / "ali", lang, alignment, words)


def without_marks(lang_dir: Path):
    """Replace every marked phone of the lexicon by its word-internal form, so that marks give no positions."""
    path = lang_dir / "lexiconp.txt"
    lines = []
    for line in path.read_text().splitlines():
        word, prob, *phones = line.split()
        lines.append(" ".join([word, prob, *(p[:-1] + "I" if p[-2:] in ("_B", "_E", "_S") else p for p in phones)]))
    path.write_text("\n".join(lines) + "\n")
