"""Bad input to the real commands gives one line with file, line and fix, exit status 1, and loses no files.

``small_experiment.py`` makes the experiment once. Each case damages one thing in a copy (``spoil.py``) and runs one
command.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers import small_experiment as w
from helpers.spoil import audio, both, cut, edit, features, nan, remove, second_lang, write

from lstmp.corpus import librispeech, prepare_dict, prepare_lang, prepare_lm, take_data_dirs, validate
from lstmp.decode import decode
from lstmp.features import extract
from lstmp.gmm import align, train_mono, train_tri
from lstmp.graph import make_graph
from lstmp.nnet import train as train_lstmp
from lstmp.score import results, score

TAKE = (take_data_dirs, "--corpus src --out data --splits train --nj 1 --max-bad 0")
VALIDATE = (validate, "data/train --nj 1 --max-bad 0")
LIBRISPEECH = (librispeech, "--corpus src --out data --splits dev --nj 1")
DICT = (prepare_dict, "--lexicon src/lexicon.txt --out data/dict")
LANG = (prepare_lang, "--dict data/dict --out data/lang")
ARPA = (prepare_lm, "--lang data/lang --out data/lang_lm --arpa src/lm.arpa")
TEXT_LM = (prepare_lm, "--lang data/lang --out data/lang_lm --text src/lm.txt")
MFCC = (extract, "--kind mfcc --config conf/mfcc.yaml --nj 1 data/train")
MONO = (train_mono, "--data data/train --lang data/lang --out exp/mono --config conf/mono.yaml")
ALIGN = (align, "--data data/train --lang data/lang --model exp/mono --out exp/mono_ali --config conf/align.yaml")
TRI = (train_tri, "--data data/train --lang data/lang --ali exp/mono_ali --out exp/tri1 --config conf/tri1.yaml")
LSTMP = (train_lstmp, "--train data/train_fbank --valid heldout --ali exp/mono_ali --out exp/lstmp "
                      "--config conf/lstmp.yaml")
GRAPH = (make_graph, "--lang data/lang_lm --model exp/mono --out exp/mono/graph_lm")
DECODE = (decode, "--model exp/mono --graph exp/mono/graph_lm --data data/train --out exp/mono/decode_lm_train "
                  "--config conf/decode.yaml")
SCORE = (score, "--config conf/score.yaml --dev exp/mono/decode_lm_train")
RESULTS = (results, "--recipe-dir exp --systems mono --sets train --lms lm")

NONE_MAY_FAIL = edit("conf/align.yaml", "max_failed: 0.05", "max_failed: 0.0")
CASES = {
    # name: (damage, command, what the line must contain: file or file:line, and words)
    # stage 1
    "missing wav": (remove("src/ann-2.wav"), TAKE, ["ann-2.wav"]),
    "truncated wav": (cut("src/ann-2.wav"), TAKE, ["ann-2.wav"]),
    "command": (edit("src/train/wav.scp", "ann-2.wav", "ann-2.wav cat |"), TAKE, ["wav.scp:2", "--allow-commands"]),
    "stereo": (audio("src/ann-2.wav", channels=2), TAKE, ["ann-2.wav", "2 channels"]),
    "empty audio file": (write("src/ann-2.wav", ""), TAKE, ["ann-2.wav", "empty"]),
    "text in place of audio": (write("src/ann-2.wav", "not audio at all\n" * 9), TAKE, ["ann-2.wav"]),
    "transcript without audio": (edit("src/train/wav.scp", "bob-1", "bob-11"), TAKE, ["bob-1"]),
    "audio without transcript": (edit("src/train/text", "ann-2 TAB AT A\n", ""), TAKE, ["wav.scp:2", "ann-2"]),
    "utterance without speaker": (edit("src/train/utt2spk", "ann-2 ann\n", ""), TAKE, ["ann-2", "utt2spk"]),
    "duplicate id": (edit("src/train/text", "ann-2 ", "ann-1 "), TAKE, ["text:2", "ann-1"]),
    "unsorted table": (edit("src/train/text", "ann-1 A BAT\nann-2 TAB AT A\n", "ann-2 TAB AT A\nann-1 A BAT\n"), TAKE,
                       ["text:2", "sort"]),
    "empty transcript": (edit("src/train/text", "ann-2 TAB AT A", "ann-2"), TAKE, ["text:2", "ann-2"]),
    "not UTF-8": (write("src/train/text", b"ann-1 A BAT\nann-2 T\xe4B\n"), TAKE, ["text:2", "UTF-8"]),
    "missing table": (remove("src/train/utt2spk"), TAKE, ["utt2spk"]),
    "silent audio": (audio("src/ann-2.wav", value=0), VALIDATE, ["ann-2.wav"]),
    "NaN in audio": (audio("src/ann-2.wav", value=np.nan), VALIDATE, ["ann-2.wav"]),
    "control character in a transcript": (edit("data/train/text", "TAB AT", "T\x07B AT"), VALIDATE,
                                          ["ann-2", "U+0007"]),
    "corpus without splits": (lambda root: None, LIBRISPEECH, ["src", "split"]),
    # stages 2 and 3
    "word without phones": (edit("src/lexicon.txt", "TAB T AE1 B", "TAB"), DICT, ["lexicon.txt:3", "TAB"]),
    "empty lexicon": (write("src/lexicon.txt", ""), DICT, ["lexicon.txt"]),
    "reserved word": (edit("src/lexicon.txt", "TAB T", "<s> T"), DICT, ["lexicon.txt:3", "<s>"]),
    "phone in no list": (edit("data/dict/lexiconp.txt", "AE1", "QQ1"), LANG, ["lexiconp.txt:", "QQ1"]),
    "lexicon absent": (remove("src/lexicon.txt"), DICT, ["lexicon.txt"]),
    "ARPA cut off": (cut("src/lm.arpa"), ARPA, ["lm.arpa"]),
    "ARPA with a bad number": (edit("src/lm.arpa", "-1.0\tAT", "-l.0\tAT"), ARPA, ["lm.arpa:8", "number"]),
    "no text for the language model": (write("src/lm.txt", "\n"), TEXT_LM, ["lm.txt"]),
    # stage 4 and configuration
    "unknown yaml key": (edit("conf/mfcc.yaml", "low_freq:", "low_frq:"), MFCC, ["mfcc.yaml:", "low_frq", "low_freq"]),
    "wrong type": (edit("conf/mfcc.yaml", "num_ceps: 13", "num_ceps: many"), MFCC, ["mfcc.yaml:", "num_ceps"]),
    "missing yaml key": (edit("conf/mfcc.yaml", "num_ceps: 13", ""), MFCC, ["mfcc.yaml", "num_ceps"]),
    "broken yaml": (edit("conf/mfcc.yaml", "num_ceps: 13", "num_ceps: ["), MFCC, ["mfcc.yaml:", "YAML"]),
    "value out of range": (edit("conf/mfcc.yaml", "high_freq: 0", "high_freq: 9000"), MFCC,
                           ["mfcc.yaml:", "high_freq"]),
    "audio gone after stage 1": (both(remove("src/ann-2.wav"), edit("conf/mfcc.yaml", "max_bad: 0.01", "max_bad: 0")),
                                 MFCC, ["ann-2.wav"]),
    # stages 5 to 7
    "feature archive cut off": (cut("data/train/feats.ark"), MONO, ["feats.ark"]),
    "no features": (remove("data/train/feats.scp"), MONO, ["feats.scp", "make_mfcc"]),
    "features of the wrong kind": (lambda root: None, (train_mono, MONO[1].replace("data/train ", "data/train_fbank ")),
                                   ["train_fbank", "fbank", "mfcc"]),
    "no lang folder": (lambda root: shutil.rmtree(root / "data/lang"), MONO, ["data/lang"]),
    "damaged topology": (edit("data/lang/topo", "0.75", "0.5"), MONO, ["topo:"]),
    "phone without model": (second_lang, ALIGN, ["phones.txt", "Z_B", "no model"]),
    "utterance shorter than its phones": (both(features("bob-3", lambda mat: mat[:9]), NONE_MAY_FAIL), ALIGN,
                                          ["data/train", "bob-3", "9 frames", "max_failed"]),
    "model cut off": (cut("exp/mono/final.safetensors"), ALIGN, ["final.safetensors"]),
    "damaged tree": (cut("exp/mono/tree.json"), ALIGN, ["tree.json"]),
    "no alignment": (remove("exp/mono_ali/ali.ark"), TRI, ["ali.ark"]),
    "alignment of other features": (features("ann-1", lambda mat: mat[:-1]), TRI, ["ann-1", "frames"]),
    # stage 8
    "alignment archive cut off": (cut("exp/mono_ali/pdf.ark"), LSTMP, ["pdf.ark"]),
    "unknown key of the network": (edit("conf/lstmp.yaml", "epochs:", "epoch:"), LSTMP, ["lstmp.yaml", "epoch"]),
    "held-out list with an unknown utterance": (write("heldout", "nobody-1\n"), LSTMP,
                                                ["held out", "utterance"]),
    "number of states does not fit": (write("exp/mono_ali/num_pdfs", "3\n"), LSTMP, ["mono_ali"]),
    # stages 9 and 10
    "no G": (remove("data/lang_lm/G.fst"), GRAPH, ["G.fst"]),
    "L cut off": (cut("data/lang_lm/L_disambig.fst"), GRAPH, ["L_disambig.fst"]),
    "graph of another model": (edit("exp/mono/graph_lm/graph.json", '"num_pdfs": 22', '"num_pdfs": 23'), DECODE,
                               ["graph.json", "23"]),
    "graph cut off": (cut("exp/mono/graph_lm/HCLG.k2.safetensors"), DECODE, ["HCLG.k2.safetensors"]),
    "features of another dimension": (features("ann-1", lambda mat: mat), (decode, DECODE[1].replace(
        "--model exp/mono ", "--model exp/lstmp ")), ["data/train"]),
    # stage 11
    "not decoded": (remove("exp/mono/decode_lm_train/decode.json"), SCORE, ["decode.json"]),
    "damaged hypotheses": (write("exp/mono/decode_lm_train/scoring/8_0.0.txt", b"ann-1 \xff\n"), SCORE,
                           ["8_0.0.txt:1"]),
    "not scored": (lambda root: None, RESULTS, ["score.json"]),
}


def argv(root: Path, text: str) -> list[str]:
    """The command's arguments, with paths below the folder of the experiment."""
    return [f"{root}/{a}" if re.match(r"(src|data|exp|conf|heldout)\b", a) else a for a in text.split()]


@dataclass
class Outcome:
    code: int
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in re.split(r"[\r\n]", self.err) if line.startswith("error: ")]


def run(root, command, capsys) -> Outcome:
    module, text = command
    capsys.readouterr()
    try:
        module.main(argv(root, text))
        code = 0
    except SystemExit as e:
        code = e.code
    return Outcome(code, capsys.readouterr().err)


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gives_one_line_and_loses_nothing(name, root, capsys):
    spoil, command, words = CASES[name]
    spoil(root)
    before = w.snapshot(root)
    outcome = run(root, command, capsys)
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert len(outcome.errors) == 1, outcome.err
    line = outcome.errors[0]
    for word in words:
        assert word in line, line
    assert "; " in line, f"no hint: {line}"
    after = w.snapshot(root)
    lost = [p for p in before if p not in after]
    assert not lost, f"{lost} are lost"
    overwritten = [p for p in before if p.endswith((".safetensors", ".fst", ".json", ".ark")) and after[p] != before[p]]
    assert not overwritten, f"{overwritten} were overwritten"


def test_there_are_enough_cases():
    assert len(CASES) >= 25


# ---- one bad utterance is reported, counted and left out

ONE_BAD = {
    "missing wav": (remove("src/ann-2.wav"), (take_data_dirs, TAKE[1].replace("--max-bad 0", "--max-bad 1")), "ann-2"),
    "audio gone after stage 1": (both(remove("src/ann-2.wav"), edit("conf/mfcc.yaml", "max_bad: 0.01", "max_bad: 1")),
                                 MFCC, "ann-2"),
    "utterance shorter than its phones": (both(features("bob-3", lambda mat: mat[:9]),
                                               edit("conf/align.yaml", "max_failed: 0.05", "max_failed: 0.2")),
                                          ALIGN, "bob-3"),
    "no alignment of an utterance": (both(edit("exp/mono_ali/pdf.scp", "bob-3 ", "bob-4 "),
                                          edit("conf/lstmp.yaml", "max_left_out: 0.1", "max_left_out: 0.5")),
                                     LSTMP, "bob-3"),
    "NaN in features, decoding": (both(features("bob-3", nan), edit("conf/decode.yaml", "max_failed: 0.05",
                                                                    "max_failed: 0.2")), DECODE, "bob-3"),
    "NaN in features, training": (both(features("bob-3", nan), edit("conf/mono.yaml", "max_failed: 0.05",
                                                                    "max_failed: 0.2")), MONO, "bob-3"),
}


@pytest.mark.parametrize("name", ONE_BAD)
def test_one_bad_utterance_is_left_out(name, root, capsys):
    spoil, command, utt = ONE_BAD[name]
    spoil(root)
    outcome = run(root, command, capsys)
    assert outcome.code == 0, outcome.err
    assert any(utt in line for line in outcome.err.splitlines() if "warning:" in line), outcome.err


def test_oov_words_are_reported_and_trained_as_noise(root, capsys):
    edit("data/train/text", "BAT", "WOMBAT")(root)
    outcome = run(root, ALIGN, capsys)
    assert outcome.code == 0
    assert re.search(r"warning: .*: 1 of 13 words \(7\.69 %\) are not in words\.txt", outcome.err), outcome.err
