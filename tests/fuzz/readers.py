"""All readers of files, with the files that they read below the folder of ``seeds.py``."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fuzz.seeds import WIDE, babble, scores
from helpers import ROOT

from lstmp import config
from lstmp.corpus.arpa import arpa_to_g, check_arpa
from lstmp.corpus.audio import audio_info, read_audio
from lstmp.corpus.datadir import read_data_dir
from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.fst import FstArrays, read_fst
from lstmp.corpus.grammar import grammar_to_g
from lstmp.corpus.lang import Lang, read_symbols
from lstmp.corpus.lexicon import read_lexicon
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.corpus.textlines import numbered_lines
from lstmp.corpus.utterance_audio import check_commands, read_utterance, seconds_of
from lstmp.decode.config import DecodeConfig
from lstmp.decode.decode import check_same_model
from lstmp.decode.jobs import check_failed, summary
from lstmp.decode.lattice import read_lattices
from lstmp.decode.lattice_paths import best_paths
from lstmp.decode.live import LiveConfig
from lstmp.decode.search import decode_utterance
from lstmp.decode.search_graph import SearchGraph
from lstmp.errors import UserError
from lstmp.experiment.grid_file import load as load_grid
from lstmp.features.ark import read_int_vectors, read_mat, read_scp
from lstmp.features.extract import FbankConfig, MfccConfig
from lstmp.features.load import FeatureConfig, Features
from lstmp.gmm.adapt import FmllrConfig
from lstmp.gmm.align import Segment, read_alignment
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.shard import AlignConfig
from lstmp.gmm.train_mono import MonoConfig
from lstmp.gmm.train_tri import TriConfig
from lstmp.graph.denominator import Denominator
from lstmp.graph.epsilon_free import epsilon_free
from lstmp.graph.import_kaldi import import_graph, import_lang
from lstmp.graph.make_graph import make_graph
from lstmp.graph.numerator import Numerators
from lstmp.kaldi.import_alignment import import_alignment
from lstmp.kaldi.import_gmm import import_model
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.forward import AcousticNetwork
from lstmp.nnet.mmi.criterion import LfMmi
from lstmp.recipe.resolve import resolve
from lstmp.score import ctm
from lstmp.score.score import ScoreConfig
from lstmp.score.wer import read_hyps
from lstmp.stage import Stage
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.media import read_recording
from lstmp.transcribe.pauses import CutConfig
from lstmp.transcribe.recognizer import Recognizer
from lstmp.transcribe.transcribe import LiveModel

_WORDS = {"<eps>": 0, "RED": 1, "GREEN": 2, "BLUE": 3, "#0": 4}
CONFIGS = {"mfcc": MfccConfig, "fbank": FbankConfig, "mono": MonoConfig, "tri1": TriConfig, "align": AlignConfig,
           "fmllr": FmllrConfig, "lstmp": LstmpConfig, "decode": DecodeConfig, "score": ScoreConfig, "live": LiveConfig,
           "transcribe": CutConfig}


@dataclass(frozen=True)
class Reader:
    """``files``: patterns of files, of which one is damaged; ``weight``: how often the reader is drawn."""

    files: tuple[str, ...]
    read: object
    weight: float = 1.0


def _matrices(root: Path):
    for rx in read_scp(root / "data/feats.scp").values():
        read_mat(rx)
    read_mat(str(root / "data/text.ark") + ":6")


def _compressed(root: Path):
    for rx in read_scp(root / "data/compressed.scp").values():
        read_mat(rx)


def _segments(root: Path):
    data = read_data_dir(root / "segmented")
    check_commands(data, False)
    for utt in data.utts.values():
        for read in (lambda u: read_utterance(u, 16000), seconds_of):
            try:
                read(utt)
            except UserError:
                pass


def _lexicons(root: Path):
    for name in ("cmudict", "kaldi", "mfa"):
        read_lexicon(root / "lexicons" / name)


def _features(root: Path):
    features = Features(root / "data", FeatureConfig("mfcc", "mean_var", 2))
    for utt in features.utts:
        features.num_frames(utt)
        features.load(utt)


def _vectors(root: Path):
    for name in ("ali.ark", "ali.gz", "text.ark", "ali.scp"):
        list(read_int_vectors(root / "ali" / name))


def _dict(root: Path):
    Dictionary.load(root / "dict")
    prepare_lang(root / "dict", root / "out/lang")


def _fsts(root: Path):
    for name in ("lang_x/G.fst", "lang/L_disambig.fst"):
        read_fst(root / name)
        FstArrays.read(root / name)


def _other_fsts(root: Path):
    for path in sorted((root / "fsts").iterdir()):
        read_fst(path)
        FstArrays.read(path)


def _kaldi_gmm(root: Path):
    kaldi, out = root / "kaldi_gmm", root / "out"
    import_graph(kaldi / "graph", out / "graph", out / "model", import_model(kaldi, out / "model"))


def _hclg(root: Path):
    epsilon_free(FstArrays.read(root / "graph_x/HCLG.fst"),
                 AcousticModel.load(root / "hmm").transitions.tid_pdf.numpy())


def _make_graph(root: Path):
    make_graph(root / "lang_x", root / "hmm", root / "out/graph")


def _denominator(root: Path):
    graph = Denominator.read(root / "denominator.safetensors")
    numerators = Numerators(graph, 5)
    numerators.add("utt", [Segment(int(graph.phone[graph.target[graph.source == 0][0]]), 0, 9)])
    if graph.num_pdfs < 1000:  # the network has another number, or so many outputs
        LfMmi(graph, 1e-5, 0.0)(torch.zeros(3, 1, graph.num_pdfs), [numerators.whole("utt")])


def _graph(root: Path):
    graph = SearchGraph.load(root / "graph_x")
    decode_utterance(graph, scores(1, 20, graph.num_pdfs if 0 < graph.num_pdfs < 1000 else 5), WIDE)


def _lattices(root: Path):
    for lattice in read_lattices(root / "lat").values():
        if lattice.num_arcs:
            best_paths(lattice, [(8, 0.0)])
    summary([root / "lat"], 1, 0.01)
    check_failed([root / "lat"], 3, 1.0)


def _live(root: Path):
    live = LiveModel(ModelFolder.load(root / "model"))
    list(live.segments([babble(1.0)]))


def _recognizer(root: Path):
    Recognizer(root / "model").transcribe(babble(1.0) / 32768, 16000)


def _network(root: Path):
    checkpoint.read(root / "net/final.safetensors", "train again")
    network = AcousticNetwork.load(root / "net")
    network(torch.zeros(9, network.dim))


def _gmm(root: Path):
    model = AcousticModel.load(root / "gmm")
    model.gmms.loglikes(torch.zeros(9, model.gmms.dim))


def _ctm(root: Path):
    ctm.read_ctm(root / "ali/ctm.gz")
    ctm.read_ctm(root / "ali/phones.ctm")
    read_alignment(root / "ali", "phones")


def _configs(root: Path):
    for name, cls in CONFIGS.items():
        config.load(root / "conf" / f"{name}.yaml", cls)


def _recipe(root: Path):
    for name in ("tiny", "mini_librispeech"):
        resolve({"recipe": name}, root)


def _json(root: Path):
    config.read_json(root / "net/train.json", "train again")
    check_same_model(root / "graph_x", root / "net", AcousticModel.load(root / "net").tree.num_pdfs)


def _mark(root: Path):
    Stage(root / "marked", "work", [root / "phrases"], {"number": 3, "list": [1, "a"]}).is_done()


def _audio_files(root: Path):
    for path in sorted((root / "audio").iterdir()):
        for read in (audio_info, read_audio):
            try:
                read(path)
            except UserError:
                pass


def _recordings(root: Path):
    for path in sorted((root / "audio").iterdir()):
        read_recording(path)


def _kaldi(name: str):
    return lambda root: import_alignment(root / name, root / "out/ali")


READERS = {
    "audio": Reader(("audio/*",), _audio_files, 2),
    "recordings": Reader(("audio/*",), _recordings, 1),
    "matrices": Reader(("data/feats.ark", "data/feats.scp", "data/text.ark"), _matrices, 2),
    "features": Reader(("data/*",), _features, 2),
    "data dir": Reader(("data/text", "data/wav.scp", "data/utt2*", "data/spk2utt"),
                       lambda root: read_data_dir(root / "data"), 2),
    "vectors": Reader(("ali/ali.ark", "ali/ali.gz", "ali/text.ark", "ali/ali.scp"), _vectors, 2),
    "compressed": Reader(("data/compressed.*",), _compressed, 1.5),
    "segments": Reader(("segmented/*",), _segments, 2),
    "lexicons": Reader(("lexicons/cmudict", "lexicons/kaldi", "lexicons/mfa"), _lexicons, 1),
    "other FSTs": Reader(("fsts/*",), _other_fsts, 2),
    "Kaldi's GMM": Reader(("kaldi_gmm/*", "kaldi_gmm/graph/*", "kaldi_gmm/graph/phones/*"), _kaldi_gmm, 1.5),
    "Kaldi's lang": Reader(("kaldi_gmm/lang/*", "kaldi_gmm/lang/phones/*"),
                           lambda root: import_lang(root / "kaldi_gmm/lang", root / "out/lang"), 1),
    "JSGF": Reader(("lexicons/grammar",), lambda root: grammar_to_g(root / "lexicons/grammar", _WORDS), 0.3),
    "lexicon": Reader(("lexicon.txt",), lambda root: prepare_dict(root / "lexicon.txt", root / "out/dict"), 1),
    "dict": Reader(("dict/*.txt",), _dict, 1),
    "lang": Reader(("lang/*.txt", "lang/*.int", "lang/phones/*.int", "lang/topo"),
                   lambda root: Lang.load(root / "lang"), 2),
    "symbols": Reader(("lang/words.txt",), lambda root: read_symbols(root / "lang/words.txt"), 0.5),
    "ARPA": Reader(("lm.arpa",), lambda root: check_arpa(root / "lm.arpa"), 2),
    "ARPA to G": Reader(("lm.arpa", "lang/words.txt"),
                        lambda root: arpa_to_g(root / "lm.arpa", root / "lang/words.txt"), 0.1),
    "grammar": Reader(("grammar",), lambda root: grammar_to_g(root / "grammar", _WORDS), 0.3),
    "phrases": Reader(("phrases",), lambda root: grammar_to_g(root / "phrases", _WORDS), 0.1),
    "zipped text": Reader(("text.gz",), lambda root: list(numbered_lines(root / "text.gz")), 1),
    "FST": Reader(("lang_x/G.fst", "lang/L_disambig.fst"), _fsts, 2),
    "HCLG": Reader(("graph_x/HCLG.fst",), _hclg, 2),
    "graph making": Reader(("lang_x/*.fst", "lang_x/*.txt", "lang_x/phones/*", "lang_x/topo", "hmm/*"), _make_graph,
                           0.7),
    "graph": Reader(("graph_x/HCLG.k2.safetensors",), _graph, 2),
    "denominator": Reader(("denominator.safetensors",), _denominator, 1),
    "lattices": Reader(("lat",), _lattices, 2),
    "model folder": Reader(("model/*", "model/*/*"), _live, 1),
    "recognizer": Reader(("model/*", "model/*/*"), _recognizer, 0.1),
    "network": Reader(("net/final.safetensors", "net/config.yaml"), _network, 2),
    "GMM": Reader(("gmm/*",), _gmm, 2),
    "Kaldi, binary": Reader(("kaldi/*",), _kaldi("kaldi"), 2),
    "Kaldi, text": Reader(("kaldi_text/*",), _kaldi("kaldi_text"), 2),
    "CTM": Reader(("ali/phones.ctm", "ali/ctm.gz"), _ctm, 1),
    "conf": Reader(("conf/*.yaml",), _configs, 0.3),
    "recipe": Reader(("recipes/*/recipe.yaml", "conf/*.yaml"), _recipe, 0.2),
    "JSON": Reader(("net/train.json", "graph_x/graph.json"), _json, 1),
    "mark": Reader(("marked/.done.work.json",), _mark, 1),
    "grid": Reader(("recipes/sak2014/grid.yaml",), lambda root: load_grid(root / "recipes/sak2014/grid.yaml"), 0.2),
    "hypotheses": Reader(("hyps.txt",), lambda root: read_hyps(root / "hyps.txt"), 0.5),
}


def copy_configs(root: Path):
    """Copy conf/, the recipe of tiny, and a grid of networks, from the checkout."""
    shutil.copytree(ROOT / "conf", root / "conf")
    for name in ("tiny/recipe.yaml", "mini_librispeech/recipe.yaml", "sak2014/grid.yaml"):
        (root / "recipes" / name).parent.mkdir(parents=True)
        shutil.copyfile(ROOT / "recipes" / name, root / "recipes" / name)


def draw(rng: np.random.Generator, names: list[str]) -> str:
    """Draw the name of a reader."""
    weights = np.array([READERS[n].weight for n in names])
    return str(rng.choice(names, p=weights / weights.sum()))
