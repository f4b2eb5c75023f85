"""Export a trained network, its graph and everything else that recognition needs into one folder.

    steps/export_model.sh exp/mini_librispeech/lstmp

The graph, the lang folder, the GMM that adapts the features, and the configurations are those that training and
decoding have recorded. The LM weight and the word insertion penalty are those that steps/score.sh chose on dev. Options
can replace each of them.
"""

import argparse
import shutil
from pathlib import Path

from lstmp import __version__, config, files
from lstmp.corpus.lang import Lang, read_names
from lstmp.decode.acoustic_scorer import is_network
from lstmp.decode.config import DecodeConfig
from lstmp.decode.decode import check_same_model
from lstmp.decode.live import LiveConfig
from lstmp.errors import UserError, command
from lstmp.features.extract import CONFIGS
from lstmp.gmm.adapt import FmllrConfig
from lstmp.gmm.ivector import NAME as IVECTORS
from lstmp.gmm.model import AcousticModel, copy_hmm
from lstmp.gmm.online_fmllr import NAME as ONLINE_FMLLR
from lstmp.gmm.shard import AlignConfig
from lstmp.graph.graph_file import NAME
from lstmp.log import say
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.forward import AcousticNetwork
from lstmp.paths import ROOT
from lstmp.program import program_name
from lstmp.transcribe.folder import FORMAT, ModelFolder
from lstmp.transcribe.pauses import CutConfig
from lstmp.transcribe.recorded import RecordedInputs, write_conf

_NETWORK = ("final.safetensors", "config.yaml", "tree.json", "transitions.safetensors", "train.json")
_GRAPH = (NAME, "words.txt", "graph.json")
_LANG = ("L_disambig.fst", "phones.txt", "words.txt", "topo", "oov.txt", "oov.int", "silprob.txt", "lexiconp.txt")
_ADAPT = ("final.safetensors", "config.yaml", "tree.json", "topo")
_CONF = {"decode.yaml": DecodeConfig, "align.yaml": AlignConfig, "fmllr.yaml": FmllrConfig, "live.yaml": LiveConfig,
         "transcribe.yaml": CutConfig}


def scores(model_dir: Path, graph_dir: Path) -> list[dict]:
    """Read score.json of those decode dirs of a model that used this graph; adds the name of the test set to each."""
    lm = graph_dir.name.removeprefix("graph_")
    return [{"set": path.parent.name.removeprefix("decode_"), **config.read_json(path, "score it again")}
            for path in sorted(model_dir.glob(f"decode_{lm}_*/score.json"))]


def export(model, graph=None, lang=None, hmm=None, adapt=None, conf=None, out=None, lm_weight: float | None = None,
           word_penalty: float | None = None):
    """Write the model folder ``out``, as described above. Arguments that are None are taken from the network's records.

    Raises:
        UserError: parts are missing or do not belong together, or ``out`` contains other files.
    """
    model = Path(model)
    out = Path(out) if out else default_out(model)
    files.restore_folder(out)
    _check_target(out)
    if not is_network(model):
        raise UserError("it is not a network", file=model, hint="give the folder of a trained network")
    recorded, network = RecordedInputs.of(model), AcousticNetwork.load(model)
    graph = Path(graph) if graph else recorded.graph()
    lang = Path(lang) if lang else recorded.lang(graph)
    adapts = network.feature.kind == "fmllr"
    adapt = adapt or (recorded.adapt() if adapts else None)
    if adapts != bool(adapt):
        raise UserError("its features are adapted to the speaker" if adapts else "its features are not adapted",
                        file=model, hint="give --adapt the GMM that adapted them" if adapts else "leave --adapt out")
    check_same_model(graph, model, network.num_pdfs)
    if adapt:
        check_same_model(graph, Path(adapt), AcousticModel.load(adapt).tree.num_pdfs)
    if not hmm and not (model / "topo").is_file():
        raise UserError("it contains no `topo`, like networks of earlier versions", file=model,
                        hint="give --hmm the alignment that it was trained on")
    states, phones = AcousticModel.load(hmm or model), Lang.load(lang)
    if states.tree.num_pdfs != network.num_pdfs or not states.transitions.topology.fits(phones.topology):
        raise UserError("its phones or states differ from the network's", file=hmm or lang,
                        hint="give the lang folder of the graph, and the alignment that the network was trained on")
    scored = scores(model, graph)
    chosen = next((s for s in scored if s.get("chosen_here")), None)
    if chosen is None and (lm_weight is None or word_penalty is None):
        raise UserError(f"none of its decode dirs with {graph.name} is scored", file=model,
                        hint="run steps/score.sh, or give --lm-weight and --word-penalty")
    chosen = chosen or {}
    lm_weight = chosen["lmwt"] if lm_weight is None else lm_weight
    word_penalty = chosen["wip"] if word_penalty is None else word_penalty

    out.parent.mkdir(parents=True, exist_ok=True)
    with files.temporary_folder(out.parent) as tmp:
        new = tmp / "model"
        _copy(model, new / "network", _NETWORK, optional=[IVECTORS, ONLINE_FMLLR])
        _copy(graph, new / "graph", _GRAPH)
        _copy(lang, new / "lang", _LANG, optional=["lexiconp_silprob.txt"])
        if (lang / "phones").is_dir():
            shutil.copytree(lang / "phones", new / "lang/phones")
        copy_hmm(hmm or model, new / "hmm")
        if adapts:
            _copy(Path(adapt), new / "adapt", _ADAPT)
        feature_type = "mfcc" if adapts else network.feature.kind
        write_conf(recorded, graph, feature_type, CONFIGS[feature_type], new / "conf", Path(conf) if conf else None)
        _copy(Path(conf or recorded.conf()), new / "conf", [], optional=[n for n in _CONF if n != "decode.yaml"])
        _copy(ROOT / "conf", new / "conf", [n for n in _CONF if not (new / "conf" / n).is_file()])
        for file, cls in {f"{feature_type}.yaml": CONFIGS[feature_type], **_CONF}.items():
            config.load(new / "conf" / file, cls)
        live = network.live
        silent = states.silent_pdfs(phones.silence).nonzero().flatten().tolist()
        folder = ModelFolder(new, network.feature.kind, adapts, live, lm_weight, word_penalty, silent)
        train = config.read_json(model / "train.json", "train the network again")
        config.write_text(new / "README.md", card(out.name, folder, network.cfg, train, scored))
        folder.write(version=__version__, parameters=train["params"], wer={s["set"]: s["wer"] for s in scored})
        files.replace_folder(new, out)
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    say(f"{out}: a model of {size / 2**20:.0f} MB, LM weight {lm_weight:g}, word penalty {word_penalty:g}"
        + (", also for online recognition" if folder.live else ""))


def default_out(model: Path) -> Path:
    """``models/<recipe>`` for the network `lstmp` of a recipe, else ``models/<recipe>_<network>``."""
    network = model.absolute()
    return Path("models") / (network.parent.name + ("" if network.name == "lstmp" else f"_{network.name}"))


def _check_target(out: Path):
    """Raise an error unless ``out`` is absent or an exported model without other files, which may be replaced."""
    present = {str(f.relative_to(out)) for f in out.rglob("*") if f.is_file()} if out.exists() else set()
    try:
        about = config.read_json(out / "model.json", "")
        known = {"model.json", *about.get("files", {})} if about.get("format") == FORMAT else set()
    except UserError:  # there is no model.json, or it is not ours
        known = set()
    if other := sorted(present - known):
        raise UserError(f"it contains other files: {other[0]}", file=out, hint="give --out a new folder")


def _copy(source: Path, target: Path, names, optional=()):
    for name in (*names, *optional):
        if (source / name).is_file():
            config.copy_file(source / name, target / name)
        elif name not in optional:
            raise UserError("no such file", file=source / name, hint="check the options, or run the step that makes it")


def card(name: str, folder: ModelFolder, cfg: LstmpConfig, train: dict, scored: list[dict]) -> str:
    """The text of the model card."""
    rows = "".join(f"| {s['set']} | {s['wer']:.2f} [{s['ci'][0]:.2f}, {s['ci'][1]:.2f}] | {s['words']:,} |\n"
                   for s in scored)
    features = {"fmllr": "MFCCs with LDA+MLLT, adapted to the speaker by fMLLR (the GMM in `adapt/` decodes a "
                "recording first)", "fbank": "log-mel filterbank energies", "mfcc": "MFCCs",
                "online_fmllr": "MFCCs with LDA+MLLT, adapted by fMLLR to what was heard of the speaker so far"}[
                    cfg.feature.kind]
    words = read_names(folder.path / "graph/words.txt")
    if words.pieces:
        vocabulary = "It writes words in pieces (`graph/words.txt`), so it can spell words that it has never seen."
    else:
        known = len({*words.values()} - {"<eps>", "#0", "<s>", "</s>"})
        vocabulary = (f"It writes only the {known:,} words of its list (`graph/words.txt`), whatever is said, in the "
                      "spelling and the\nlanguage of that list.")
    return f"""# {name}

A hybrid speech recognizer: {cfg.layers} layers of {cfg.cells} cells ({cfg.kind}, recurrent projection
{cfg.recurrent_projection}), {train['params']:,} parameters, {train['num_pdfs']:,} tied states, and the decoding graph
of one language model. Input: {features}.

```sh
lstmp transcribe --model {name} recording.wav
lstmp align {name} FOLDER OUT                      # times of words and phones of recordings with transcripts
```

In a checkout of lstmp, `./transcribe.sh` and `steps/align_folder.sh` are the same commands.
{'It can recognize online, with --stream.' if folder.live else 'It needs whole recordings: --stream is not possible.'}
{vocabulary}
It is less accurate for accents, channels and noises that differ from its training data.

| decoding (LM and set) | WER %, 95 % interval | words |
|---|---|---|
{rows}
LM weight {folder.lm_weight:g}, word insertion penalty {folder.word_penalty:g}, chosen on a development set.
Frame accuracy {100 * train['frame_accuracy_train']:.1f} % in training,
{100 * train['frame_accuracy_valid']:.1f} % on held-out speech. Seed {train['seed']}.
`model.json` lists the files, `network/train.json` the whole configuration.
"""


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog=program_name("steps/export_model.sh"), description=__doc__.split("\n")[0])
    p.add_argument("network", nargs="?", metavar="MODEL", help="folder of the network, such as exp/<recipe>/lstmp")
    p.add_argument("--model", help="the same, as an option")
    p.add_argument("--graph", help="graph dir to recognize with (default: the one it was decoded with)")
    p.add_argument("--lang", help="lang folder that the graph was made from (default: as recorded with the graph)")
    p.add_argument("--hmm", help="alignment or GMM with the states that the network was trained on (default: --model)")
    p.add_argument("--adapt", help="GMM that adapts the features, such as exp/<recipe>/tri3b (default: as recorded)")
    p.add_argument("--conf", help="folder of configurations; the feature configuration must be the same as in training "
                   "(default: as recorded)")
    p.add_argument("--lm-weight", type=float, help="default: as chosen on dev")
    p.add_argument("--word-penalty", type=float, help="default: as chosen on dev")
    p.add_argument("--out", help="folder to make (default: models/<recipe>)")
    a = p.parse_args(argv)
    if (a.network is None) == (a.model is None):
        p.error("name the folder of the network, once")
    export(a.model or a.network, a.graph, a.lang, a.hmm, a.adapt, a.conf, a.out, a.lm_weight, a.word_penalty)


if __name__ == "__main__":
    main()
