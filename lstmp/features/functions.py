"""Features of samples at hand, by one call: :func:`fbank`, :func:`mfcc`.

The values of an option left out are those of conf/fbank.yaml and conf/mfcc.yaml, which explain them.
"""

from lstmp import config
from lstmp.aliases import Array, Json
from lstmp.corpus.samples import own_samples, whole_rate
from lstmp.features.extract import FbankConfig, MfccConfig, compute_features


def fbank(samples: Array | list[float], rate: int, *, utt: str = "", frame_length_ms: float = 25.0,
          frame_shift_ms: float = 10.0, window: str = "povey", preemphasis: float = 0.97, dither: float = 1.0,
          snip_edges: bool = True, num_mel_bins: int = 40, low_freq: float = 20.0, high_freq: float = 0.0) -> Array:
    """Log-mel filterbank energies, as Kaldi's ``compute-fbank-feats``.

    They are those that ``steps/make_fbank.sh`` writes, to the last bit, for an utterance of id ``utt``.

    Args:
        samples: [n] or [n, channels], floats in ±1 or int16; several channels become their mean.
        rate: samples a second. They are not resampled: for a model of this package give 16,000 a second.
        utt: seeds the dither; features of equal samples are equal where this is.
        frame_length_ms, frame_shift_ms: the analysis window, and the time from one to the next.
        window: povey, hamming, hanning or rectangular.
        preemphasis: c of x[t] - c x[t-1].
        dither: standard deviation of noise added, in units of a 16-bit sample; 0: none.
        snip_edges: whether only windows that fit entirely make a frame.
        num_mel_bins: D.
        low_freq, high_freq: edges of the filterbank in Hz; 0 or less for high_freq: counted from ``rate`` / 2.

    Returns:
        float32 [T, D].

    Raises:
        TypeError: an unknown option, or samples of another kind.
        UserError: a value that cannot be, or too few samples for one window.
    """
    return _features(FbankConfig, samples, rate, utt, {
        "frame_length_ms": frame_length_ms, "frame_shift_ms": frame_shift_ms, "window": window,
        "preemphasis": preemphasis, "dither": dither, "snip_edges": snip_edges, "num_mel_bins": num_mel_bins,
        "low_freq": low_freq, "high_freq": high_freq})


def mfcc(samples: Array | list[float], rate: int, *, utt: str = "", frame_length_ms: float = 25.0,
         frame_shift_ms: float = 10.0, window: str = "povey", preemphasis: float = 0.97, dither: float = 1.0,
         snip_edges: bool = True, num_mel_bins: int = 23, low_freq: float = 20.0, high_freq: float = 0.0,
         num_ceps: int = 13, cepstral_lifter: float = 22.0, use_energy: bool = False) -> Array:
    """Mel-frequency cepstral coefficients, as Kaldi's ``compute-mfcc-feats`` and ``steps/make_mfcc.sh``.

    Args:
        samples, rate, utt, frame_length_ms … high_freq: as of :func:`fbank`.
        num_ceps: D, C0 included.
        cepstral_lifter: scales C1, C2 … to comparable size; 0: leaves them.
        use_energy: the log energy of the window in place of C0.

    Returns:
        float32 [T, D].

    Raises:
        TypeError, UserError: as of :func:`fbank`.
    """
    return _features(MfccConfig, samples, rate, utt, {
        "frame_length_ms": frame_length_ms, "frame_shift_ms": frame_shift_ms, "window": window,
        "preemphasis": preemphasis, "dither": dither, "snip_edges": snip_edges, "num_mel_bins": num_mel_bins,
        "low_freq": low_freq, "high_freq": high_freq, "num_ceps": num_ceps, "cepstral_lifter": cepstral_lifter,
        "use_energy": use_energy})


def _features(kind: type[FbankConfig], samples: Array | list[float], rate: int, utt: str, options: Json) -> Array:
    # max_bad is of data dirs, whose bad utterances are counted
    cfg = config.build({"sample_rate": whole_rate(rate), "max_bad": 0.0, **options}, kind)
    return compute_features(own_samples(samples), cfg, utt)
