"""Feature functions: bit-identical to the steps, with the options and defaults in conf/."""

import inspect

import numpy as np
import pytest
import soundfile
from helpers import CONF

from lstmp import config
from lstmp.corpus.datadir import read_data_dir
from lstmp.errors import UserError
from lstmp.features.ark import read_mat, read_scp
from lstmp.features.extract import CONFIGS, main
from lstmp.features.functions import fbank, mfcc

FUNCTIONS = {"fbank": fbank, "mfcc": mfcc}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_options_are_those_of_the_configuration(kind):
    cfg = config.to_dict(config.load(CONF / f"{kind}.yaml", CONFIGS[kind]))
    del cfg["sample_rate"], cfg["max_bad"]  # the argument `rate`; of sets
    options = {name: p.default for name, p in inspect.signature(FUNCTIONS[kind]).parameters.items()
               if p.kind is p.KEYWORD_ONLY and name != "utt"}
    assert options == cfg


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_result_is_what_the_step_writes(kind, data_dir):
    main(["--kind", kind, "--config", str(CONF / f"{kind}.yaml"), "--nj", "1", str(data_dir)])
    written, utts = read_scp(data_dir / "feats.scp"), read_data_dir(data_dir, need=("wav.scp",)).utts
    assert len(written) == 4
    for utt, rx in written.items():
        for dtype in ("float32", "float64", "int16"):
            samples, rate = soundfile.read(utts[utt].wav, dtype=dtype)
            found = FUNCTIONS[kind](samples, rate, utt=utt)
            assert found.dtype == np.float32 and np.array_equal(found, read_mat(rx))


def test_options_and_rate_have_an_effect():
    samples = np.random.default_rng(0).normal(size=8000) / 10
    usual = fbank(samples, 16000)
    assert usual.shape == (48, 40) and np.array_equal(usual, fbank(samples, 16000.0))
    assert not np.array_equal(usual, fbank(samples, 16000, utt="another"))
    assert np.array_equal(fbank(samples, 16000, dither=0), fbank(samples, 16000, dither=0, utt="another"))
    assert fbank(samples, 8000, num_mel_bins=23, frame_shift_ms=20).shape == (49, 23)
    assert mfcc(samples, 16000, num_ceps=20, snip_edges=False).shape == (50, 20)


def test_invalid_arguments_are_rejected():
    samples = np.zeros(16000)
    for function in FUNCTIONS.values():
        with pytest.raises(TypeError, match="num_mel_bin"):
            function(samples, 16000, num_mel_bin=40)
        with pytest.raises(TypeError, match="rate"):
            function(samples)
        with pytest.raises(UserError, match="`window` must be one of povey"):
            function(samples, 16000, window="hann")
        with pytest.raises(UserError, match="`num_mel_bins` must be a whole number"):
            function(samples, 16000, num_mel_bins=40.0)
        with pytest.raises(UserError, match="too short for one window"):
            function(samples[:399], 16000)
        with pytest.raises(UserError, match="sampling rate"):
            function(samples, 0)
