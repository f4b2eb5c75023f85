"""The shell code for run.sh: variables of the run, and those that settings_of sets."""

import subprocess

import pytest

from lstmp.errors import UserError
from lstmp.recipe.__main__ import main
from lstmp.recipe.resolve import resolve
from lstmp.recipe.shell import assignments, settings_function


def bash(text: str) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", "-euc", text], capture_output=True, text=True)


@pytest.fixture
def bash_output(tmp_path, capsys):
    """A function that sets run.sh's variables for some options, runs a command in bash and returns its output."""
    def call(command: str, *options: str) -> str:
        main(["--exp", str(tmp_path), "--data", "d", *options])
        output = bash(f"{capsys.readouterr().out}\n{command}")
        assert output.returncode == 0, output.stderr
        return output.stdout.replace(str(tmp_path), "e")
    return call


def test_assignments_are_quoted_for_bash():
    values = {"a": "it's; rm -rf $HOME", "b-c": 3, "d": ["x y", "`z`"], "e": [], "f": True}
    output = bash("\n".join(assignments(values)) + '\nprintf "%s|" "$a" "$b_c" "${d[@]}" "${#e[@]}" "$f"')
    assert output.stdout == "it's; rm -rf $HOME|3|x y|`z`|0|true|"


def test_settings_of_sets_the_variables_of_a_system():
    text = "\n".join(settings_function({"a": {"lang": "x y", "lms": ["s", "l"]}, "b-1": {"lang": "", "lms": []}}))
    output = bash(text + '\nfor s in a b-1; do settings_of $s; echo "$lang|${lms[*]}"; done\nsettings_of c')
    assert output.stdout == "x y|s l\n|\n" and "no such system: c" in output.stderr and output.returncode == 1


@pytest.mark.parametrize(("options", "gmm_train"), [([], "train"), (["--gmm_mp3_kbps", "32"], "train_coded32")])
def test_variables_of_a_recipe_without_networks(bash_output, options, gmm_train):
    output = bash_output('echo "$gmm_train|${networks[*]}|$gmm_mp3_kbps"', "--networks", "{}", *options)
    assert output == f"{gmm_train}||{(options or ['', '0'])[1]}\n"


def test_variables_of_each_network(bash_output):
    networks = "{a: {}, b: {volumes: [0.5, 2], mp3_kbps: 24, feature: {kind: fmllr}}}"
    show = 'echo "$copies|$copies_suffix|${perturb_options[*]}|$train_feats|$feature_type|$graph"'
    output = bash_output(f"for n in a b; do settings_of $n; {show}; done", "--networks", networks)
    assert output.splitlines() == [
        "train||--speeds 1 --mp3 0|d/train_fbank|fbank|e/tri1/graph_tg",
        "train_vol_0.5_2_mp3|_vol_0.5_2_mp3|--speeds 1 --mp3 24 --volume 0.5 2|e/fmllr/train_vol_0.5_2_mp3|fmllr|"
        "e/tri1/graph_tg"]


def test_combinations_of_decoded_systems(bash_output):
    options = ["--recipe", "mini_librispeech", "--corpus", "", "--networks", "{a: {}, b: {}}",
               "--combinations", "{two: [a, b], three: [tri3b, a, b]}"]
    show = 'for c in "${combinations[@]}"; do settings_of $c; echo "$c|${combined[*]}|${lms[*]}"; done'
    assert bash_output(show, *options).splitlines() == ["two|e/a e/b|tgsmall tgmed",
                                                        "three|e/tri3b e/a e/b|tgsmall tgmed"]
    assert bash_output(show, *options, "--systems", "[tri3b, a]") == ""


def test_a_network_trained_by_lfmmi_has_its_own_states_and_graph(bash_output):
    networks = "{a: {}, b: {criterion: lfmmi, subsampling: 3, mp3_kbps: 24}}"
    show = 'echo "$lfmmi|$states|${train_options[*]}|$graph"'
    assert bash_output('settings_of b; echo "${tie_options[*]}"', "--networks", networks).strip() == ""
    assert bash_output('settings_of b; echo "${tie_options[*]}"', "--networks", networks, "--biphone_leaves",
                       "90").strip() == "--leaves 90"
    output = bash_output(f"for n in a b; do settings_of $n; {show}; done", "--networks", networks)
    assert output.splitlines() == [
        "false|e/tri1_ali||e/tri1/graph_tg",
        "true|e/tri1_biphones_mp3|--denominator e/tri1_biphones_mp3/denominator --mmi-config e/conf/mmi.yaml|"
        "e/tri1_biphones_mp3/graph_tg"]


def test_online_fmllr_has_its_own_training_data(bash_output):
    kind = "feature: {kind: online_fmllr, cmvn: none}, freq_masks: 0"
    networks = (f"{{a: {{{kind}, mp3_kbps: 24}}, b: {{init: a, epochs: 1}}, c: {{{kind}, biphones: true, "
                "subsampling: 3}, d: {align_by: a}, e: {}}")
    show = 'echo "$feature_type|$online_fmllr|$train_feats|$align_feats|${train_options[*]}"'
    options = "--networks", networks, "--triphones", "[tri1, tri2b, tri3b]"
    output = bash_output(f"for n in a b c d e; do settings_of $n; {show}; done", *options)
    assert output.splitlines() == [
        "online_fmllr|e/tri1_ali_mp3/online_fmllr|e/tri1_ali_mp3/online_fmllr/train||"
        "--online-fmllr e/tri1_ali_mp3/online_fmllr",
        "online_fmllr|e/tri1_ali_mp3/online_fmllr|e/tri1_ali_mp3/online_fmllr/train||--init e/a",
        "online_fmllr|e/tri1_biphones/online_fmllr|e/tri1_biphones/online_fmllr/train||"
        "--online-fmllr e/tri1_biphones/online_fmllr",
        "fbank||d/train_fbank|d/train|",
        "fbank||d/train_fbank||"]
    for more, message in (
            (("--triphones", "[tri1]"), "network `a`: online fMLLR needs triphones with LDA and speaker adaptation"),
            (("--networks", f"{{a: {{{kind}}}, b: {{init: a, align_by: a}}}}"),
             "`networks.b.init`: online fMLLR of `a` is of another alignment; leave out `align_by`"),
            (("--online_fmllr.delay", "4"), "network `a` knows a frame's states 5 frames later"),
            (("--lstmp.subsampling", "3", "--online_fmllr.delay", "7"), "knows a frame's states 8 frames later")):
        with pytest.raises(UserError, match=message):
            resolve(dict(zip([o.removeprefix("--") for o in [*options, *more][::2]], [*options, *more][1::2],
                             strict=True)))


@pytest.mark.parametrize("more", ["", ", subsampling: 2", ", subsampling: 3, repeat_scores: true"])
def test_states_of_biphones_need_their_frame_rate(more):
    with pytest.raises(UserError, match="`networks.a` has `biphones`, so it needs `subsampling: 3`"):
        resolve({"networks": f"{{a: {{biphones: true{more}}}}}"})


def test_utterances_or_whole_speakers_are_held_out(bash_output):
    show = 'echo "${held_out_options[*]}"'
    assert bash_output(show, "--held_out", "0.2").split() == ["--held-out", "0.2"]
    assert bash_output(show, "--held_out_speakers", "3").split() == ["--held-out-speakers", "3"]


def test_states_of_biphones_serve_several_criteria(bash_output):
    networks = ("{a: {biphones: true, subsampling: 3}, b: {criterion: lfmmi, init: a}, c: {criterion: smbr, init: a}, "
                "d: {criterion: lfmmi, init: b}}")
    show = 'echo "$grows_tree|$lfmmi|$states|$graph_model|${train_options[*]}|$graph"'
    output = bash_output(f"for n in a b c d; do settings_of $n; {show}; done", "--networks", networks)
    states = "e/tri1_biphones"
    denominator = f"--denominator {states}/denominator --mmi-config e/conf/mmi.yaml"
    assert output.splitlines() == [
        f"true|false|{states}|{states}||{states}/graph_tg",
        f"true|true|{states}|{states}|--init e/a {denominator}|{states}/graph_tg",
        f"true|false|{states}|{states}|--init e/a --graph {states}/graph_weak --sequence-config e/conf/sequence.yaml|"
        f"{states}/graph_tg",
        f"true|true|{states}|{states}|--init e/b {denominator}|{states}/graph_tg"]


def test_a_network_trained_on_lattices_is_a_variant_of_the_one_it_starts_from(bash_output, tmp_path):
    networks = "{a: {cells: 99, mp3_kbps: 24, lr_initial: 0.1}, b: {criterion: smbr, init: a, epochs: 3}}"
    show = 'echo "$on_lattices|$states|${train_options[*]}|$graph|$weak_lm_order|$copies"'
    output = bash_output(f"for n in a b; do settings_of $n; {show}; done", "--networks", networks)
    assert output.splitlines() == [
        "false|e/tri1_ali_mp3||e/tri1/graph_tg|1|train_mp3",
        "true|e/tri1_ali_mp3|--init e/a --graph e/tri1/graph_weak --sequence-config e/conf/sequence.yaml|"
        "e/tri1/graph_tg|1|train_mp3"]
    _, _, sections, _ = resolve({"networks": networks})
    cfg = sections["b"]
    assert (cfg["cells"], cfg["chunk"], cfg["epochs"], cfg["lr_initial"], cfg["dropout"]) == (99, 0, 3, 1e-4, 0.0)


def test_an_ivector_extractor_is_trained_for_a_network(bash_output):
    networks = ("{a: {feature: {cmvn: online_mean}, ivector_dim: 60, mp3_kbps: 24}, b: {init: a, epochs: 1}, c: {}}")
    output = bash_output('for n in a b c; do settings_of $n; echo "$ivectors|${train_options[*]}"; done', "--networks",
                         networks)
    assert output.splitlines() == ["e/ivectors_mp3|--ivectors e/ivectors_mp3", "|--init e/a", "|"]


def test_a_network_can_be_trained_on_the_alignment_by_an_earlier_one(bash_output):
    networks = ("{a: {feature: {kind: fmllr, cmvn: none}, freq_masks: 0}, b: {mp3_kbps: 24, align_by: a}, "
                "c: {criterion: smbr, init: b}, d: {criterion: lfmmi, subsampling: 3, align_by: a}}")
    show = 'echo "$states|$align_by|$align_feats|$aligner_states|${input_types[*]}"'
    output = bash_output(f"for n in a b c d; do settings_of $n; {show}; done", "--networks", networks)
    assert output.splitlines() == [
        "e/tri1_ali||||fmllr",
        "e/a_ali_mp3|a|e/fmllr/train_mp3|e/tri1_ali|fbank fmllr",
        "e/a_ali_mp3|a|e/fmllr/train_mp3|e/tri1_ali|fbank fmllr",
        "e/tri1_biphones_by_a|a|e/fmllr/train|e/tri1_ali|fbank fmllr"]


def test_a_network_of_biphones_aligns_for_another_one(bash_output):
    networks = ("{a: {criterion: lfmmi, subsampling: 3, mp3_kbps: 24}, b: {criterion: smbr, init: a, align_by: a}, "
                "c: {criterion: lfmmi, init: b}, d: {biphones: true, subsampling: 3, align_by: a}}")
    show = 'echo "$grows_tree|$aligner_states|$alignment|$states|$graph_model|$graph|${train_options[*]}"'
    output = bash_output(f"for n in a b c d; do settings_of $n; {show}; done", "--networks", networks)
    a, by_a = "e/tri1_biphones_mp3", "e/a_ali_mp3"
    lfmmi = "--denominator {}/denominator --mmi-config e/conf/mmi.yaml"
    assert output.splitlines() == [
        f"true||e/tri1_ali_mp3|{a}|{a}|{a}/graph_tg|{lfmmi.format(a)}",
        f"false|{a}|{by_a}|{by_a}|{a}|{a}/graph_tg|--init e/a --graph {a}/graph_weak "
        "--sequence-config e/conf/sequence.yaml",
        f"false|{a}|{by_a}|{by_a}|{a}|{a}/graph_tg|--init e/b {lfmmi.format(by_a)}",
        f"false|{a}|e/a_ali|e/a_ali|{a}|{a}/graph_tg|"]
    cfg = resolve({"networks": networks})[2]["b"]
    assert (cfg["criterion"], cfg["acoustic_factor"], cfg["chunk"]) == ("smbr", 10.0, 0)


@pytest.mark.parametrize("networks, message", [
    ("{a: {criterion: lfmmi, subsampling: 3}, b: {align_by: a, biphones: false}}", "`networks.b.align_by`: `a` predi"),
    ("{a: {criterion: lfmmi, subsampling: 3}, b: {align_by: a}}", "`networks.b` has `biphones`, so it needs `subsamp"),
    ("{a: {criterion: lfmmi, subsampling: 3}, b: {init: a, criterion: smbr, mp3_kbps: 24}}",
     "`networks.b.init`: the states of `a` are of other training data; give `b` the same `speeds`"),
    ("{a: {criterion: lfmmi, subsampling: 3}, b: {init: a, criterion: smbr}, c: {init: b, criterion: cross_entropy}}",
     "`networks.c.init`: the training of `b` began with LF-MMI"),
    ("{b: {align_by: a}, a: {}}", "`networks.b.align_by`: no network `a` before it"),
    ("{a: {feature: {cmvn: none}, ivector_dim: 30}}", "`ivector_dim` 30 is not `dim` 60 of conf/ivector.yaml"),
    ("{a: {feature: {cmvn: none}}, b: {init: a, ivector_dim: 60}}", "`a` has `ivector_dim` 0"),
    ("{x: {}, a: {criterion: lfmmi, subsampling: 3}, b: {init: a, align_by: x}}", "are of another alignment"),
    ("{b: {criterion: smbr}}", "`criterion: smbr` needs the key `init`"),
    ("{b: {criterion: smbr, init: a}, a: {}}", "no network `a` before it"),
    ("{a: {criterion: lfmmi, subsampling: 3}, b: {criterion: cross_entropy, init: a}}", "the training of `a` began"),
    ("{a: {}, b: {criterion: lfmmi, init: a}}", "`networks.b.init`: its states are not those of `a`"),
    ("{a: {biphones: true, subsampling: 3}, b: {init: a, biphones: false}}", "its states are not those of `a`"),
    ("{a: {biphones: maybe}}", "`networks.a.biphones` must be true or false, not 'maybe'"),
    ("{a: {criterion: lfmmi, biphones: false}}", "`networks.a.biphones` must be true, not False"),
    ("{x: {}, a: {biphones: true, subsampling: 3}, b: {init: a, align_by: x}}", "are of another alignment"),
    ("{a: {}, b: {criterion: mmi, init: a, chunk: 20}}", "option --networks: `chunk` must be 0, whole utterances"),
    ("{a: {epochs: 0}, b: {criterion: mmi, init: a}}", "option --networks: `epochs` must be at least 1")])
def test_wrong_references_to_networks_are_one_line(networks, message):
    with pytest.raises(UserError, match=message):
        resolve({"networks": networks})


def test_the_value_of_a_file_for_training_is_named_as_such():
    with pytest.raises(UserError, match="option --sequence.training.lr_final: `lr_final` must be"):
        resolve({"networks": "{a: {}, b: {criterion: mmi, init: a}}", "sequence.training.lr_final": "1.0"})
    with pytest.raises(UserError, match="needs `a`, which is not one of `systems`"):
        resolve({"networks": "{a: {}, b: {criterion: mmi, init: a}}", "systems": "[tri1, b]"})


def test_a_recipe_for_data_dirs_needs_a_corpus(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--exp", str(tmp_path), "--recipe", "own", "--lexicon", ""])
    assert "error: the recipe `own` has no speech of its own; give --corpus DIR" in capsys.readouterr().err


def test_the_last_systems_have_another_lang_and_are_rescored(bash_output):
    show = 'echo "$lang|$rescore|${lms[*]}"'
    output = bash_output(f"for s in mono tri1 tri2b tri3b lstmp; do settings_of $s; {show}; done",
                         "--recipe", "mini_librispeech")
    assert output.splitlines() == ["d/lang|false|tgsmall"] * 3 + ["e/lang_tri3b|true|tgsmall tgmed"] * 2


@pytest.mark.parametrize(("options", "dictionary", "lm"), [
    ([], "--lexicon d/local/lexicon.txt", "--text d/local/lm_text.txt --order 3"),
    (["--lexicon", "", "--lm_text", ""], "--spell d/train", "--text d/train/text --skip-id --order 3"),
    (["--lexicon", "", "--arpa", "x.arpa"], "--spell d/train d/local/x.arpa d/local/lm_text.txt",
     "--arpa d/local/x.arpa")])
def test_sources_of_dictionary_and_language_model(bash_output, options, dictionary, lm):
    assert bash_output('echo "${dict_source[*]}|${lm_source[*]}"', *options) == f"{dictionary}|{lm}\n"


def test_graphs_are_made_for_decoded_systems_and_for_the_networks_states(bash_output):
    options = ["--recipe", "mini_librispeech", "--systems", "[tri3b, lstmp]", "--targets", "tri2b"]
    assert bash_output('echo "${graph_models[*]}|${aligners[*]}"', *options) == "tri2b tri3b|tri2b tri3b\n"


def test_options_that_are_not_needed_are_left_out(bash_output):
    show = 'echo "${wav_options[*]}|${limit_train[*]}|${limit_test[*]}"'
    assert bash_output(show, "--train_utterances", "0", "--test_utterances", "7") == "||--max-utts 7\n"
    output = bash_output(show, "--allow_commands", "true", "--test_utterances", "0")
    assert output == "--allow-commands|--max-utts 700|\n"
