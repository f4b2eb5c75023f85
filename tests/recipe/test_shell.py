"""What run.sh is told in bash's words: variables of the run, and those that settings_of sets."""

import subprocess

import pytest

from lstmp.recipe.__main__ import main
from lstmp.recipe.shell import assignments, settings_function


def bash(text: str) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", "-euc", text], capture_output=True, text=True)


@pytest.fixture
def told(tmp_path, capsys):
    """What bash prints for a command after run.sh's variables are set, by options of run.sh."""
    def call(command: str, *options: str) -> str:
        main(["--exp", str(tmp_path), "--data", "d", *options])
        said = bash(f"{capsys.readouterr().out}\n{command}")
        assert said.returncode == 0, said.stderr
        return said.stdout.replace(str(tmp_path), "e")
    return call


def test_assignments_survive_bash():
    values = {"a": "it's; rm -rf $HOME", "b-c": 3, "d": ["x y", "`z`"], "e": [], "f": True}
    said = bash("\n".join(assignments(values)) + '\nprintf "%s|" "$a" "$b_c" "${d[@]}" "${#e[@]}" "$f"')
    assert said.stdout == "it's; rm -rf $HOME|3|x y|`z`|0|true|"


def test_settings_are_those_of_the_system_named():
    text = "\n".join(settings_function({"a": {"lang": "x y", "lms": ["s", "l"]}, "b-1": {"lang": "", "lms": []}}))
    said = bash(text + '\nfor s in a b-1; do settings_of $s; echo "$lang|${lms[*]}"; done\nsettings_of c')
    assert said.stdout == "x y|s l\n|\n" and "no such system: c" in said.stderr and said.returncode == 1


@pytest.mark.parametrize(("options", "gmm_train"), [([], "train"), (["--gmm_mp3_kbps", "32"], "train_coded32")])
def test_the_gmms_data_and_no_networks(told, options, gmm_train):
    said = told('echo "$gmm_train|${networks[*]}|$gmm_mp3_kbps"', "--networks", "{}", *options)
    assert said == f"{gmm_train}||{(options or ['', '0'])[1]}\n"


def test_copies_features_and_graph_of_each_network(told):
    networks = "{a: {}, b: {volumes: [0.5, 2], mp3_kbps: 24, feature: {kind: fmllr}}}"
    show = 'echo "$copies|$copies_suffix|${perturb_options[*]}|$train_feats|$feature_type|$graph"'
    said = told(f"for n in a b; do settings_of $n; {show}; done", "--networks", networks)
    assert said.splitlines() == [
        "train||--speeds 1 --mp3 0|d/train_fbank|fbank|e/tri1/graph_tg",
        "train_vol_0.5_2_mp3|_vol_0.5_2_mp3|--speeds 1 --mp3 24 --volume 0.5 2|e/fmllr/train_vol_0.5_2_mp3|fmllr|"
        "e/tri1/graph_tg"]


def test_which_systems_have_a_lang_of_their_own_and_are_rescored(told):
    said = told('for s in mono tri1 tri2b tri3b lstmp; do settings_of $s; echo "$lang|$rescore|${lms[*]}"; done',
                "--recipe", "mini_librispeech")
    assert said.splitlines() == ["d/lang|false|tgsmall"] * 3 + ["e/lang_tri3b|true|tgsmall tgmed"] * 2


@pytest.mark.parametrize(("options", "dictionary", "lm"), [
    ([], "--lexicon d/local/lexicon.txt", "--text d/local/lm_text.txt --order 3"),
    (["--lexicon", "", "--lm_text", ""], "--spell d/train", "--text d/train/text --skip-id --order 3"),
    (["--lexicon", "", "--arpa", "x.arpa"], "--spell d/train d/local/x.arpa d/local/lm_text.txt",
     "--arpa d/local/x.arpa")])
def test_sources_of_dictionary_and_language_model(told, options, dictionary, lm):
    assert told('echo "${dict_source[*]}|${lm_source[*]}"', *options) == f"{dictionary}|{lm}\n"


def test_graphs_are_made_of_what_is_decoded_and_of_the_networks_states(told):
    options = ["--recipe", "mini_librispeech", "--systems", "[tri3b, lstmp]", "--targets", "tri2b"]
    assert told('echo "${graph_models[*]}|${aligners[*]}"', *options) == "tri2b tri3b|tri2b tri3b\n"


def test_options_that_are_left_out_where_they_are_not_needed(told):
    show = 'echo "${wav_options[*]}|${limit_train[*]}|${limit_test[*]}"'
    assert told(show, "--train_utterances", "0", "--test_utterances", "7") == "||--max-utts 7\n"
    assert told(show, "--allow_commands", "true", "--test_utterances", "0") == "--allow-commands|--max-utts 700|\n"
