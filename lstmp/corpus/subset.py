"""A part of a data directory: the first, the shortest, the listed utterances, or a held-out part of every speaker."""

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

# Files beside the four that every data directory has, by what their first column is. CMVN statistics stay those of
# the speaker's whole data.
PER_UTTERANCE = ("feats.scp", "utt2num_frames")
PER_SPEAKER = ("cmvn.scp", "spk2gender")


def spread(speakers: dict[str, list[str]], n: int) -> set[str]:
    """``n`` utterances over all speakers: one of each first, then in proportion to what each speaker has.

    The choice depends on the ids alone, by hash, so that it is the same on every machine.
    """
    order = []
    for utts in speakers.values():
        for rank, utt in enumerate(by_hash(utts)):
            order.append((0.0 if rank == 0 else (rank + 0.5) / len(utts), _hash(utt), utt))
    return {utt for _, _, utt in sorted(order)[:n]}


def at_most(utts: list[Utterance], n: int | None) -> list[Utterance]:
    """``n`` of the utterances, :func:`spread` over all speakers; all where there are no more, or ``n`` is None."""
    if n is None or n >= len(utts):
        return utts
    chosen = spread(by_speaker(utts), n)
    return [u for u in utts if u.id in chosen]


def by_hash(utts: Iterable[str]) -> list[str]:
    """Utterance ids in an order that is arbitrary but fixed."""
    return sorted(utts, key=lambda u: (_hash(u), u))


def _hash(utt: str) -> bytes:
    return hashlib.blake2b(utt.encode(), digest_size=8).digest()


def first(data: DataDir, n: int) -> set[str]:
    """The first ``n`` utterances by id."""
    return set(list(data.utts)[:n])


def shortest(data: DataDir, n: int) -> set[str]:
    """The ``n`` shortest utterances, by ``utt2dur``; Kaldi's flat start trains on such.

    Raises:
        UserError: the directory has no ``utt2dur``.
    """
    if not data.durations:
        raise UserError("no durations to choose the shortest by", file=data.path / "utt2dur", hint="run stage 1 again")
    return set(sorted(data.utts, key=lambda u: (data.durations[u], u))[:n])


def per_speaker(data: DataDir, n: int) -> set[str]:
    """``n`` utterances of every speaker, or all where there are fewer."""
    return {utt for utts in data.speakers.values() for utt in by_hash(utts)[:n]}


def listed(data: DataDir, path) -> set[str]:
    """The utterances listed in a file, first column, one a line.

    Raises:
        UserError: a listed utterance is not in the directory, or the list is empty.
    """
    chosen = set()
    for number, line in enumerate(read_lines(path), 1):
        if line.split():
            utt = line.split()[0]
            if utt not in data.utts:
                raise UserError(f"`{utt}` is not in {data.path}", file=path, line=number, hint="correct the list")
            chosen.add(utt)
    if not chosen:
        raise UserError("no utterance is listed", file=path, hint="write one utterance id a line")
    return chosen


def held_out(data: DataDir, amount: float) -> set[str]:
    """Some utterances of every speaker, at least one of each, never all of a speaker's.

    Args:
        amount: a fraction of all utterances (below 1) or a number of them; raised to the number of speakers.

    Raises:
        UserError: no speaker has two utterances, or fewer can be held out than ``amount`` asks for.
    """
    speakers = {s: by_hash(utts)[:-1] for s, utts in data.speakers.items() if len(utts) > 1}
    available = sum(map(len, speakers.values()))
    n = max(len(speakers), int(amount) if amount >= 1 else round(amount * len(data.utts)))
    if not speakers or n > available:
        raise UserError(f"{n} utterances cannot be held out of {len(data.utts)} with one of each speaker kept",
                        file=data.path, hint="hold out fewer")
    return spread(speakers, n)


def write_subset(data: DataDir, chosen: set[str], out):
    """Write the data directory ``out`` with the ``chosen`` utterances of ``data``; features are carried over."""
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
    p = argparse.ArgumentParser(prog="subset_data_dir", description=__doc__)
    p.add_argument("data", type=Path, help="data directory to take from")
    p.add_argument("out", type=Path, help="data directory to write")
    choice = p.add_mutually_exclusive_group(required=True)
    choice.add_argument("--first", type=int, metavar="N", help="the first N utterances")
    choice.add_argument("--shortest", type=int, metavar="N", help="the N shortest utterances")
    choice.add_argument("--spread", type=int, metavar="N", help="N utterances over all speakers")
    choice.add_argument("--per-speaker", type=int, metavar="N", help="N utterances of every speaker")
    choice.add_argument("--utts", type=Path, metavar="FILE", help="the utterances listed in FILE, first column")
    choice.add_argument("--held-out", type=float, metavar="N|F",
                     help="a number or fraction of all utterances, some of every speaker; with --rest the others too")
    p.add_argument("--rest", type=Path, metavar="DIR", help="write what was not chosen to this data directory")
    a = p.parse_args(argv)
    asked = next(v for v in (a.first, a.shortest, a.spread, a.per_speaker, a.held_out, a.utts) if v is not None)
    if not isinstance(asked, Path) and not 0 < asked < float("inf"):
        raise UserError(f"cannot choose {asked} utterances", hint="ask for more than 0")
    names = (*TABLES, "feats.json", *PER_UTTERANCE, *PER_SPEAKER)
    how = [k for k in ("first", "shortest", "spread", "per_speaker", "held_out", "utts") if getattr(a, k) is not None]
    stage = Stage(a.out, "subset", inputs=[a.data / n for n in names] + ([a.utts] if a.utts else []),
                  settings={"how": how, "asked": str(asked), "rest": str(a.rest)})
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
        choose = {"first": first, "shortest": shortest, "per_speaker": per_speaker}[how[0]]
        chosen = choose(data, asked)
    write_subset(data, chosen, a.out)
    if a.rest:
        write_subset(data, set(data.utts) - chosen, a.rest)
    stage.mark(p for out in (a.out, a.rest) if out for name in names if (p := out / name).exists())
    say(f"{a.out}: {len(chosen)} of {len(data.utts)} utterances")


if __name__ == "__main__":
    main()
