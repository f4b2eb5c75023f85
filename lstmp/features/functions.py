"""Functions that compute features from samples in memory: :func:`.fbank` and :func:`mfcc`.

Defaults are the values in conf/fbank.yaml and conf/mfcc.yaml, where options are explained.
"""

from lstmp import config
from lstmp.aliases import Array, Json
from lstmp.corpus.samples import checked_rate, to_int16_scale
from lstmp.features.extract import FbankConfig, MfccConfig, compute_features


def fbank(samples: Array | list[float], rate: int, *, utt: str = "", frame_length_ms: float = 25.0,
          frame_shift_ms: float = 10.0, window: str = "povey", preemphasis: float = 0.97, dither: float = 1.0,
          snip_edges: bool = True, num_mel_bins: int = 40, low_freq: float = 20.0, high_freq: float = 0.0) -> Array:
    """Compute log-mel filterbank energies, as Kaldi's ``compute-fbank-feats``.

    The result is bit-identical to what ``steps/make_fbank.sh`` writes for an utterance with id ``utt``.

    Args:
        samples: [n] or [n, channels], floats in ±1 or int16; several channels are averaged.
        rate: sampling rate in Hz. Samples are not resampled; models of this package need 16,000 Hz.
        utt: utterance id, which seeds the dither.
        frame_length_ms, frame_shift_ms: length of the analysis window, and time from one window to the next.
        window: povey, hamming, hanning or rectangular.
        preemphasis: c of x[t] - c x[t-1].
        dither: standard deviation of the noise to add, on the scale of 16-bit samples; 0: none.
        snip_edges: use only windows that lie completely inside the signal.
        num_mel_bins: D.
        low_freq, high_freq: band edges of the filterbank in Hz; high_freq of 0 or less is relative to ``rate`` / 2.

    Returns:
        float32 [T, D].

    Raises:
        TypeError: an option is unknown, or samples are neither floats nor int16.
        UserError: a value is out of range, or there are too few samples for one window.
    """
    return _features(FbankConfig, samples, rate, utt, {
        "frame_length_ms": frame_length_ms, "frame_shift_ms": frame_shift_ms, "window": window,
        "preemphasis": preemphasis, "dither": dither, "snip_edges": snip_edges, "num_mel_bins": num_mel_bins,
        "low_freq": low_freq, "high_freq": high_freq})


def mfcc(samples: Array | list[float], rate: int, *, utt: str = "", frame_length_ms: float = 25.0,
         frame_shift_ms: float = 10.0, window: str = "povey", preemphasis: float = 0.97, dither: float = 1.0,
         snip_edges: bool = True, num_mel_bins: int = 23, low_freq: float = 20.0, high_freq: float = 0.0,
         num_ceps: int = 13, cepstral_lifter: float = 22.0, use_energy: bool = False) -> Array:
    """Compute mel-frequency cepstral coefficients, as Kaldi's ``compute-mfcc-feats`` and ``steps/make_mfcc.sh``.

    Args:
        samples, rate, utt, frame_length_ms … high_freq: as for :func:`.fbank`.
        num_ceps: D, including C0.
        cepstral_lifter: liftering coefficient, scales C1, C2 … to comparable magnitude; 0: no liftering.
        use_energy: replace C0 by the log energy of the window.

    Returns:
        float32 [T, D].

    Raises:
        TypeError, UserError: as for :func:`.fbank`.
    """
    return _features(MfccConfig, samples, rate, utt, {
        "frame_length_ms": frame_length_ms, "frame_shift_ms": frame_shift_ms, "window": window,
        "preemphasis": preemphasis, "dither": dither, "snip_edges": snip_edges, "num_mel_bins": num_mel_bins,
        "low_freq": low_freq, "high_freq": high_freq, "num_ceps": num_ceps, "cepstral_lifter": cepstral_lifter,
        "use_energy": use_energy})


def _features(config_class: type[FbankConfig], samples: Array | list[float], rate: int, utt: str,
              options: Json) -> Array:
    # max_bad has no effect here: it limits the bad utterances of data dirs
    cfg = config.build({"sample_rate": checked_rate(rate), "max_bad": 0.0, **options}, config_class)
    return compute_features(to_int16_scale(samples), cfg, utt)
