"""Grids whose networks are trained by LF-MMI, sMBR or MMI, start from other networks, or have i-vectors."""

import json
import shutil

import pytest
import yaml
from helpers.known_gaussians import ali_dir, mono_dir, toy  # noqa: F401
from helpers.mmi_training import MmiToy, denominator_dir, states  # noqa: F401

from lstmp.corpus.prepare_lm import prepare_lm
from lstmp.errors import UserError
from lstmp.experiment import page, records, run
from lstmp.experiment.grid_file import load
from lstmp.features.load import archives
from lstmp.graph.make_graph import make_graph

COMMON = {"feature": {"cmvn": "none"}, "cells": 8, "recurrent_projection": 4, "label_delay": 2, "chunk": 5,
          "streams": 4, "epochs": 1, "dropout": 0.0, "freq_masks": 0, "average_last": 0, "subsampling": 3}
CHAIN = {"first": {}, "second": {"init": "first", "criterion": "lfmmi", "mmi": {"leaky": 0.02}},
         "third": {"init": "second", "criterion": "lfmmi"}}


@pytest.fixture
def write(toy, states, denominator_dir, tmp_path):  # noqa: F811
    """Writes a grid with the networks given, and returns its path."""
    data = MmiToy(tmp_path, shutil.copytree(toy.data, tmp_path / "data"), states, denominator_dir)
    (data.data / "utt2num_frames").write_text("".join(f"{utt} {len(x)}\n" for utt, x in sorted(toy.truth.items())))
    source = {"train": str(data.data), "ali": str(states), "valid": str(data.valid), "graph": "none"}
    values = {"exp": str(tmp_path / "exp"), "page": str(tmp_path / "page/README.md"), "title": "A chain", "sets": [],
              "sources": {"biphones": {**source, "decode": {}, "denominator": str(denominator_dir)},
                          "states": {**source, "decode": {}}},
              "mmi": {"leaky": 0.01}, "common": COMMON}

    def write(networks, **changed):
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump({**values, "networks": networks, **changed}, sort_keys=False))
        return path
    return write


def trained(folder):
    return json.loads((folder / "train.json").read_text())


@pytest.mark.parametrize("nj", ["1", "3"])
def test_networks_start_from_the_networks_before_them(python_steps, write, tmp_path, capsys, nj):
    file = write(CHAIN)
    run.main([str(file), "--nj", nj])
    assert "3 of 3" in capsys.readouterr().out
    folders = [tmp_path / "exp" / name / "seed1" for name in CHAIN]
    assert [trained(f)["config"]["criterion"] for f in folders] == ["cross_entropy", "lfmmi", "lfmmi"]
    options = [yaml.safe_load(f.with_name("seed1.conf").joinpath("mmi.yaml").read_text())["leaky"] for f in folders[1:]]
    assert options == [0.02, 0.01]
    assert f"--init {folders[0]}" in " ".join(run.commands(load(file), load(file).runs()[1])[0])
    page.main([str(file)])
    text = (tmp_path / "page/README.md").read_text()
    assert "| second | LSTMP r, LF-MMI, from first |" in text and "| third | LSTMP r, LF-MMI, from second |" in text
    # a change of the first network is one of all; a change of the criterion's options one of those that have them
    grid = load(write({**CHAIN, "first": {"cells": 9}}))
    assert [records.is_done(grid, r) for r in grid.runs()] == [False] * 3
    grid = load(write(CHAIN, mmi={"leaky": 0.03}))
    assert [records.is_done(grid, r) for r in grid.runs()] == [True, True, False]


def test_networks_are_trained_further_on_lattices(python_steps, write, toy, ali_dir, tmp_path, capsys):  # noqa: F811
    prepare_lm(toy.lang, tmp_path / "lang_weak", texts=[toy.data / "text"], order=1, skip_id=True)
    make_graph(tmp_path / "lang_weak", ali_dir, tmp_path / "graph")
    words = {**yaml.safe_load(write({"a": {}}).read_text())["sources"]["states"], "ali": str(ali_dir),
             "weak_graph": str(tmp_path / "graph")}
    networks = {"ce": {"cells": 10}, "smbr": {"init": "ce", "criterion": "smbr", "sequence": {"accuracy": "phone"}},
                "mmi": {"init": "smbr", "criterion": "mmi", "epochs": 1}}
    changed = {"sources": {"words": words}, "common": COMMON | {"subsampling": 1},
               "sequence": {"training": {"streams": 6, "epochs": 3, "lr_initial": 1e-3}}}
    file = write(networks, **changed)
    run.main([str(file), "--nj", "2"])
    assert "3 of 3" in capsys.readouterr().out
    found = [trained(tmp_path / "exp" / name / "seed1") for name in networks]
    values = [[f["config"][key] for f in found] for key in ("criterion", "cells", "chunk", "streams", "epochs")]
    assert values == [["cross_entropy", "smbr", "mmi"], [10] * 3, [5, 0, 0], [4, 6, 6], [1, 3, 1]]
    assert [len(f["epochs"]) for f in found] == [1, 3, 1]
    conf = [yaml.safe_load((tmp_path / f"exp/{name}/seed1.conf/sequence.yaml").read_text()) for name in ("smbr", "mmi")]
    assert [c["accuracy"] for c in conf] == ["phone", "state"]
    page.main([str(file)])
    text = (tmp_path / "page/README.md").read_text()
    assert "| smbr | LSTMP r, sMBR, from ce |" in text and "| mmi | LSTMP r, MMI, from smbr |" in text
    # options of the criterion count for the networks that have it, and for those that start from these
    grid = load(file)
    assert all(records.is_done(grid, r) and run.is_trained(r) for r in grid.runs())
    grid = load(write({**networks, "smbr": {**networks["smbr"], "sequence": {"one_silence_class": False}}}, **changed))
    assert [records.is_done(grid, r) for r in grid.runs()] == [True, False, False]
    assert [run.is_trained(r) for r in grid.runs()] == [True, False, True]


def test_scores_of_lfmmi_keep_their_factor_on_lattices(write):
    biphones = yaml.safe_load(write({"a": {}}).read_text())["sources"]["biphones"] | {"weak_graph": "weak"}
    networks = {"a": {"criterion": "lfmmi"}, "b": {"init": "a", "criterion": "smbr"},
                "c": {"init": "b", "criterion": "mmi"}, "d": {}, "e": {"init": "d", "criterion": "smbr"}}
    grid = load(write(networks, sources={"biphones": biphones}))
    assert [network.config.acoustic_factor for network in grid.networks.values()] == [0.0, 10.0, 10.0, 0.0, 0.0]


def test_a_network_whose_first_network_is_recorded_only_trains_that_again(python_steps, write, tmp_path, capsys):
    file = write(CHAIN)
    run.main([str(file), "--only", "first", "--nj", "1"])
    shutil.rmtree(tmp_path / "exp/first")
    capsys.readouterr()
    record = tmp_path / "page/records/first-seed1.json"
    before = record.stat().st_mtime_ns
    run.main([str(file), "--only", "third", "--nj", "1"])
    output = capsys.readouterr().out
    assert "3 of 3" in output and "2 networks that others start from are trained here again" in output
    assert all((tmp_path / "exp" / name / "seed1/final.safetensors").is_file() for name in CHAIN)
    assert record.stat().st_mtime_ns == before and not (record.parent / "second-seed1.json").exists()


def test_a_network_of_another_configuration_is_not_started_from(python_steps, write, tmp_path, capsys):
    run.main([str(write(CHAIN)), "--only", "first", "--nj", "1"])
    capsys.readouterr()
    run.main([str(write({**CHAIN, "first": {"cells": 9}, "second": {**CHAIN["second"], "cells": 9}})), "--only",
              "second", "--nj", "1"])
    assert "1 networks that others start from are trained here again" in capsys.readouterr().out
    assert all(trained(tmp_path / "exp" / name / "seed1")["config"]["cells"] == 9 for name in ("first", "second"))


def test_a_network_of_other_data_is_not_started_from(python_steps, write, tmp_path, capsys):
    file = write(CHAIN)
    run.main([str(file), "--only", "first", "--nj", "1"])
    first, second = load(file).runs()[:2]
    assert run.is_trained(first) and run.missing_initial([second]) == []
    archive = archives(tmp_path / "data")[0]
    content = archive.read_bytes()
    archive.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # the exponent of the last feature
    assert not run.is_trained(first) and run.missing_initial([second]) == [first]


def test_an_exception_ends_the_run_and_those_that_wait_for_it(python_steps, write, capsys, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")
    monkeypatch.setattr(records, "write", full)
    with pytest.raises(SystemExit):
        run.main([str(write(CHAIN)), "--nj", "2"])
    assert "3 of 3 runs failed" in capsys.readouterr().err


def test_what_starts_from_a_failed_network_is_not_trained(python_steps, write, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run.main([str(write({**CHAIN, "first": {"lr_initial": 1e30, "divergence_retries": 0}})), "--nj", "2"])
    error = capsys.readouterr()
    assert "3 of 3 runs failed" in error.err and error.err.count("\n") == 1
    assert f"{tmp_path}/exp/third/seed1: not trained, because {tmp_path}/exp/second/seed1 failed" in error.out


@pytest.mark.parametrize("networks, message", [
    ({"a": {"init": "b"}, "b": {}}, "network `b`, which a starts from, is not listed before it"),
    ({"b": {}, "a": {"init": "b", "seeds": [1, 2]}}, "network `b`, which a starts from, has other seeds"),
    ({"a": {"source": "states", "criterion": "lfmmi"}}, "network `a` needs `denominator` in its source `states`"),
    ({"a": {"feature": {"cmvn": "online_mean"}, "ivector_dim": 60}}, "network `a` needs `ivectors` in its source"),
    ({"a": {"feature": {"kind": "online_fmllr"}}}, "network `a` needs `online_fmllr` in its source"),
    ({"a": {"criterion": "smbr"}}, "network `a` is trained on lattices, and needs the key `init`"),
    ({"b": {}, "a": {"init": "b", "criterion": "mmi"}}, "network `a` needs `weak_graph` in its source `biphones`"),
    ({"a": {"sequence": {"boost": 0.1}}}, "network `a` has `sequence`, but is not trained on lattices"),
    ({"a": {"mmi": {"leaky": 0.1}}}, "network `a` has `mmi`, but is not trained by LF-MMI"),
    ({"b": {}, "a": {"init": "b", "feature": {"kind": "fmllr"}}}, "network `b`, which a starts from, has other feat"),
    ({"a": {"criterion": "lfmmi", "mmi": {"leeky": 1}}}, "networks.a.mmi.leeky")])
def test_errors_name_the_network(write, networks, message):
    with pytest.raises(UserError, match=message):
        load(write(networks))
