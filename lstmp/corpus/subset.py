"""Selects a subset of a data directory: first, shortest or listed utterances, or a held-out part.

A held-out part has some utterances of every speaker, or all of some speakers.
"""

import argparse
import hashlib
from collections.abc import Iterable
from pathlib import Path

from lstmp import config
from lstmp.corpus.datadir import (
    TABLES,
    DataDir,
    Utterance,
    by_speaker,
    read_data_dir,
    read_lines,
    read_table,
    write_data_dir,
    write_table,
)
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.stage import Stage

# Optional files of a data directory, by their first column. CMVN statistics remain those of all data of the speaker.
PER_UTTERANCE = ("feats.scp", "utt2num_frames")
PER_SPEAKER = ("cmvn.scp", "spk2gender")


def spread(speakers: dict[str, list[str]], n: int) -> set[str]:
    """Select ``n`` utterances over all speakers: first one of each, then in proportion to their numbers of utterances.

    The choice depends on hashes of the ids only, so it is the same on every machine.
    """
    order = []
    for utts in speakers.values():
        for rank, utt in enumerate(by_hash(utts)):
            order.append((0.0 if rank == 0 else (rank + 0.5) / len(utts), _hash(utt), utt))
    return {utt for _, _, utt in sorted(order)[:n]}


def at_most(utts: list[Utterance], n: int | None) -> list[Utterance]:
    """Select at most ``n`` utterances, :func:`spread` over all speakers; None selects all."""
    if n is None or n >= len(utts):
        return utts
    chosen = spread(by_speaker(utts), n)
    return [u for u in utts if u.id in chosen]


def by_hash(utts: Iterable[str]) -> list[str]:
    """Sort utterance ids by their hashes: an arbitrary but reproducible order."""
    return sorted(utts, key=lambda u: (_hash(u), u))


def _hash(utt: str) -> bytes:
    return hashlib.blake2b(utt.encode(), digest_size=8).digest()


def first(data: DataDir, n: int) -> set[str]:
    """Select the first ``n`` utterances by id."""
    return set(list(data.utts)[:n])


def shortest(data: DataDir, n: int) -> set[str]:
    """Select the ``n`` shortest utterances by ``utt2dur``, as Kaldi does for the flat start.

    Raises:
        UserError: the directory has no ``utt2dur``.
    """
    if not data.durations:
        raise UserError("no durations to choose the shortest by", file=data.path / "utt2dur", hint="run stage 1 again")
    return set(sorted(data.utts, key=lambda u: (data.durations[u], u))[:n])


def per_speaker(data: DataDir, n: int) -> set[str]:
    """Select ``n`` utterances of every speaker, or all of a speaker's if there are fewer."""
    return {utt for utts in data.speakers.values() for utt in by_hash(utts)[:n]}


def listed(data: DataDir, path) -> set[str]:
    """Select the utterances listed in the first column of a file, one per line.

    Raises:
        UserError: a listed utterance is not in the directory, a line contains several, or the list is empty.
    """
    chosen = set()
    for number, line in enumerate(read_lines(path), 1):
        if line.split():
            utt, *more = line.split()
            if other := next((x for x in more if x in data.utts and x != utt), None):
                raise UserError(f"`{utt}` and `{other}` in one line", file=path, line=number,
                                hint="write one utterance id per line")
            if utt not in data.utts:
                raise UserError(f"`{utt}` is not in {data.path}", file=path, line=number, hint="correct the list")
            chosen.add(utt)
    if not chosen:
        raise UserError("no utterance is listed", file=path, hint="write one utterance id per line")
    return chosen


def held_out(data: DataDir, amount: float) -> set[str]:
    """Select utterances of every speaker for a held-out set: at least one of each speaker, never all of them.

    Args:
        amount: a fraction of all utterances (below 1) or their number; at least one per speaker is selected.

    Raises:
        UserError: no speaker has two utterances, or ``amount`` is too large.
    """
    speakers = {s: by_hash(utts)[:-1] for s, utts in data.speakers.items() if len(utts) > 1}
    available = sum(map(len, speakers.values()))
    n = max(len(speakers), int(amount) if amount >= 1 else round(amount * len(data.utts)))
    if not speakers or n > available:
        raise UserError(f"{n} utterances cannot be held out of {len(data.utts)} with one of each speaker kept",
                        file=data.path, hint="hold out fewer")
    return spread(speakers, n)


def held_out_speakers(data: DataDir, n: int) -> set[str]:
    """Select all utterances of ``n`` speakers, the first by the hashes of their ids.

    Raises:
        UserError: no speaker would be left.
    """
    if n >= len(data.speakers):
        raise UserError(f"{n} speakers cannot be held out of {len(data.speakers)}", file=data.path,
                        hint="hold out fewer, or a share of each speaker's utterances")
    return {utt for speaker in by_hash(data.speakers)[:n] for utt in data.speakers[speaker]}


def write_subset(data: DataDir, chosen: set[str], out):
    """Write the data directory ``out`` with the ``chosen`` utterances of ``data``, including their features."""
    out = Path(out)
    if not chosen:
        raise UserError("the subset has no utterance", file=out, hint="ask for at least one")
    utts = [data.utts[u] for u in data.utts if u in chosen]
    write_data_dir(out, utts, data.durations or None)
    speakers = {u.speaker for u in utts}
    about = data.path / "feats.json"
    if about.is_file():
        config.copy_file(about, out / about.name)
    else:
        (out / about.name).unlink(missing_ok=True)
    for names, keys in ((PER_UTTERANCE, chosen), (PER_SPEAKER, speakers)):
        for name in names:
            if not (data.path / name).exists():
                (out / name).unlink(missing_ok=True)
                continue
            table = {k: v for k, v in read_table(data.path / name).items() if k in keys}
            if name in PER_SPEAKER and len(table) < len(keys):
                raise UserError(f"speaker `{min(keys - set(table))}` is missing", file=data.path / name,
                                hint="run the features stage again")
            write_table(out / name, table)


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/subset_data_dir.sh", description=__doc__)
    p.add_argument("data", type=Path, help="data directory to read")
    p.add_argument("out", type=Path, help="data directory to write")
    choice = p.add_mutually_exclusive_group(required=True)
    choice.add_argument("--first", type=int, metavar="N", help="the first N utterances")
    choice.add_argument("--shortest", type=int, metavar="N", help="the N shortest utterances")
    choice.add_argument("--spread", type=int, metavar="N", help="N utterances, spread over all speakers")
    choice.add_argument("--per-speaker", type=int, metavar="N", help="N utterances of every speaker")
    choice.add_argument("--utts", type=Path, metavar="FILE", help="the utterances listed in FILE, first column")
    choice.add_argument("--held-out", type=float, metavar="N|F",
                        help="a number or fraction of all utterances, some of every speaker")
    choice.add_argument("--held-out-speakers", type=int, metavar="N", help="all utterances of N speakers")
    p.add_argument("--rest", type=Path, metavar="DIR", help="write the remaining utterances to this data directory")
    a = p.parse_args(argv)
    ways = ("first", "shortest", "spread", "per_speaker", "held_out", "held_out_speakers", "utts")
    mode = [k for k in ways if getattr(a, k) is not None]
    asked = getattr(a, mode[0])
    if not isinstance(asked, Path) and not 0 < asked < float("inf"):
        raise UserError(f"cannot choose {asked} utterances", hint="ask for more than 0")
    names = (*TABLES, "feats.json", *PER_UTTERANCE, *PER_SPEAKER)
    stage = Stage(a.out, "subset", inputs=[a.data / n for n in names] + ([a.utts] if a.utts else []),
                  settings={"how": mode, "asked": str(asked), "rest": str(a.rest)})
    if stage.is_done():
        return
    data = read_data_dir(a.data)
    if a.utts:
        chosen = listed(data, a.utts)
    elif a.held_out is not None:
        chosen = held_out(data, a.held_out)
    elif a.spread is not None:
        chosen = spread(data.speakers, a.spread)
    else:
        choose = {"first": first, "shortest": shortest, "per_speaker": per_speaker,
                  "held_out_speakers": held_out_speakers}[mode[0]]
        chosen = choose(data, asked)
    write_subset(data, chosen, a.out)
    if a.rest:
        write_subset(data, set(data.utts) - chosen, a.rest)
    stage.mark(p for out in (a.out, a.rest) if out for name in names if (p := out / name).exists())
    say(f"{a.out}: {len(chosen)} of {len(data.utts)} utterances")


if __name__ == "__main__":
    main()
