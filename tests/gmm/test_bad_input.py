"""Training and alignment on bad input give a one-line error and write no model."""

import shutil

import numpy as np
import pytest
from helpers import known_gaussians
from helpers.known_gaussians import aligned, mono, tri, write_feats

from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.features.ark import read_mat, read_scp, write_int_vectors
from lstmp.gmm import align


def one_line(capsys, *expected):
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0] == lines[-1] and "Traceback" not in "".join(lines)
    for text in expected:
        assert text in errors[0]


def copied(toy, tmp_path, change):
    """A copy of the data dir with features ``change(utterance, features)``."""
    data = tmp_path / "data"
    shutil.copytree(toy.data, data)
    write_feats(data, {utt: change(utt, read_mat(rx)) for utt, rx in read_scp(toy.data / "feats.scp").items()})
    return data


BAD_CONFIGS = [("mono", {"em__nun_iters": 3}, ["mono-changed.yaml", "unknown key `em.nun_iters`", "num_iters"]),
               ("mono", {"em__grow_until": 99}, ["`em.grow_until` must be between 1 and num_iters"]),
               ("mono", {"align__acoustic_scale": 0}, ["`align.acoustic_scale` must be greater than 0"]),
               ("mono", {"em__realign": 3}, ["`em.realign` must be"]),
               ("mono", {"feature__kind": "plp"}, ["`feature.kind` must be mfcc, fbank, fmllr or online_fmllr"]),
               ("tri1", {"tree__max_leaves": 7}, ["`max_leaves` is 7, but the tree has", "raise max_leaves"]),
               ("tri1", {"tree__max_leaves": "many"}, ["`tree.max_leaves` must be a whole number, not 'many'"])]


@pytest.mark.parametrize("name,changed,expected", BAD_CONFIGS)
def test_a_bad_configuration_is_an_error(toy, ali_dir, tmp_path, capsys, name, changed, expected):
    conf = toy.write(name, **changed)
    with pytest.raises(SystemExit) as e:
        mono(toy, tmp_path / "o", conf=conf) if name == "mono" else tri(toy, ali_dir, tmp_path / "o", conf=conf)
    assert e.value.code == 1
    one_line(capsys, *expected)
    assert not (tmp_path / "o" / "final.safetensors").exists()


def test_features_that_do_not_fit_the_model_are_an_error(toy, mono_dir, tmp_path, capsys):
    data = copied(toy, tmp_path, lambda utt, x: x[:, :4])
    with pytest.raises(SystemExit):
        aligned(toy, mono_dir, tmp_path / "ali", data=data)
    one_line(capsys, str(data), "features of 4 dimensions for a model of 6")


@pytest.mark.parametrize("spelled_badly, expected", [
    (10**9, ["text: ", " words (100.0 %) are not in ", "100 % of these are spelled differently there"]), (1, [])])
def test_transcripts_in_another_letter_case(toy, mono_dir, tmp_path, capsys, spelled_badly, expected):
    """If all are in another case, it is an error; if only some are, a warning with their share."""
    data = tmp_path / "data"
    shutil.copytree(toy.data, data)
    lines = [line.split(" ", 1) for line in (data / "text").read_text().splitlines()]
    (data / "text").write_text("".join(f"{utt} {words.swapcase() if i < spelled_badly else words}\n"
                                       for i, (utt, words) in enumerate(lines)))
    if expected:
        with pytest.raises(SystemExit):
            aligned(toy, mono_dir, tmp_path / "ali", data=data)
        one_line(capsys, *expected)
    else:
        aligned(toy, mono_dir, tmp_path / "ali", data=data)
        assert " %) are not in words.txt and are replaced by the OOV word" in capsys.readouterr().err


@pytest.mark.parametrize("frames_known", [False, True])
def test_one_utterance_with_nan_is_left_out_and_reported(toy, mono_dir, tmp_path, capsys, frames_known):
    def poison(utt, x):
        x = x.copy()
        x[3, 2] = np.nan if utt == "s0-002" else x[3, 2]
        return x
    data = copied(toy, tmp_path, poison)
    if frames_known:
        (data / "utt2num_frames").write_text("".join(f"{u} {len(t)}\n" for u, t in sorted(
            {**toy.truth, "s1-short": [0] * 23}.items())))
    aligned(toy, mono_dir, tmp_path / "ali", data=data)
    assert "s0-002 is not aligned" in capsys.readouterr().err
    assert sorted(align.read_alignment(tmp_path / "ali")) == sorted(set(toy.truth) - {"s0-002"})
    assert "NaN" in (tmp_path / "ali" / "failed.txt").read_text().splitlines()[0]


def test_nan_in_all_utterances_is_an_error(toy, tmp_path, capsys):
    with pytest.raises(SystemExit):
        mono(toy, tmp_path / "o", data=copied(toy, tmp_path, lambda utt, x: x * np.nan))
    one_line(capsys, "NaN")
    assert not (tmp_path / "o" / "final.safetensors").exists()


@pytest.mark.parametrize("nj", ["1", "2"])
def test_utterances_that_are_all_too_short_are_an_error(toy, tmp_path, capfd, nj):
    data = copied(toy, tmp_path, lambda utt, x: x[:2])
    with pytest.raises(SystemExit):
        mono(toy, tmp_path / "o", "--nj", nj, data=data)
    one_line(capfd, f"{data}: 41 of 41 utterances cannot be aligned; s0-000: 2 frames, but its transcript needs at "
             "least", "check transcripts against audio, or raise `max_failed`")
    assert not (tmp_path / "o" / "final.safetensors").exists()


def test_missing_folders_and_files_are_errors(toy, mono_dir, ali_dir, tmp_path, capsys):
    for run, expected in [
            (lambda: mono(toy, tmp_path / "o", lang=tmp_path / "no"), ["no: no such lang folder"]),
            (lambda: mono(toy, tmp_path / "o", data=tmp_path / "no"), ["no/feats.scp: no such file"]),
            (lambda: mono(toy, tmp_path / "o", conf=tmp_path / "no.yaml"), ["no.yaml: no such configuration file"]),
            (lambda: aligned(toy, tmp_path / "no", tmp_path / "o"), ["no: no such model folder"]),
            (lambda: aligned(toy, ali_dir, tmp_path / "o"), [str(ali_dir), "no Gaussian mixtures in it"]),
            (lambda: tri(toy, mono_dir, tmp_path / "o"), ["ali.ark: no such alignment; run steps/align.sh"])]:
        with pytest.raises(SystemExit):
            run()
        one_line(capsys, *expected)


def test_an_alignment_of_other_features_is_an_error(toy, ali_dir, tmp_path, capsys):
    data = copied(toy, tmp_path, lambda utt, x: x[:-1])
    with pytest.raises(SystemExit):
        tri(toy, ali_dir, tmp_path / "o", data=data)
    one_line(capsys, str(ali_dir), "frames in the alignment", "align these features again")


def test_an_alignment_of_another_model_is_an_error(toy, ali_dir, tmp_path, capsys):
    ali = tmp_path / "ali"
    shutil.copytree(ali_dir, ali)
    write_int_vectors(ali / "ali.ark", [(u, t + 10000) for u, t in sorted(align.read_alignment(ali_dir).items())])
    with pytest.raises(SystemExit):
        tri(toy, ali, tmp_path / "o")
    one_line(capsys, "ali.ark", "transition-id ")
    write_int_vectors(ali / "ali.ark", [("stranger", np.ones(5, dtype=np.int32))])
    with pytest.raises(SystemExit):
        tri(toy, ali, tmp_path / "o")
    one_line(capsys, str(ali), "no utterance of the data is in this alignment")


@pytest.mark.parametrize("name", ["final.safetensors", "tree.json", "topo", "config.yaml"])
def test_a_model_with_a_truncated_or_missing_file_is_an_error(toy, mono_dir, tmp_path, capsys, name):
    model = tmp_path / "model"
    shutil.copytree(mono_dir, model)
    content = (model / name).read_bytes()
    (model / name).write_bytes(content[:min(20, len(content) // 3)])
    with pytest.raises(SystemExit):
        aligned(toy, model, tmp_path / "o")
    one_line(capsys, str(model))
    (model / name).unlink()
    with pytest.raises(SystemExit):
        aligned(toy, model, tmp_path / "o")
    one_line(capsys, str(model / name))


def test_a_lang_folder_with_other_phones_is_an_error(toy, mono_dir, ali_dir, tmp_path, capsys):
    other = make_other_lang(tmp_path)
    with pytest.raises(SystemExit):
        tri(toy, ali_dir, tmp_path / "o", lang=other)
    one_line(capsys, str(ali_dir), "the alignment was made with other phones")
    with pytest.raises(SystemExit):
        aligned(toy, mono_dir, tmp_path / "o", lang=other, conf=toy.write("align"))
    one_line(capsys, "phones.txt: phone", "has no model; train a model with this lexicon")


def make_other_lang(tmp_path):
    lines = [f"{line.split()[0]} Z{i} Q{i}\n" for i, line in enumerate(known_gaussians.LEXICON.split("\n")[:-1])]
    (tmp_path / "lexicon.txt").write_text("".join(lines))
    prepare_dict(tmp_path / "lexicon.txt", tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang")
    return tmp_path / "lang"
