"""Synthesizes the corpus ``tiny``: about 60 espeak-ng voices speak sentences of a small grammar.

Writes the data directories ``<out>/{train,dev,test}``, the audio below ``<out>/audio/<split>/``, and
``<out>/local/{lexicon.txt,lm_text.txt}``. With it the whole recipe runs in minutes without a download. Its word error
rates show that the recipe works, not how well it recognizes people.
"""

import argparse
import time
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.corpus.audio import RATE, write_wav
from lstmp.corpus.datadir import Utterance, write_data_dir
from lstmp.corpus.espeak import Espeak
from lstmp.corpus.librispeech import summary
from lstmp.corpus.synth_lexicon import lexicon
from lstmp.corpus.synth_text import sentences, vocabulary
from lstmp.corpus.synth_voice import Voice, assign_voices, max_voices, render
from lstmp.errors import UserError, command
from lstmp.log import progress, say
from lstmp.stage import Stage

SPLITS = ("train", "dev", "test")


def plan_utterances(out: Path, seed: int, utts: dict[str, int], voices: dict[str, int]):
    """Assign sentences to voices: split → [(voice, its utterances)]. Dev and test sentences occur in no other split."""
    drawn = sentences(seed, sum(utts.values()))
    split_voices = assign_voices(seed, voices["train"], voices["dev"], voices["test"])
    plans: dict[str, list[tuple[Voice, list[Utterance]]]] = {}
    start = 0
    for split in SPLITS:
        said = drawn[start:start + utts[split]]
        start += utts[split]
        plans[split] = []
        for k, voice in enumerate(split_voices[split]):
            ids = [f"{voice.name}-{n:04d}" for n in range(k, len(said), len(split_voices[split]))]
            plans[split].append((voice, [
                Utterance(utt, voice.name, str(out / "audio" / split / f"{utt}.wav"), tuple(w.upper() for w in words))
                for utt, words in zip(ids, said[k::len(split_voices[split])], strict=True)]))
    return plans


def spoken(utt: Utterance) -> list[str]:
    """The words as in the grammar, in lower case except for `I`, since espeak may spell out words in capitals."""
    return [w if w == "I" else w.lower() for w in utt.words]


def speak_voice(task: tuple[Voice, list[Utterance], int]) -> dict[str, float]:
    """Synthesize the utterances of one voice in order; runs in a fresh process. Returns utterance id → seconds."""
    voice, utts, seed = task
    espeak = Espeak()
    seconds = {}
    for utt in utts:
        rng = np.random.default_rng((seed, 2, *utt.id.encode()))
        samples = render(espeak, " ".join(spoken(utt)), voice, rng)
        write_wav(utt.wav, samples)
        seconds[utt.id] = len(samples) / RATE
    return seconds


def make(out: Path, *, seed: int, utts: dict[str, int], voices: dict[str, int], lm_sentences: int, nj: int):
    """Make the corpus; skipped if already done.

    Args:
        out: folder to write to.
        seed: the same seed gives the same bytes, whatever ``nj`` is.
        utts: number of utterances of each split.
        voices: number of voices of each split; no voice is in two splits.
        lm_sentences: number of sentences for training the language model; none of them occurs in dev or test.
        nj: number of processes.

    Raises:
        UserError: there are not that many voices, a split has no utterance, or the disk is full.
    """
    if sum(voices.values()) > max_voices():
        raise UserError(f"{sum(voices.values())} voices, but there are {max_voices()}", hint="ask for fewer")
    for split in SPLITS:
        if not 1 <= voices[split] <= utts[split]:
            raise UserError(f"{utts[split]} utterances by {voices[split]} voices in {split}",
                            hint="each split needs a voice, and each voice an utterance")
    code = [Path(__file__).with_name(f"synth{part}.py") for part in ("", "_text", "_voice", "_lexicon")]
    stage = Stage(out, "synth", inputs=code, settings={
        "out": str(out), "seed": seed, "utts": utts, "voices": voices, "lm": lm_sentences,
        "espeak": metadata.version("espeakng-loader")})
    if stage.is_done():
        return
    start = time.monotonic()
    plans = plan_utterances(out, seed, utts, voices)
    seconds: dict[str, float] = {}
    tasks = [(voice, said, seed) for split in SPLITS for voice, said in plans[split]]
    # This process never calls espeak-ng, so each forked process starts with the same state of the library.
    with get_context("fork").Pool(nj, maxtasksperchild=1) as pool:
        for done in progress(pool.imap(speak_voice, tasks, chunksize=1), "voices", total=len(tasks), unit="voice"):
            seconds.update(done)
        entries = pool.apply(lexicon, (vocabulary(),))
    config.write_text(out / "local" / "lexicon.txt", "".join(f"{line}\n" for line in entries))
    held_out = {tuple(spoken(u)) for split in ("dev", "test") for _, said in plans[split] for u in said}
    text = sentences(seed + 1_000_003, lm_sentences, avoid=held_out, unique=False)
    config.write_text(out / "local" / "lm_text.txt", "".join(" ".join(words).upper() + "\n" for words in text))
    outputs = [out / "local" / "lexicon.txt", out / "local" / "lm_text.txt"]
    for split in SPLITS:
        said = [u for _, part in plans[split] for u in part]
        write_data_dir(out / split, said, {u.id: seconds[u.id] for u in said})
        outputs += [out / split / name for name in ("wav.scp", "text", "utt2spk", "spk2utt", "utt2dur")]
        outputs += [Path(u.wav) for u in said]
        for path in {*(out / "audio" / split).glob("*.wav")} - {Path(u.wav) for u in said}:
            path.unlink()  # left over from another seed or more utterances
        say(f"{out / split}: {summary(said, seconds)}")
    stage.mark(outputs)
    say(f"{out}: {len(vocabulary())} different words, {len(entries)} pronunciations, {lm_sentences} sentences of text, "
        f"{time.monotonic() - start:.1f} s")


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="local/prepare_tiny.sh", description=__doc__,
                                formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("data/tiny"), help="folder to write to (default: data/tiny)")
    p.add_argument("--seed", type=int, default=1, help="the same seed gives the same bytes (default: 1)")
    for split, n, v in (("train", 700, 44), ("dev", 100, 8), ("test", 100, 8)):
        p.add_argument(f"--{split}", type=int, default=n, metavar="N", help=f"utterances in {split} (default: {n})")
        p.add_argument(f"--{split}-voices", type=int, default=v, metavar="N", help=f"voices in {split} (default: {v})")
    p.add_argument("--lm-sentences", type=int, default=8000, metavar="N",
                   help="number of sentences of text for the language model (default: 8000)")
    p.add_argument("--nj", type=int, default=2, help="number of processes (default: 2)")
    a = p.parse_args(argv)
    if a.nj < 1 or a.lm_sentences < 1 or a.seed < 0:
        raise UserError("--nj and --lm-sentences must be 1 or more, --seed 0 or more", hint="correct the value")
    make(a.out.absolute(), seed=a.seed, utts={s: getattr(a, s) for s in SPLITS},
         voices={s: getattr(a, f"{s}_voices") for s in SPLITS}, lm_sentences=a.lm_sentences, nj=a.nj)


if __name__ == "__main__":
    main()
