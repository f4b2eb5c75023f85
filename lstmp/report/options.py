"""The configuration of a report, conf/report.yaml."""

from dataclasses import dataclass

from lstmp.config import Json, check


@dataclass(frozen=True)
class ReportConfig:
    """The values of conf/report.yaml, explained there."""

    detailed: str
    max_utterances: int
    utterances_per_file: int
    spectrograms: bool
    mel_bins: int
    frame_shift_ms: float
    quality: int
    max_confusions: int
    replicates: int
    seed: int

    def __post_init__(self) -> None:
        check(self.detailed in ("all", "networks", "none"), "detailed", "all, networks or none")
        check(self.max_utterances >= 0, "max_utterances", "0 or more")
        check(self.utterances_per_file >= 1, "utterances_per_file", "1 or more")
        check(8 <= self.mel_bins <= 128, "mel_bins", "from 8 to 128")
        check(1 <= self.frame_shift_ms <= 100, "frame_shift_ms", "from 1 to 100")
        check(1 <= self.quality <= 100, "quality", "from 1 to 100")
        check(self.max_confusions >= 1, "max_confusions", "1 or more")
        check(self.replicates >= 100, "replicates", "100 or more")
        check(self.seed >= 0, "seed", "0 or more")

    def of_pictures(self) -> Json:
        """The values that the sound and the pictures of utterances depend on."""
        return {key: getattr(self, key) for key in ("spectrograms", "mel_bins", "frame_shift_ms", "quality")}

    def of_errors(self) -> Json:
        """The values that the errors and words of a decoding depend on, besides ``detailed``."""
        return {key: getattr(self, key) for key in ("max_utterances", "max_confusions", "replicates", "seed")}
