"""Resolving recipes, options and conf/ into the configuration of a run."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

from lstmp.conf_files import read_sections
from lstmp.errors import UserError
from lstmp.recipe import begin_run
from lstmp.recipe.__main__ import main
from lstmp.recipe.keys import RECIPE_KEYS
from lstmp.recipe.networks import describe
from lstmp.recipe.options import known_options, parse_options
from lstmp.recipe.resolve import choose_layout, find_file, resolve


@pytest.fixture
def project(tmp_path):
    """A copy of conf/ and recipes/ that a test may change."""
    for name in ("conf", "recipes"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def spoil(project, old, new, name="tiny"):
    path = project / "recipes" / name / "recipe.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def test_every_recipe_resolves(project):
    paths = sorted((project / "recipes").glob("*/recipe.yaml"))
    assert {p.parent.name for p in paths} >= {"tiny", "own", "mini_librispeech", "librispeech"}
    for path in paths:
        run, recipe, sections, found = resolve({"recipe": path.parent.name}, project)
        assert run["exp"] == f"exp/{path.parent.name}"
        assert set(sections) == {p.stem for p in (project / "conf").glob("*.yaml")} | {n.name for n in found}


def test_options_override_the_recipe_which_overrides_conf(project):
    """`seed` also sets the seed of every section, unless the section sets another one."""
    default = read_sections(project / "conf")["fbank"]
    spoil(project, "seed: 1", "seed: 5\nfbank:\n  low_freq: 30\n  high_freq: 5000")
    _, recipe, sections, _ = resolve({"fbank.high_freq": "5500", "score.seed": "9"}, project)
    assert sections["fbank"] == {**default, "low_freq": 30, "high_freq": 5500}
    assert recipe.seed == 5
    assert sections["lstmp"]["seed"] == 5
    assert sections["score"]["seed"] == 9


def test_options_can_set_nested_keys_and_lists(project):
    options = {"mono.em.num_iters": "3", "mono.em.grow_until": "2", "tests": "[a, b]", "mono.em.realign": "[1, 2]"}
    _, recipe, sections, _ = resolve(options, project)
    assert sections["mono"]["em"]["num_iters"] == 3
    assert sections["mono"]["em"]["realign"] == [1, 2]
    assert resolve({"lstmp.lr_final": "2e-5"}, project)[2]["lstmp"]["lr_final"] == 2e-5
    assert recipe.tests == ["a", "b"]
    assert resolve({"lm_text": ""}, project)[1].lm_text == ""


@pytest.mark.parametrize(("options", "words"), [
    ({"foo": "1"}, ["--foo", "known are"]),
    ({"sed": "1"}, ["--sed", "did you mean `--seed`"]),
    ({"lstmp.epoch": "1"}, ["--lstmp.epoch", "did you mean `epochs`"]),
    ({"lstm.epochs": "1"}, ["--lstm.epochs", "did you mean `--lstmp.epochs`"]),
    ({"lstmp": "1"}, ["--lstmp", "known are"]),
    ({"lstmp.epochs": "many"}, ["--lstmp.epochs", "whole number", "many"]),
    ({"lstmp.epochs": "["}, ["--lstmp.epochs", "cannot be read"]),
    ({"seed": "one"}, ["seed", "whole number"]),
    ({"seed": "-1"}, ["seed", "zero or more"]),
    ({"tests": "dev"}, ["tests", "list[str]"]),
    ({"tests": "[dev]"}, ["tests", "once only"]),
    ({"train": "a b"}, ["train", "letters"]),
    ({"held_out_speakers": "-1"}, ["held_out_speakers", "zero or more"]),
    ({"held_out": "1.5"}, ["held_out", "less than 1"]),
    ({"speeds": "[0.9, 1.1]"}, ["speeds", "1.0 among them"]),
    ({"speeds": "[1, 1]"}, ["speeds", "different"]),
    ({"volumes": "[2.0, 0.5]"}, ["volumes", "lowest"]),
    ({"volumes": "[2.0]"}, ["volumes", "lowest"]),
    ({"speaker_minutes": "-1"}, ["speaker_minutes", "zero or more"]),
    ({"gmm_mp3_kbps": "7"}, ["gmm_mp3_kbps", "from 8 to 160"]),
    ({"networks": "{tri1: {}}"}, ["networks", "other than"]),
    ({"networks": "{align: {}}"}, ["`align`", "file of conf/"]),
    ({"networks": "{a b: {}}"}, ["networks", "letters"]),
    ({"networks": "{a: 3}"}, ["`networks.a`", "group of keys"]),
    ({"networks": "{a: {cels: 3}}"}, ["networks.a.cels", "known are"]),
    ({"networks": "{a: {cells: many}}"}, ["networks.a.cells", "whole number"]),
    ({"networks": "{a: {speeds: [2.0]}}"}, ["speeds", "1.0 among them"]),
    ({"pron_probs": "perhaps"}, ["pron_probs", "true or false"]),
    ({"recipe": "tinny"}, ["tinny", "did you mean `tiny`"]),
    ({"stage": "12"}, ["--stage", "0 to 11", "12"]),
    ({"stage": "9", "stop-stage": "8"}, ["--stop-stage 8 comes before --stage 9"]),
    ({"dry-run": "2"}, ["--dry-run", "no value"]),
    ({"nj": "two"}, ["--nj", "two"]),
    ({"device": "gpu"}, ["--device", "gpu"]),
    ({"nnodes": "0"}, ["--nnodes", "from 1 to 4096"]),
    ({"rdzv-endpoint": "alpha"}, ["--rdzv-endpoint", "HOST:PORT", "alpha"]),
    ({"corpus": "/no/such/folder"}, ["/no/such/folder", "--corpus"]),
    ({"recipe": "mini_librispeech", "corpus": str(ROOT)}, ["splits", "train-clean-5", "pack", "download"]),
])
def test_wrong_options_are_named_in_the_error(project, options, words):
    with pytest.raises(UserError) as e:
        resolve(options, project)
    assert all(w in str(e.value) for w in words), str(e.value)


@pytest.mark.parametrize(("old", "new", "words"), [
    ("lm_order: 3", "lm_ordre: 3", ["unknown key `lm_ordre`", "did you mean `lm_order`"]),
    ("lm_order: 3", "lm_order: three", ["`lm_order`", "whole number"]),
    ("lm_order: 3\n", "", ["`lm_order` is missing"]),
    ("lm_order: 3", "lm_order: [", ["not valid YAML"]),
    ("seed: 1", "seed: 1\nfbank: 3", ["`fbank`", "group"]),
    ("seed: 1", "seed: 1\nfbank: {high: 3}", ["fbank.high", "known are"]),
    ("seed: 1", "seed: 1\nlayouts: {download: {train: a}}", ["`download`", "train, dev and tests"]),
])
def test_errors_in_a_recipe_name_file_and_line(project, old, new, words):
    path = spoil(project, old, new)
    with pytest.raises(UserError) as e:
        resolve({}, project)
    assert e.value.file == path
    assert all(w in str(e.value) for w in words), str(e.value)
    if "is missing" not in str(e.value):
        assert e.value.line is not None


def test_a_network_has_its_own_configuration_and_training_data(project):
    options = {"lstmp.epochs": "7", "speeds": "[1.0]", "networks": (
        "{lstmp: {cells: 99}, wide: {cells: 2048, feature: {cmvn: none}, speeds: [0.9, 1.0, 1.1], mp3_kbps: 24}, "
        "odd: {speeds: [1.0, 1.2], mp3_kbps: 32, speaker_minutes: 2.5}, short: {speaker_minutes: 3}}")}
    _, _, sections, found = resolve(options, project)
    assert [(n.name, n.suffix) for n in found] == [
        ("lstmp", ""), ("wide", "_sp_mp3"), ("odd", "_sp_1_1.2_mp3_32_spk2.5"), ("short", "_spk3")]
    base = read_sections(project / "conf")["lstmp"]
    assert sections["wide"]["cells"] == 2048 and sections["lstmp"]["cells"] == 99
    assert sections["odd"]["cells"] == resolve({}, project)[2]["lstmp"]["cells"]
    assert {s["epochs"] for s in (sections["wide"], sections["lstmp"])} == {7}
    assert sections["wide"]["feature"] == {**base["feature"], "cmvn": "none"}
    assert sections["odd"]["feature"] == base["feature"]


def test_the_page_of_results_describes_each_network(project):
    own = "{feature: {cmvn: none}, speeds: [1.0, 1.1], mp3_kbps: 24, speaker_minutes: 2.5}"
    options = {"lstmp.epochs": "7", "networks": "{lstmp: {}, b: " + own + "}"}
    base = read_sections(project / "conf")["lstmp"]
    first, second = describe(resolve(options, project)[3], base).split("  \n")
    assert first.startswith("`lstmp` is trained on the training data without MP3 coding; changed in conf/lstmp.yaml: ")
    assert "epochs 7" in first and "feature.cmvn" not in first
    assert "`b` is trained on the training data at speeds 1, 1.1 after MP3 coding at 24 kbit/s with speakers of 2.5 " \
        "minutes" in second
    assert "feature.cmvn none" in second and "epochs 7" in second


def test_if_gmms_are_trained_on_mp3_unchanged_speech_is_a_separate_variant(project):
    options = {"gmm_mp3_kbps": "24", "speeds": "[1.0]", "networks": "{a: {}, b: {mp3_kbps: 24}}"}
    _, recipe, _, found = resolve(options, project)
    assert [n.suffix for n in found] == ["_plain", "_mp3"]
    first = describe(found, read_sections(project / "conf")["lstmp"], recipe.gmm_mp3_kbps).split("  \n")[0]
    assert first == "The GMMs are trained on the training data after MP3 coding at 24 kbit/s."


def test_options_are_parsed_in_all_forms():
    assert parse_options(["--nj", "3", "--stop_stage=4", "--train_utterances", "5", "--fbank.high_freq", "-400"]) == {
        "nj": "3", "stop-stage": "4", "train_utterances": "5", "fbank.high_freq": "-400"}
    for wrong in (["nj", "3"], ["--"], ["--nj"], ["--nj", "--seed", "1"]):
        with pytest.raises(UserError):
            parse_options(wrong)


def test_the_layout_is_chosen_by_the_folders_of_the_corpus(tmp_path):
    layouts = {"pack": {"train": "a", "dev": "b", "tests": ["c"]}, "download": {"train": "a", "dev": "d", "tests": []}}
    for split in ("a", "b", "d"):
        (tmp_path / "LibriSpeech" / split).mkdir(parents=True)
    source = dict(file="recipe.yaml", line=1)
    assert choose_layout(layouts, {"corpus": ""}, **source) == layouts["download"]
    assert choose_layout(layouts, {"corpus": str(tmp_path)}, **source) == layouts["download"]
    (tmp_path / "LibriSpeech" / "c").mkdir()
    assert choose_layout(layouts, {"corpus": str(tmp_path)}, **source) == layouts["pack"]
    assert choose_layout(layouts, {"corpus": str(tmp_path / "LibriSpeech")}, **source) == layouts["pack"]
    with pytest.raises(UserError):
        choose_layout(layouts, {"corpus": str(tmp_path / "LibriSpeech" / "a")}, **source)


def test_files_of_the_corpus_are_found(project, tmp_path):
    run, recipe, _, _ = resolve({"recipe": "librispeech"}, project)
    corpus = tmp_path / "corpus"
    (corpus / "LibriSpeech").mkdir(parents=True)
    (corpus / "lm").mkdir()
    (corpus / "lm" / "lexicon.txt").write_text("A AH0\n")
    for given in (corpus, corpus / "LibriSpeech"):
        found = find_file("lexicon.txt", run | {"corpus": str(given)}, recipe)
        assert Path(found).read_text() == "A AH0\n"
    with pytest.raises(UserError, match="no such file"):
        find_file("other.txt", run | {"corpus": str(corpus)}, recipe)
    assert find_file("", run, recipe) == ""


class TestRanges:
    """Values are checked as the steps check them, and the error names their origin."""

    def error(self, options, project):
        with pytest.raises(UserError) as e:
            resolve(options, project)
        return str(e.value)

    def test_of_an_option(self, project):
        assert "option --tri1.em.num_iters: `em.num_iters` must be" in self.error({"tri1.em.num_iters": "0"}, project)
        assert "option --seed: `seed` must be" in self.error({"seed": "-1"}, project)

    def test_of_the_recipe(self, project):
        path = spoil(project, "    num_gaussians: 2000", "    num_gaussians: -2000")
        line = path.read_text().splitlines().index("    num_gaussians: -2000") + 1
        assert self.error({}, project).startswith(f"{path}:{line}: `em.num_gaussians` must be")

    def test_of_conf(self, project):
        path = project / "conf/decode.yaml"
        lines = path.read_text().splitlines()
        number = next(i for i, line in enumerate(lines) if line.startswith("  min_count"))
        lines[number] = "  min_count: -1"
        path.write_text("\n".join(lines))
        assert self.error({}, project).startswith(f"{path}:{number + 1}: `fmllr.min_count` must be")

    def test_of_a_network(self, project):
        path = spoil(project, "networks: {lstmp: {}}", "networks: {lstmp: {cells: 64}, other: {dropout: 2.0}}")
        line = next(i for i, x in enumerate(path.read_text().splitlines(), 1) if x.startswith("networks"))
        assert self.error({}, project).startswith(f"{path}:{line}: `dropout` must be")
        assert "option --networks: `dropout` must be" in self.error({"networks": "{a: {dropout: 2.0}}"}, project)
        assert "option --lstmp.dropout: `dropout` must be" in self.error({"lstmp.dropout": "2.0"}, project)

    def test_of_a_layout(self, project, tmp_path):
        for split in ("train-clean-5", "dev", "test", "test-other-fb"):
            (tmp_path / "corpus" / split).mkdir(parents=True)
        key = "    mp3_kbps: 24 "
        path = spoil(project, key, "    combinations: {}\n    networks: {lstmp: {epochs: 0}}\n" + key,
                     "mini_librispeech")
        line = next(i for i, x in enumerate(path.read_text().splitlines(), 1) if "epochs: 0" in x)
        found = self.error({"recipe": "mini_librispeech", "corpus": str(tmp_path / "corpus")}, project)
        assert found.startswith(f"{path}:{line}: `epochs` must be")


def test_an_error_lists_at_most_ten_known_names(project):
    with pytest.raises(UserError) as e:
        resolve({"lstmp.epoch": "1"}, project)
    assert str(e.value).partition("known are: ")[2].count(",") == 9


@pytest.mark.parametrize("conf", ["", ".", "conf", "exp/conf", "other/.conf.1"])
def test_begin_run_removes_no_other_folder(tmp_path, monkeypatch, conf):
    monkeypatch.chdir(tmp_path)
    for folder in ("conf", "exp/conf", "other/.conf.1"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(SystemExit), open(tmp_path / ".lock", "a") as lock:
        begin_run.main([str(lock.fileno()), "exp", conf])
    assert all((tmp_path / folder).is_dir() for folder in ("conf", "exp/conf", "other/.conf.1"))


def test_main_writes_the_configuration_for_begin_run(tmp_path, capsys):
    main(["--exp", str(tmp_path / "exp"), "--lstmp.epochs", "3"])
    new = next(line.partition("=")[2] for line in capsys.readouterr().out.splitlines() if line.startswith("new_conf="))
    assert yaml.safe_load((Path(new) / "lstmp.yaml").read_text())["epochs"] == 3
    path = tmp_path / "exp/conf/lstmp.yaml"
    with open(tmp_path / "exp/.lock", "a+b") as lock:
        begin_run.main([str(lock.fileno()), str(tmp_path / "exp"), new])
        assert yaml.safe_load(path.read_text())["epochs"] == 3 and not Path(new).exists()
        stamp = path.stat().st_mtime_ns
        main(["--exp", str(tmp_path / "exp"), "--lstmp.epochs", "3"])
        begin_run.main([str(lock.fileno()), str(tmp_path / "exp"), new])
    assert path.stat().st_mtime_ns == stamp  # not written again


def test_begin_run_goes_on_without_page_and_record(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LSTMP_RUN", "1")
    exp = tmp_path / "exp"
    main(["--exp", str(exp)])
    new = next(line.partition("=")[2] for line in capsys.readouterr().out.splitlines() if line.startswith("new_conf="))
    (exp / "report").write_text("a file")
    (tmp_path / "plan").write_text("== stage 1: data\n  steps/one.sh 'not closed\n")
    with open(exp / ".lock", "a+b") as lock:
        begin_run.main([str(lock.fileno()), str(exp), new, str(tmp_path / "plan")])
    warnings = capsys.readouterr().err.splitlines()
    assert [w.split(": ")[1] for w in warnings] == [
        "the page of the report cannot be begun", "the progress of this run is not recorded"]
    assert (exp / "conf/lstmp.yaml").is_file()


def test_the_command_of_a_run_can_be_copied(tmp_path, capsys, monkeypatch):
    arguments = ["--exp", str(tmp_path / "a b"), "--networks", "{lstmp: {mp3_kbps: 24}}", "--dry-run"]
    monkeypatch.delenv("LSTMP_COMMAND", raising=False)
    main(arguments)
    exported = shlex.split(capsys.readouterr().out.splitlines()[-1])
    (command,) = [word.partition("=")[2] for word in exported if word.startswith("LSTMP_COMMAND=")]
    assert shlex.split(command) == ["./run.sh", *arguments]
    monkeypatch.setenv("LSTMP_COMMAND", "another/run.sh")
    main(arguments)
    assert "LSTMP_COMMAND=another/run.sh" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    main(["--exp", str(tmp_path / "exp"), "--dry-run"])
    assert "dry_run=true" in capsys.readouterr().out and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("stage", "made", "missing"), [
    (2, [], ("data/train/text", 1)),
    (5, ["data/lang/words.txt"], ("data/train/feats.scp", 4)),
    (6, ["data/lang/words.txt", "data/train/feats.scp"], ("exp/mono/final.safetensors", 5)),
    (8, [], ("exp/tri1_ali/num_pdfs", 7)),
    (11, [], ("exp/mono/decode_tg_dev/decode.json", 10)),
])
def test_a_stage_whose_predecessor_is_missing(tmp_path, capsys, stage, made, missing):
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    with pytest.raises(SystemExit):
        main(["--exp", str(tmp_path / "exp"), "--data", str(tmp_path / "data"), "--stage", str(stage)])
    said = capsys.readouterr().err
    assert f"{tmp_path / missing[0]}: stage {stage} needs what stage {missing[1]} makes" in said


def test_the_steps_learn_of_the_machines(tmp_path):
    arguments = ["--exp", str(tmp_path / "exp"), "--nnodes", "3", "--rdzv-endpoint", "alpha:1234", "--nj", "5",
                 "--launcher", "local/on_hosts.sh my hosts.txt"]
    script = (f'eval "$({sys.executable} -m lstmp.recipe {shlex.join(arguments)})"; '
              "bash -c 'echo $LSTMP_NNODES $LSTMP_RDZV_ENDPOINT $LSTMP_NJ $LSTMP_LAUNCHER'")
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out == "3 alpha:1234 5 local/on_hosts.sh my hosts.txt\n"


def test_main_fails_in_one_line(capsys):
    with pytest.raises(SystemExit) as e:
        main(["--foo", "1"])
    out, err = capsys.readouterr()
    assert e.value.code == 1
    assert out == ""
    assert err.startswith("error: unknown option --foo") and err.count("\n") == 1


def test_help_and_known_options_agree(capsys):
    main(["--help"])
    text = capsys.readouterr().out
    for option in known_options(read_sections(ROOT / "conf")):
        assert option.partition(".")[2] in text or option in RECIPE_KEYS


def test_without_a_lexicon_the_name_is_empty(tmp_path, capsys):
    """Letters are used as phones, and no file is looked for."""
    main(["--recipe", "tiny", "--lexicon", "", "--exp", str(tmp_path)])
    assert "\nlexicon=''\n" in capsys.readouterr().out


@pytest.mark.parametrize("given,wanted", [(None, "(mono tri1 lstmp)"), ("[lstmp, tri1]", "(tri1 lstmp)")])
def test_the_given_systems_are_decoded(tmp_path, capsys, given, wanted):
    main(["--recipe", "tiny", "--exp", str(tmp_path), *(["--systems", given] if given else [])])
    assert f"\nsystems={wanted}\n" in capsys.readouterr().out


def test_the_choice_of_systems_of_a_recipe_is_among_its_own_networks(project):
    recipe = project / "recipes/tiny/recipe.yaml"
    recipe.write_text(recipe.read_text() + "systems: [tri1]\ncombinations: {both: [tri1, lstmp]}\n")
    assert resolve({}, project)[1].systems == ["tri1"] and resolve({}, project)[1].combinations
    for options, wanted in (({"networks": "{a: {}}"}, []), ({"networks": "{a: {}}", "systems": "[tri1, a]"},
                                                            ["tri1", "a"]), ({"systems": "[]"}, [])):
        assert resolve(options, project)[1].systems == wanted
    assert not resolve({"networks": "{a: {}}"}, project)[1].combinations


def test_networks_that_are_not_decoded_are_not_trained(tmp_path, capsys):
    networks = "{a: {}, b: {epochs: 3}}"
    main(["--recipe", "tiny", "--exp", str(tmp_path), "--networks", networks, "--systems", "[tri1, b]"])
    assert "\nnetworks=(b)\n" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["{c: [lstmp]}", "{c: [lstmp, lstmp]}", "{c: [mono, lstmp]}", "{c: lstmp}",
                                   "{lstmp: [tri1, lstmp]}"])
def test_impossible_combinations_are_an_error(tmp_path, capsys, given):
    with pytest.raises(SystemExit):
        main(["--recipe", "tiny", "--exp", str(tmp_path), "--combinations", given])
    error = capsys.readouterr().err
    assert "must be a new name, with a list of two or more of tri1, lstmp" in error and error.count("\n") == 1


@pytest.mark.parametrize("given", ["[lstmp]", "[tri1, tri3b]"])
def test_unknown_systems_or_missing_triphones_are_an_error(tmp_path, capsys, given):
    with pytest.raises(SystemExit):
        main(["--recipe", "tiny", "--exp", str(tmp_path), "--systems", given])
    assert "`systems` must be empty, or some of mono, tri1, lstmp, tri1 among them" in capsys.readouterr().err
