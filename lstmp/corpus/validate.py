"""Checks data directories for everything that later stages rely on, and prints statistics.

Checks that the tables agree; that the audio of every utterance decodes to finite samples, is not silent, and has the
duration given in ``utt2dur``; that words are printable; that speakers are in the same order as their utterances; and
that no utterance is in two directories. Bad utterances are reported; more of them than ``--max-bad`` are an error.
Bandwidth and level of the audio are measured; a warning is logged if they differ from those of the first directory.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

from lstmp.corpus import bad
from lstmp.corpus.datadir import TABLES, DataDir, Utterance, read_data_dir
from lstmp.corpus.sound import Sound, measure, measured_subset, medians, read_sound, warn_about_differences, write_sound
from lstmp.corpus.textlines import odd_characters
from lstmp.corpus.utterance_audio import add_option, audio_stamps, check_commands, read_original, seconds_of
from lstmp.errors import UserError, command
from lstmp.log import progress, say, warn
from lstmp.stage import Stage

TOLERANCE = 0.02  # seconds by which a duration may differ from utt2dur
WORDS_PER_SECOND = 10  # nobody speaks faster; beyond it the transcript belongs to another file


def check_utterance(utt: Utterance, duration: float | None, measured: bool, quick: bool,
                    allow_commands: bool = False) -> tuple[float, Sound | None, UserError | None]:
    """Check one utterance.

    Args:
        duration: seconds according to ``utt2dur``, or None.
        measured: measure bandwidth and level.
        quick: read only the header and the last samples, and measure nothing.

    Returns:
        seconds of audio, bandwidth and level (or None), and the error (or None).
    """
    sound = None
    try:
        if not utt.wav:  # there are features instead of audio
            seconds = duration or 0.0
        elif quick:
            seconds = seconds_of(utt, allow_commands)
        else:
            samples, rate = read_original(utt, allow_commands)
            seconds = len(samples) / rate
            if not samples.any():
                raise UserError("silent: every sample is zero", file=utt.wav, hint="leave the utterance out")
            sound = measure(samples, rate) if measured else None
        if duration is not None and abs(seconds - duration) > TOLERANCE:
            raise UserError(f"{seconds:.3f} s long, but utt2dur says {duration:.3f}", file=utt.wav,
                            hint="the file was changed; run stage 1 again")
        if seconds and len(utt.words) > 3 and len(utt.words) > WORDS_PER_SECOND * seconds:
            raise UserError(f"{len(utt.words)} words in {seconds:.2f} s", file=utt.wav,
                            hint="its transcript belongs to another file; fix it or leave the utterance out")
    except UserError as e:
        return 0.0, None, e
    odd = odd_characters(utt.words)
    if odd:
        return 0.0, None, UserError(f"`{utt.id}` has {', '.join(odd)} in its transcript", hint="replace it in text")
    return seconds, sound, None


def check_order(data: DataDir):
    """Warn if speakers are not sorted when utterances are: Kaldi's tools require it, ours do not."""
    for first, second in pairwise(data.utts.values()):
        if first.speaker > second.speaker:
            warn(f"{data.path}: `{second.id}` of `{second.speaker}` comes after `{first.id}` of `{first.speaker}`; "
                 "Kaldi's own tools require ids that begin with the speaker")
            return


def validate(path, *, max_bad: float, quick: bool, nj: int, allow_commands: bool = False) -> dict[str, float | None]:
    """Check one data directory, and write bandwidth and level of its audio to ``sound.json``.

    Returns:
        statistics: utterances, hours, speakers, words, vocabulary, shortest and longest seconds, bandwidth in kHz and
        level in dB of full scale (None where they were not measured), bad.

    Raises:
        UserError: a table is malformed, tables disagree, or more utterances are bad than ``max_bad`` allows.
    """
    data = _read(path)
    check_commands(data, allow_commands)
    check_order(data)
    bad_utts = bad.BadUtterances(data.path, max_bad)
    utts = list(data.utts.values())
    seconds, sounds = {}, []
    with ProcessPoolExecutor(nj) as pool:
        check = partial(check_utterance, quick=quick, allow_commands=allow_commands)
        results = pool.map(check, utts, [data.durations.get(u.id) for u in utts], measured_subset(len(utts)),
                           chunksize=max(1, min(32, len(utts) // (4 * nj))))
        for utt, (length, sound, error) in zip(utts, progress(results, f"checking {path}", total=len(utts)),
                                               strict=True):
            if error is None:
                seconds[utt.id] = length
                sounds += [sound] if sound else []
            else:
                bad_utts.add(utt.id, error)
    bad_utts.check(len(utts))
    good = [u for u in utts if u.id in seconds]
    if not good:
        raise UserError("no valid utterance", file=path, hint="fix the data directory")
    median_sound = medians(sounds)
    write_sound(path, median_sound)
    return {"utterances": len(good), "hours": sum(seconds.values()) / 3600, "speakers": len({u.speaker for u in good}),
            "words": sum(len(u.words) for u in good), "vocabulary": len({w for u in good for w in u.words}),
            "shortest": min(seconds.values()), "longest": max(seconds.values()),
            "kHz": median_sound and median_sound.bandwidth / 1000, "dBFS": median_sound and median_sound.level,
            "bad": len(bad_utts)}


def check_disjoint(paths: list[Path]):
    """Check that no utterance is in two of the data directories.

    Raises:
        UserError: an utterance is.
    """
    where: dict[str, Path] = {}
    for path in paths:
        for utt in read_data_dir(path, need=("utt2spk",)).utts:
            if utt in where:
                raise UserError(f"`{utt}` is also in {where[utt]}", file=path / "utt2spk",
                                hint="training and test sets must not share utterances")
            where[utt] = path


def table(rows: dict[str, dict[str, float | None]]) -> str:
    """Format the statistics as a table: one row per directory."""
    columns = list(next(iter(rows.values())))
    formats = {"hours": "{:.3f}", "shortest": "{:.2f}", "longest": "{:.2f}", "kHz": "{:.1f}", "dBFS": "{:.1f}"}
    cells = [["set", *columns]] + [[name, *("–" if row[c] is None else formats.get(c, "{}").format(row[c])
                                            for c in columns)] for name, row in rows.items()]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for name, *figures in cells:
        aligned = [c.rjust(w) for c, w in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned]))
    return "\n".join(lines)


def _read(path: Path) -> DataDir:
    """Read a data directory. Audio may be absent only if there are features instead."""
    given = any((path / name).is_file() for name in ("feats.scp", "given.txt"))
    return read_data_dir(path, need=("text", "utt2spk") if given else ("wav.scp", "text", "utt2spk"))


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="local/validate_data_dir.sh", description=__doc__.split("\n\n")[0])
    p.add_argument("data", type=Path, nargs="+", help="data directories; they must not share utterances")
    p.add_argument("--quick", action="store_true", help="read headers and last samples only, do not decode all audio")
    p.add_argument("--nj", type=int, default=2, help="number of processes (default: 2)")
    bad.add_option(p)
    add_option(p)
    a = p.parse_args(argv)
    if a.nj < 1:
        raise UserError("--nj must be 1 or more", hint="correct the value")
    rows = {}
    for path in a.data:
        audio = audio_stamps(_read(path).utts.values())
        stage = Stage(path, "validated", inputs=[path / name for name in TABLES],
                      settings={"quick": a.quick, "max_bad": a.max_bad, "audio": audio}, version=3)
        if not stage.is_done():
            rows[path.name] = validate(path, max_bad=a.max_bad, quick=a.quick, nj=a.nj,
                                       allow_commands=a.allow_commands)
            stage.mark([path / name for name in ("wav.scp", "text", "utt2spk", "sound.json") if (path / name).exists()])
    check_disjoint(a.data)
    if rows:
        say("checked\n" + table(rows))
    if read_sound(a.data[0]):
        warn_about_differences([(path.name, sound) for path in a.data if (sound := read_sound(path))])


if __name__ == "__main__":
    main()
