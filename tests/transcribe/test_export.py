"""Export of a model: the records in a network's folder are sufficient, and a model that is replaced is never lost."""

import json
import os
import runpy
import shutil
import signal
from pathlib import Path

import pytest
import yaml
from helpers.five_words import ROOT, export_options

from lstmp import config, files
from lstmp.decode.config import DecodeConfig
from lstmp.errors import UserError
from lstmp.features.extract import FbankConfig
from lstmp.transcribe import export, recognize
from lstmp.transcribe.folder import ModelFolder


def fbank(**changed) -> dict:
    return {**config.to_dict(config.load(ROOT / "conf/fbank.yaml", FbankConfig)), **changed}


def record(parts: Path, graph="graph_x", decoding="decode_x_dev", **changed):
    """Write the records of decoding and features."""
    data = parts / "data/dev_fbank"
    data.mkdir(parents=True, exist_ok=True)
    (data / "feats.json").write_text(json.dumps({"kind": "fbank", "config": fbank(**changed)}))
    search = config.to_dict(config.load(ROOT / "conf/decode.yaml", DecodeConfig))
    folder = parts / "net" / decoding
    folder.mkdir(exist_ok=True)
    (folder / "decode.json").write_text(json.dumps({
        "graph": str(parts / graph), "data": str(data), "config": {**search, "search_beam": 11.5}}))


@pytest.fixture
def recorded_exp(parts, tmp_path):
    """An experiment's folder: net/ with a decoding of data/, and what they were made of."""
    shutil.copytree(parts, tmp_path / "exp")
    info = tmp_path / "exp/graph_x/graph.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"lang": str(tmp_path / "exp/lang_x")}))
    record(tmp_path / "exp", num_mel_bins=40, low_freq=33.0)
    return tmp_path / "exp"


def fails(*options) -> str:
    with pytest.raises(UserError) as e:
        export.export(*options)
    return str(e.value)


def test_the_folder_of_the_network_is_enough(recorded_exp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export.main([str(recorded_exp / "net")])
    folder = ModelFolder.load("models/exp_net")
    assert (folder.lm_weight, folder.word_penalty) == (0.5, 0.25)
    made = Path("models/exp_net/conf")
    assert config.load(made / "fbank.yaml", FbankConfig).low_freq == 33.0
    assert config.load(made / "decode.yaml", DecodeConfig).search_beam == 11.5
    assert (made / "live.yaml").read_text() == (ROOT / "conf/live.yaml").read_text()
    (recorded_exp / "conf").mkdir()  # a run's
    (recorded_exp / "conf/live.yaml").write_text((ROOT / "conf/live.yaml").read_text() + "# ours\n")
    export.main([str(recorded_exp / "net"), "--out", "again"])
    assert Path("again/conf/live.yaml").read_text().endswith("# ours\n")


def test_recorded_paths_are_found_above_the_network(recorded_exp, tmp_path, monkeypatch):
    """They are relative paths, as the steps were called, and the experiment may have been moved."""
    decoded = list(recorded_exp.rglob("decode.json"))
    assert decoded
    for path in [*decoded, recorded_exp / "graph_x/graph.json"]:
        path.write_text(path.read_text().replace(f"{tmp_path}/", ""))
    shutil.move(recorded_exp, tmp_path / "moved/exp")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    export.export(tmp_path / "moved/exp/net", out="m")
    assert ModelFolder.load("m").feature == "fbank"
    shutil.rmtree(tmp_path / "moved/exp/lang_x")
    assert "it was made with exp/lang_x, which does not exist; give --lang" in fails(tmp_path / "moved/exp/net")


def test_missing_or_ambiguous_records_must_be_given_as_options(recorded_exp, parts):
    net = recorded_exp / "net"
    shutil.copytree(recorded_exp / "graph_x", recorded_exp / "graph_y")
    record(recorded_exp, "graph_y", "decode_y_dev")
    shutil.copyfile(net / "decode_x_dev/score.json", net / "decode_y_dev/score.json")
    assert "decoded with several graphs" in fails(net) and "--graph" in fails(net)
    (net / "decode_y_dev/score.json").unlink()  # one is scored
    export.export(net, out=recorded_exp / "m")
    shutil.rmtree(net / "decode_x_dev"), shutil.rmtree(net / "decode_y_dev")
    assert "it has not been decoded yet; run steps/decode.sh, or give --graph" in fails(net)
    with pytest.raises(SystemExit):
        export.main([])
    with pytest.raises(SystemExit):
        export.main([str(net), "--model", str(net)])


def test_configurations_that_differ_are_refused(recorded_exp, tmp_path):
    net = recorded_exp / "net"
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf/fbank.yaml").write_text(yaml.safe_dump(fbank(low_freq=33.0, max_bad=0.5)))
    export.export(net, conf=tmp_path / "conf", out=tmp_path / "m")
    (tmp_path / "conf/fbank.yaml").write_text(yaml.safe_dump(fbank(low_freq=20.0)))
    assert "fbank.yaml: not the features that the network was trained on: `low_freq` is 20.0, and 33.0 before" in fails(
        net, None, None, None, None, tmp_path / "conf", tmp_path / "m")
    (tmp_path / "conf/fbank.yaml").write_text(yaml.safe_dump(fbank(low_freq=33.0)))
    text = (ROOT / "conf/decode.yaml").read_text().replace("acoustic_scale: 0.09", "acoustic_scale: 0.19")
    (tmp_path / "conf/decode.yaml").write_text(text)
    assert "`acoustic_scale` is 0.19" in fails(net, None, None, None, None, tmp_path / "conf", tmp_path / "m")
    train = json.loads((net / "train.json").read_text())
    (net / "train.json").write_text(json.dumps(train | {"features": fbank(low_freq=60.0)}))
    assert "its features were extracted in two ways: `low_freq` is 33.0, and 60.0 before" in fails(net)


def test_adapted_features_name_their_gmm_and_their_source_features(tmp_path):
    from lstmp.transcribe.recorded import RecordedInputs

    for name, about in {"net/decode_x_dev/decode.json": {"graph": "g", "data": "exp/fmllr"},
                        "net/train.json": {},
                        "fmllr/feats.json": {"kind": "fmllr", "model": "exp/tri3b", "transforms": "exp/tri3b/decode"},
                        "tri3b/decode/decode.json": {"data": "exp/data"},
                        "data/feats.json": {"kind": "mfcc", "config": {"num_ceps": 13}}}.items():
        config.write_text(tmp_path / "exp" / name, json.dumps(about))
    recorded = RecordedInputs.of(tmp_path / "exp/net")
    assert recorded.adapt() == tmp_path / "exp/tri3b" and recorded.features() == {"num_ceps": 13}


def export_in_a_fork(parts, out, at: int | None = None) -> int:
    """Export in another process, killed at change number ``at`` of the folder above ``out``. Returns its status."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        os.setsid()
        if at is not None:
            os.environ |= {"LSTMP_KILL_BELOW": str(out.parent), "LSTMP_KILL_COUNT": f"{out.parent}.count",
                           "LSTMP_KILL_AT": str(at)}
            runpy.run_path(str(ROOT / "tests/kill/sitecustomize.py"))
        export.main(export_options(parts, out))
        status = 0
    finally:
        os._exit(status)


@pytest.mark.parametrize("exchange", [True, False])
def test_an_export_killed_at_any_change_loses_no_model(parts, tmp_path, monkeypatch, exchange):
    """If the file system cannot exchange two names, the next export repairs one that was killed between the renames."""
    out, count = tmp_path / "models/m", tmp_path / "models.count"
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    monkeypatch.setattr(files, "_swept", set())
    for _ in range(2):
        count.unlink(missing_ok=True)
        assert export_in_a_fork(parts, out, 0) == 0
    changes, first = count.stat().st_size, {p.relative_to(out) for p in out.rglob("*")}
    assert changes > 40
    outcomes = set()
    for at in [*range(1, changes - 40, 7), *range(changes - 39, changes + 1)]:
        count.unlink()
        assert export_in_a_fork(parts, out, at) == -signal.SIGKILL
        if out.exists():
            assert {p.relative_to(out) for p in out.rglob("*")} == first
            ModelFolder.load(out).check_unchanged()
            outcomes.add("there")
            continue
        with pytest.raises(UserError, match="its replacement by another model was interrupted; run steps/"):
            ModelFolder.load(out)
        files.restore_folder(out)
        assert {p.relative_to(out) for p in out.rglob("*")} == first
        outcomes.add("hidden")
    assert outcomes == ({"there"} if exchange else {"there", "hidden"})
    assert export_in_a_fork(parts, out) == 0
    assert os.listdir(tmp_path / "models") == ["m"]


def test_a_model_replaced_during_use_is_reported(model, tmp_path, monkeypatch):
    shutil.copytree(model, tmp_path / "m")
    shutil.copytree(model, tmp_path / "new")
    folder = ModelFolder.load(tmp_path / "m")

    def cut(*args):
        files.replace_folder(tmp_path / "new", tmp_path / "m")
        return []
    monkeypatch.setattr(recognize, "_cut", cut)
    with pytest.raises(UserError, match="it was replaced by another model while it was in use"):
        recognize.recognize(folder, [], tmp_path, 1)
