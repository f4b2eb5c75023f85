"""Align a data dir with a GMM-HMM, and write the alignment in Kaldi's form.

The output folder gets ``ali.ark`` (transition-ids), ``pdf.ark`` (pdf-ids), ``phones.ctm``, ``utt2like`` (acoustic
log-likelihood per frame), ``failed.txt`` (utterances that could not be aligned, with the reason) and the HMM part of
the model. A speaker-adapted model aligns in two passes: the first pass uses its speaker-independent mixtures; fMLLR
transforms are estimated from that alignment and written to ``trans.ark``; the second pass uses the adapted features.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstmp import config, distributed, files
from lstmp.corpus.lang import Lang
from lstmp.corpus.textlines import numbered_lines
from lstmp.device import DEFAULT_MEMORY
from lstmp.errors import UserError, command
from lstmp.features.ark import archives_of, read_int_vectors, read_scp, write_int_vectors
from lstmp.features.frame_shift import frame_shift, write_frame_shift
from lstmp.gmm import options
from lstmp.gmm.adapt import Adapter, FmllrConfig, write_transforms
from lstmp.gmm.model import AcousticModel, copy_hmm
from lstmp.gmm.record import write_record
from lstmp.gmm.shard import AlignConfig, Shard
from lstmp.gmm.transition import TransitionModel, phone_starts, target_pdfs
from lstmp.log import say
from lstmp.stage import Stage


@dataclass(frozen=True)
class Segment:
    """One phone of an alignment: its id, first frame and length in frames."""

    phone: int
    start: int
    length: int


def segments(tids: np.ndarray, transitions: TransitionModel) -> list[Segment]:
    """Return the phones of an alignment that is given as transition-ids [T]."""
    if len(tids) == 0:
        return []
    starts = phone_starts(tids, transitions)
    ends = np.append(starts[1:], len(tids))
    phones = transitions.tid_phone.numpy()[np.asarray(tids)[starts]]
    return [Segment(int(p), int(s), int(e - s)) for p, s, e in zip(phones, starts, ends, strict=True)]


def alignment_files(directory) -> list[Path]:
    """List the files of a finished alignment, for :meth:`lstmp.stage.Stage.mark`: the required ones, and those of the
    optional ones that exist."""
    required = ("ali.ark", "ali.scp", "pdf.ark", "pdf.scp", "phones.ctm", "num_pdfs", "frame_shift", "tree.json",
            "transitions.safetensors")
    optional = ("topo", "trans.ark", "trans.scp", "utt2like", "failed.txt")
    directory = Path(directory)
    return [directory / name for name in required] + [p for name in optional if (p := directory / name).is_file()]


def alignment_file(ali_dir) -> Path:
    """``pdf.scp`` of an alignment folder, or ``pdf.ark`` if there is no index.

    Raises:
        UserError: the folder has neither.
    """
    for name in ("pdf.scp", "pdf.ark"):
        if (Path(ali_dir) / name).is_file():
            return Path(ali_dir) / name
    raise UserError("no such file", file=Path(ali_dir) / "pdf.scp", hint="run the alignment stage, or give --ali")


def states_inputs(directory) -> list[Path]:
    """The files with the states of an alignment folder, as inputs of a stage: the table or archive, and its archives.

    Raises:
        UserError: there are none.
    """
    states = alignment_file(directory)
    return [states, *(archives_of(read_scp(states).values()) if states.suffix == ".scp" else [])]


def read_alignment(directory, what: str = "transitions", only: Collection[str] | None = None) -> dict:
    """Read an alignment folder.

    Args:
        directory: a folder written by ``steps/align.sh`` or ``steps/align_lstmp.sh`` (has transitions, pdfs and
            phones), or by ``lstmp.align`` or ``steps/export_alignment.sh`` (has phones and words).
        what: ``transitions``: Kaldi's transition-ids, each of which encodes phone, HMM state and pdf;
            ``pdfs``: pdf-ids, the tied states that are a network's targets;
            ``phones``, with position marks if the lang folder has them; or ``words``.
        only: return only these utterances.

    Returns:
        utterance → int32 [T], one id per frame; for phones and words, a list of (label, begin, end) with times in
        seconds.

    Raises:
        UserError: the folder or the file for ``what`` is missing, or the file is damaged.
    """
    names = {"transitions": "ali.ark", "pdfs": "pdf.ark", "phones": "phones.ctm", "words": "words.ctm"}
    if what not in names:
        raise UserError(f"an alignment has no `{what}`", hint=f"ask for one of {', '.join(names)}")
    path = Path(directory) / names[what]
    if not path.is_file():
        raise UserError("no such alignment", file=path, hint="run steps/align.sh first" if what != "words" else
                        "give a folder that lstmp.align or steps/export_alignment.sh wrote")
    labels = _read_ctm(path).items() if path.suffix == ".ctm" else read_int_vectors(path)
    return {utt: x for utt, x in labels if only is None or utt in only}


def _read_ctm(path: Path) -> dict[str, list[tuple[str, float, float]]]:
    labels: dict[str, list[tuple[str, float, float]]] = {}
    for number, line in numbered_lines(path):
        try:
            utt, _, begin, duration, label = line.split()[:5]
            times = float(begin), round(float(begin) + float(duration), 3)
        except ValueError:
            raise UserError("not `utterance channel begin duration label`", file=path, line=number,
                            hint="make the alignment again") from None
        labels.setdefault(utt, []).append((label, *times))
    return labels


def write_alignment(directory, alignment: dict, scores: dict, failed: dict, model: AcousticModel, lang: Lang,
                    shift: float):
    """Write the files of an alignment folder except the HMM part; ``shift`` is the frame shift in seconds."""
    directory = Path(directory)
    utts = sorted(alignment)
    config.write_text(directory / "utt2like", "".join(f"{u} {scores[u]:.4f}\n" for u in utts))
    config.write_text(directory / "failed.txt", "".join(f"{u} {failed[u]}\n" for u in sorted(failed)))
    write_states(directory, alignment, model.transitions, lang.phone_names, shift)


def write_states(directory, alignment: dict, transitions: TransitionModel, phone_names: dict[int, str], shift: float):
    """Write the transition-ids and what is derived from them (ali.ark, pdf.ark, num_pdfs, phones.ctm), and frame_shift.

    ``shift`` is the frame shift in seconds.
    """
    write_frame_shift(directory, shift)
    utts = sorted(alignment)
    with files.replacing(directory / "phones.ctm") as tmp, open(tmp, "w", encoding="utf-8") as f:
        for utt in utts:
            f.writelines(ctm_line(utt, s.start, s.length, phone_names[s.phone], shift)
                         for s in segments(alignment[utt], transitions))
    config.write_text(directory / "num_pdfs", f"{transitions.num_pdfs}\n")
    write_int_vectors(directory / "pdf.ark", ((u, target_pdfs(alignment[u], transitions)) for u in utts))
    write_int_vectors(directory / "ali.ark", ((u, alignment[u]) for u in utts))


def ctm_line(utt: str, start: int, length: int, label: str, shift: float) -> str:
    """Format a line of a CTM file: utterance, channel 1, start and duration in seconds, label.

    ``start`` and ``length`` are in frames, ``shift`` is the frame shift in seconds.
    """
    return f"{utt} 1 {start * shift:.3f} {length * shift:.3f} {label}\n"


def collect(shard: Shard) -> tuple[dict, dict, dict] | None:
    """Gather alignment, scores and failures of all processes on the first process; return None on the others.

    The shards give up their features and graphs, to make room.
    """
    shard.free()
    merged: tuple[dict, dict, dict] = ({}, {}, {})
    for source in range(distributed.world_size()):  # one after another: all alignments together may be large
        own = shard.alignment, shard.score, shard.failed
        part = distributed.hand_in(own if source == distributed.rank() else None, source)
        for total, more in zip(merged, part or ({}, {}, {}), strict=True):
            total.update(more)
    return merged if distributed.rank() == 0 else None


def align_shard(shard: Shard, model: AcousticModel, cfg: AlignConfig, fmllr: FmllrConfig | None) -> dict | None:
    """Align a shard's utterances, in two passes if the model is speaker-adapted. Graphs must have been compiled.

    Returns:
        the speakers' transforms that have been applied to the features, or None if the model is not speaker-adapted.
    """
    if model.si_gmms is None:
        shard.align(model, cfg)
        return None
    si_model = model.speaker_independent()
    shard.align(si_model, cfg, "first pass")
    assert fmllr is not None
    adapter = Adapter(shard, fmllr)
    adapter.update(model, str(shard.data_dir), posteriors_by=si_model)
    shard.align(model, cfg, "second pass")
    return adapter.transforms


def _align(data, lang_dir, model_dir, out, cfg: AlignConfig, fmllr: FmllrConfig | None, device, memory: float):
    lang = Lang.load(lang_dir)
    model = AcousticModel.load(model_dir, device)
    if model.gmms is None:
        raise UserError("no Gaussian mixtures in it", file=model_dir, hint="give the folder of a GMM")
    shard = Shard(data, lang, model.input, device, model.transform, memory=memory)
    if shard.dim != model.gmms.dim:
        raise UserError(f"features of {shard.dim} dimensions for a model of {model.gmms.dim}", file=data,
                        hint="make the features with the configuration that the model was trained with")
    shard.compile_graphs(model)
    transforms = align_shard(shard, model, cfg, fmllr)
    merged = collect(shard)
    if merged is not None:
        if transforms is not None:
            write_transforms(out, transforms)
        write_alignment(out, *merged, model, lang, frame_shift(data))
        frames = sum(map(len, merged[0].values()))
        mean = sum(merged[1][u] * len(a) for u, a in merged[0].items()) / max(1, frames)
        say(f"{out}: {len(merged[0])} utterances aligned, {len(merged[2])} not, "
            f"log-likelihood per frame {mean:.3f}")
    shard.clock.write(out)


def align(data: Path, lang: Path, model: Path, out: Path, cfg: AlignConfig, fmllr_config, nj: int, *,
          device: str = "cpu", memory: float = DEFAULT_MEMORY, config_file: Path | str = "") -> None:
    """Align a data dir with a GMM in ``nj`` processes, unless this has been done already.

    Args:
        fmllr_config: path of fmllr.yaml, which is read only for a speaker-adapted model.
        memory: GiB of features and graphs that each process keeps in memory.
        config_file: the file that ``cfg`` was read from, for align.json.

    Raises:
        UserError: the input is bad, or too many utterances fail.
    """
    adapts = AcousticModel.load(model).si_gmms is not None
    fmllr = config.load(fmllr_config, FmllrConfig) if adapts else None
    inputs = options.stage_inputs(data, lang) + [
        model / n for n in ("final.safetensors", "tree.json", "topo", "config.yaml")]
    settings = config.to_dict(cfg) | ({"fmllr": config.to_dict(fmllr)} if fmllr else {})
    stage = Stage(out, "align", inputs, settings)
    if distributed.on_first(stage.is_done):
        return
    say(f"aligning {data} with {model}")
    began = time.time()
    distributed.launch(_align, nj, data, lang, model, out, cfg, fmllr, device, memory)
    copy_hmm(model, out)
    write_record(out, began, {"system": out.name, "config": str(config_file)})
    stage.mark(alignment_files(out))


@command
def main(argv=None):
    p = options.parser("steps/align.sh", __doc__.split("\n")[0], "align.yaml")
    p.add_argument("--model", type=Path, required=True, help="folder of the GMM to align with")
    options.add_fmllr(p)
    a = p.parse_args(argv)
    align(a.data, a.lang, a.model, a.out, config.load(a.config, AlignConfig), a.fmllr_config, a.nj, device=a.device,
          memory=a.memory, config_file=a.config)


if __name__ == "__main__":
    main()
