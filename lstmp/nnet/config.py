"""The configuration of a network and its training, read from ``conf/lstmp.yaml``."""

from dataclasses import dataclass, field

from lstmp.aliases import Array, Json
from lstmp.config import check
from lstmp.features.load import FeatureConfig
from lstmp.features.online_cmvn import OnlineNormalization

_MMI_FACTOR = 10.0
_ON_LATTICES = ("smbr", "mmi")  # criteria of steps/train_sequence.sh


@dataclass(frozen=True)
class LstmpConfig:
    """Every option of a network and its training; each is explained in ``conf/lstmp.yaml``."""

    feature: FeatureConfig
    # network
    layers: int
    cells: int
    recurrent_projection: int
    projection: int
    peepholes: bool
    cell_clip: float
    label_delay: int
    # training
    chunk: int
    streams: int
    optimizer: str
    momentum: float
    lr_initial: float
    lr_final: float
    epochs: int
    grad_clip: float
    grad_norm_clip: float
    seed: int
    # regularization
    dropout: float
    dropout_mask: str
    weight_decay: float
    input_noise: float
    freq_masks: int
    freq_mask_width: int
    time_masks_per_second: float
    time_mask_width: int
    # result
    average_last: int
    prior_floor: float
    # running
    checkpoint_minutes: float
    divergence_retries: int
    divergence_factor: float
    max_left_out: float
    # network types other than the papers' LSTMP; these options, and all below, have defaults and may be left out
    kind: str = "lstmp"
    bidirectional: bool = False
    activation: str = "sigmoid"
    conv_maps: list[int] = field(default_factory=list)
    conv_time: int = 3
    conv_freq: int = 5
    conv_pool: int = 2
    conv_projection: int = 256
    stack: int = 1
    subsampling: int = 1
    all_phases: bool = True
    repeat_scores: bool = False
    acoustic_factor: float = 0.0
    bottleneck: int = 0
    criterion: str = "cross_entropy"
    layer_norm: bool = False
    residual: bool = False
    precision: str = "fp32"
    decay: str = "exponential"
    plateau_factor: float = 0.5
    patience: int = 0
    gain_db: float = 0.0
    ivector_dim: int = 0
    lda_dim: int = 0
    cmvn_window: int = 600
    cmvn_speaker_frames: int = 600
    cmvn_global_frames: int = 200
    accumulate: int = 1
    # several processes
    updates: str = "synchronous"
    gradient_precision: str = "fp32"
    exchange_every: int = 1
    max_staleness: int = 8
    warm_start: int = 0
    parameter_servers: int = 0
    timeout_minutes: float = 30.0

    def __post_init__(self):
        for name in ("layers", "cells", "streams", "epochs", "stack", "subsampling", "accumulate", "exchange_every",
                     "max_staleness", "conv_time", "conv_freq", "conv_pool", "cmvn_window", "cmvn_global_frames"):
            check(getattr(self, name) >= 1, name, "at least 1")
        for name in ("recurrent_projection", "projection", "label_delay", "freq_masks", "freq_mask_width",
                     "time_mask_width", "average_last", "divergence_retries", "seed", "chunk", "bottleneck",
                     "patience", "warm_start", "parameter_servers", "conv_projection", "cmvn_speaker_frames",
                     "ivector_dim", "lda_dim"):
            check(getattr(self, name) >= 0, name, "0 or more")
        for name in ("cell_clip", "grad_clip", "grad_norm_clip", "weight_decay", "input_noise", "prior_floor",
                     "time_masks_per_second", "checkpoint_minutes", "gain_db", "acoustic_factor"):
            check(getattr(self, name) >= 0, name, "0 or more")
        check(self.projection == 0 or self.recurrent_projection > 0, "projection",
              "0 where `recurrent_projection` is 0")
        check(self.gain_db == 0 or self.feature.plain_energies, "gain_db", "0 unless `feature.kind` is fbank, "
              "`feature.cmvn` none and `feature.deltas` 0: other features do not depend on loudness")
        online = self.feature.available_online and self.feature.kind == "fbank"
        check(not self.ivector_dim or online and not self.gain_db, "ivector_dim",
              "0 unless `feature.kind` is fbank, `feature.cmvn` online_mean, online_mean_var or none, "
              "`feature.deltas` 0 and `gain_db` 0")
        check(not self.ivector_dim or not self.conv_maps, "ivector_dim", "0 with convolutions")
        check(not self.bidirectional or self.feature.kind != "online_fmllr", "feature.kind",
              "other than online_fmllr where `bidirectional` is true: such a network needs whole utterances")
        check(self.criterion in ("cross_entropy", "lfmmi", *_ON_LATTICES), "criterion",
              "cross_entropy, lfmmi, smbr or mmi")
        check(self.criterion == "cross_entropy" or not self.repeat_scores, "repeat_scores",
              f"false where `criterion` is {self.criterion}: such a network decides on the durations of output frames")
        check(not self.on_lattices or self.chunk == 0, "chunk",
              f"0, whole utterances, where `criterion` is {self.criterion}")
        check(self.timeout_minutes > 0, "timeout_minutes", "above 0")
        check(all(maps >= 1 for maps in self.conv_maps), "conv_maps", "a list of numbers of at least 1")
        check(not self.conv_maps or self.feature.kind == "fbank", "conv_maps",
              f"[] with features of kind {self.feature.kind}: convolutions need energies in the order of the filters")
        check(self.conv_freq % 2 == 1, "conv_freq", "odd")
        check(self.kind in ("lstmp", "rnn", "dnn"), "kind", "lstmp, rnn or dnn")
        check(self.kind == "lstmp" or self.projection == self.recurrent_projection == 0, "recurrent_projection",
              f"0, as `projection`: a network of kind {self.kind} has none")
        check(self.activation in ("sigmoid", "tanh", "relu"), "activation", "sigmoid, tanh or relu")
        check(not self.bidirectional or self.kind != "dnn", "bidirectional", "false for a network of kind dnn")
        check(not self.bidirectional or self.label_delay == 0, "label_delay",
              "0 where `bidirectional` is true: such a network sees the later frames anyway")
        check(self.precision in ("fp32", "bf16", "auto"), "precision", "fp32, bf16 or auto")
        check(self.precision != "bf16" or self.kind != "rnn", "precision", "fp32 or auto for a network of kind rnn")
        check(self.updates in ("synchronous", "asynchronous"), "updates", "synchronous or asynchronous")
        check(self.gradient_precision in ("fp32", "bf16"), "gradient_precision", "fp32 or bf16")
        check(self.updates == "synchronous" or self.gradient_precision == "fp32", "gradient_precision",
              "fp32 where `updates` is asynchronous: weights are exchanged then, not gradients")
        check(self.updates == "asynchronous" or self.parameter_servers == self.warm_start == 0, "parameter_servers",
              "0, as `warm_start`, where `updates` is synchronous")
        check(self.decay in ("exponential", "plateau"), "decay", "exponential or plateau")
        check(0 < self.plateau_factor < 1, "plateau_factor", "above 0 and below 1")
        check(self.optimizer in ("adam", "sgd"), "optimizer", "adam or sgd")
        check(0 <= self.momentum < 1, "momentum", "at least 0 and below 1")
        check(self.lr_initial > 0, "lr_initial", "above 0")
        check(0 < self.lr_final <= self.lr_initial, "lr_final", "above 0 and not above `lr_initial`")
        check(0 <= self.dropout < 1, "dropout", "at least 0 and below 1")
        check(self.dropout_mask in ("frame", "chunk"), "dropout_mask", "frame or chunk")
        check(self.prior_floor < 1, "prior_floor", "below 1")
        check(0 < self.divergence_factor < 1, "divergence_factor", "above 0 and below 1")
        check(0 <= self.max_left_out <= 1, "max_left_out", "between 0 and 1")

    @property
    def on_lattices(self) -> bool:
        """Whether the criterion is computed on lattices of whole utterances, by steps/train_sequence.sh."""
        return self.criterion in _ON_LATTICES

    def normalization(self, mean: Array, variance: Array) -> OnlineNormalization:
        """How online CMVN normalizes the input; ``mean`` and ``variance``, [D], are those of the training data."""
        return OnlineNormalization(self.cmvn_window, self.cmvn_speaker_frames, self.cmvn_global_frames,
                                   self.feature.cmvn == "online_mean_var", mean, variance)

    @property
    def output_delay(self) -> int:
        """`label_delay` in output frames, rounded up."""
        return -(-self.label_delay // self.subsampling)

    @property
    def known_after(self) -> int:
        """Frames of the features after which the network knows the states of a frame, at most."""
        return (self.output_delay + 1) * self.subsampling - 1

    @property
    def frames_per_row(self) -> int:
        """Frames of the features for which the network gives the decoder one row of scores."""
        return 1 if self.repeat_scores else self.subsampling

    @property
    def score_factor(self) -> float:
        """The number by which the scores of the network are multiplied: `acoustic_factor`.

        If that is 0: the frames of a row, so that a second of speech has the same weight whatever the number of its
        rows; or for a network trained by LF-MMI, whose LM weight is about 1, the number that makes it about 10.
        """
        return self.acoustic_factor or (_MMI_FACTOR if self.criterion == "lfmmi" else float(self.frames_per_row))


def continued(values: Json) -> Json:
    """The options of a network whose training goes on by a criterion on lattices, before those of that training.

    The scores of a network trained by LF-MMI keep their factor whatever the next criterion.

    Args:
        values: the options of the network so far.
    """
    factor = values["acoustic_factor"] or (_MMI_FACTOR if values["criterion"] == "lfmmi" else 0.0)
    return values | {"acoustic_factor": factor}
