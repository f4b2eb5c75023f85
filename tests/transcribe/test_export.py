"""Exporting: what is noted beside a network is enough, and a model that is replaced is never lost."""

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


def note(parts: Path, graph="graph_x", decoding="decode_x_dev", **changed):
    """What decoding and the features leave."""
    data = parts / "data/dev_fbank"
    data.mkdir(parents=True, exist_ok=True)
    (data / "feats.json").write_text(json.dumps({"kind": "fbank", "config": fbank(**changed)}))
    search = config.to_dict(config.load(ROOT / "conf/decode.yaml", DecodeConfig))
    folder = parts / "net" / decoding
    folder.mkdir(exist_ok=True)
    (folder / "decode.json").write_text(json.dumps({
        "graph": str(parts / graph), "data": str(data), "config": {**search, "search_beam": 11.5}}))


@pytest.fixture
def noted(parts, tmp_path):
    """An experiment's folder: net/ with a decoding of data/, and what they were made of."""
    shutil.copytree(parts, tmp_path / "exp")
    info = tmp_path / "exp/graph_x/graph.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"lang": str(tmp_path / "exp/lang_x")}))
    note(tmp_path / "exp", num_mel_bins=40, low_freq=33.0)
    return tmp_path / "exp"


def fails(*options) -> str:
    with pytest.raises(UserError) as e:
        export.export(*options)
    return str(e.value)


def test_the_folder_of_the_network_is_enough(noted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export.main([str(noted / "net")])
    folder = ModelFolder.load("models/exp_net")
    assert (folder.lm_weight, folder.word_penalty) == (0.5, 0.25)
    made = Path("models/exp_net/conf")
    assert config.load(made / "fbank.yaml", FbankConfig).low_freq == 33.0
    assert config.load(made / "decode.yaml", DecodeConfig).search_beam == 11.5
    assert (made / "live.yaml").read_text() == (ROOT / "conf/live.yaml").read_text()
    (noted / "conf").mkdir()  # a run's
    (noted / "conf/live.yaml").write_text((ROOT / "conf/live.yaml").read_text() + "# ours\n")
    export.main([str(noted / "net"), "--out", "again"])
    assert Path("again/conf/live.yaml").read_text().endswith("# ours\n")


def test_notes_of_another_place_are_found_above_the_network(noted, tmp_path, monkeypatch):
    """They are as the steps were called: relative, and the experiment may have been moved."""
    decoded = list(noted.rglob("decode.json"))
    assert decoded
    for path in [*decoded, noted / "graph_x/graph.json"]:
        path.write_text(path.read_text().replace(f"{tmp_path}/", ""))
    shutil.move(noted, tmp_path / "moved/exp")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    export.export(tmp_path / "moved/exp/net", out="m")
    assert ModelFolder.load("m").feature == "fbank"
    shutil.rmtree(tmp_path / "moved/exp/lang_x")
    assert "it was made with exp/lang_x, which is not there; give --lang" in fails(tmp_path / "moved/exp/net")


def test_what_is_not_noted_or_not_one_thing_is_asked_for(noted, parts):
    net = noted / "net"
    shutil.copytree(noted / "graph_x", noted / "graph_y")
    note(noted, "graph_y", "decode_y_dev")
    shutil.copyfile(net / "decode_x_dev/score.json", net / "decode_y_dev/score.json")
    assert "decoded with several graphs" in fails(net) and "--graph" in fails(net)
    (net / "decode_y_dev/score.json").unlink()  # one is scored
    export.export(net, out=noted / "m")
    shutil.rmtree(net / "decode_x_dev"), shutil.rmtree(net / "decode_y_dev")
    assert "it was not decoded yet; run steps/decode.sh, or give --graph" in fails(net)
    with pytest.raises(SystemExit):
        export.main([])
    with pytest.raises(SystemExit):
        export.main([str(net), "--model", str(net)])


def test_configurations_that_differ_are_refused(noted, tmp_path):
    net = noted / "net"
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf/fbank.yaml").write_text(yaml.safe_dump(fbank(low_freq=33.0, max_bad=0.5)))
    export.export(net, conf=tmp_path / "conf", out=tmp_path / "m")
    (tmp_path / "conf/fbank.yaml").write_text(yaml.safe_dump(fbank(low_freq=20.0)))
    assert "fbank.yaml: not the features that the network knows: `low_freq` is 20.0, and 33.0 before" in fails(
        net, None, None, None, None, tmp_path / "conf", tmp_path / "m")
    (tmp_path / "conf/fbank.yaml").write_text(yaml.safe_dump(fbank(low_freq=33.0)))
    text = (ROOT / "conf/decode.yaml").read_text().replace("acoustic_scale: 0.09", "acoustic_scale: 0.19")
    (tmp_path / "conf/decode.yaml").write_text(text)
    assert "`acoustic_scale` is 0.19" in fails(net, None, None, None, None, tmp_path / "conf", tmp_path / "m")
    train = json.loads((net / "train.json").read_text())
    (net / "train.json").write_text(json.dumps(train | {"features": fbank(low_freq=60.0)}))
    assert "its features were extracted in two ways: `low_freq` is 33.0, and 60.0 before" in fails(net)


def test_adapted_features_name_their_model_and_what_they_were_made_of(tmp_path):
    from lstmp.transcribe.recorded import Recorded

    for name, about in {"net/decode_x_dev/decode.json": {"graph": "g", "data": "exp/fmllr"},
                        "net/train.json": {},
                        "fmllr/feats.json": {"kind": "fmllr", "model": "exp/tri3b", "transforms": "exp/tri3b/decode"},
                        "tri3b/decode/decode.json": {"data": "exp/data"},
                        "data/feats.json": {"kind": "mfcc", "config": {"num_ceps": 13}}}.items():
        config.write_text(tmp_path / "exp" / name, json.dumps(about))
    recorded = Recorded.of(tmp_path / "exp/net")
    assert recorded.adapt() == tmp_path / "exp/tri3b" and recorded.features() == {"num_ceps": 13}


def export_in_a_fork(parts, out, at: int | None = None) -> int:
    """How another process that exports ends, killed at its change number ``at`` of the folder above ``out``."""
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
def test_killed_at_every_change_it_loses_no_model(parts, tmp_path, monkeypatch, exchange):
    """Where the file system cannot exchange two names, an export that is killed between them is mended by the next."""
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
        with pytest.raises(UserError, match="its replacing by another model was cut off; run steps/export_model.sh"):
            ModelFolder.load(out)
        files.restore_folder(out)
        assert {p.relative_to(out) for p in out.rglob("*")} == first
        outcomes.add("hidden")
    assert outcomes == ({"there"} if exchange else {"there", "hidden"})
    assert export_in_a_fork(parts, out) == 0
    assert os.listdir(tmp_path / "models") == ["m"]


def test_a_model_that_is_replaced_while_it_is_in_use_is_told(model, tmp_path, monkeypatch):
    shutil.copytree(model, tmp_path / "m")
    shutil.copytree(model, tmp_path / "new")
    folder = ModelFolder.load(tmp_path / "m")

    def cut(*args):
        files.replace_folder(tmp_path / "new", tmp_path / "m")
        return []
    monkeypatch.setattr(recognize, "_cut", cut)
    with pytest.raises(UserError, match="it was replaced by another model meanwhile"):
        recognize.recognize(folder, [], tmp_path, 1)
