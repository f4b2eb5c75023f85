"""The keys of recipes/<name>/recipe.yaml other than the sections of conf/, with their checks."""

import dataclasses
import re
from dataclasses import dataclass

from lstmp import config


@dataclass(frozen=True)
class Recipe:
    """The keys of recipe.yaml other than the sections of conf/.

    Attributes:
        source: what makes the data dirs: `tiny`, `librispeech`, or `datadirs` (Kaldi data dirs in --corpus).
        train, dev, tests: the splits to train on, to choose LM weight and insertion penalty on, and to report. Several
            training splits can be joined by `+`.
        lexicon, arpa, lm_text: source of the dictionary (empty: letters are used as phones); an ARPA language model;
            or else the text to train one on, one sentence per line (empty: the training transcripts). Paths are
            relative to the corpus.
        lm: name of the language model, part of folder names.
        rescore_lm, rescore_arpa: name and ARPA file of a larger language model to rescore lattices with; empty: none.
        lm_order: order of a language model that is trained here.
        train_utterances, test_utterances: number of utterances of each split to use, for short trials; 0: all.
        mono_utterances: number of the shortest utterances on which the monophones are trained.
        triphones: the triphone systems to train, which are names of files of conf/. Each is trained on the alignment of
            the previous one; the first on the alignment of the monophones.
        pron_probs: whether the last triphone system and the networks use a lexicon with probabilities of pronunciations
            and of silence around them, estimated from the previous alignment.
        targets: the triphone system with the tied states that are the networks' targets.
        biphone_leaves: number of leaves of the tree before merging, for networks whose states are those of LF-MMI; 0:
            `max_leaves` of `targets`.
        gmm_mp3_kbps: bit rate of the MP3 coding of the data that the GMMs are trained on; 0: no coding.
        networks: the networks to train: name → its changes to keys of conf/lstmp.yaml, and to `speeds`, `volumes`,
            `mp3_kbps`, `speaker_minutes`; `init`, an earlier network that it starts from; `align_by`, an earlier
            network that aligns its data, with states of biphones if it has such states; `biphones`, whether its
            states are those of LF-MMI: for a low frame rate, and dependent on the phone before, not the one after. If
            there are none, the recipe ends with the triphones.
        speeds: the networks are trained on copies of the training data at these speeds; [1.0]: only the data itself.
        volumes: the samples of each copied utterance are multiplied by a random factor between these two; empty: not.
        mp3_kbps: bit rate of the MP3 coding of all copies, including the one at speed 1; 0: no coding.
        speaker_minutes: each copy of a training speaker is divided, at random, into speakers of about so many minutes,
            who are normalized and adapted separately; 0: not divided.
        held_out: share of the training utterances, some of every speaker, that the networks are not trained on.
        held_out_speakers: number of whole training speakers to hold out instead of `held_out`; 0: `held_out` applies.
        systems: the systems to decode, the rows of the table. They must include the last triphone system. Other
            networks are not trained, and graphs that none of the systems needs are not made. Empty: all. If the option
            --networks replaces the recipe's networks, this key and `combinations` of the recipe do not apply.
        combinations: rows of the table for several systems together: name → the systems, networks or the last triphone
            system. Those with a system that is not decoded are left out.
        allow_commands: whether to run the commands in `wav.scp`, which are lines that end in `|`. Such a command is a
            program chosen by whoever wrote that file.
        compressed_feats: whether features are written with 8 bits for each value, in Kaldi's compressed form.
        seed: random seed of everything for which the section of conf/ does not set another one.
    """

    source: str
    train: str
    dev: str
    tests: list[str]
    lexicon: str
    lm: str
    arpa: str
    lm_text: str
    rescore_lm: str
    rescore_arpa: str
    lm_order: int
    train_utterances: int
    test_utterances: int
    mono_utterances: int
    triphones: list[str]
    pron_probs: bool
    targets: str
    networks: dict
    speeds: list[float]
    volumes: list[float]
    mp3_kbps: int
    held_out: float
    seed: int
    gmm_mp3_kbps: int = 0
    speaker_minutes: float = 0.0
    biphone_leaves: int = 0
    held_out_speakers: int = 0
    allow_commands: bool = False
    compressed_feats: bool = False
    systems: list[str] = dataclasses.field(default_factory=list)
    combinations: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        config.check(self.source in SOURCES, "source", f"one of {', '.join(SOURCES)}")
        for name in ("train_utterances", "test_utterances", "held_out_speakers", "biphone_leaves", "seed"):
            config.check(getattr(self, name) >= 0, name, "zero or more")
        config.check(self.mono_utterances >= 1, "mono_utterances", "one or more")
        config.check(2 <= self.lm_order <= 5, "lm_order", "from 2 to 5")
        config.check(bool(self.rescore_lm) == bool(self.rescore_arpa) and self.rescore_lm != self.lm, "rescore_lm",
                     "given together with rescore_arpa, and other than lm")
        config.check(1.0 in self.speeds and len(set(self.speeds)) == len(self.speeds), "speeds",
                     "a list of different speeds, 1.0 among them")
        config.check(not self.volumes or len(self.volumes) == 2 and 0 < self.volumes[0] <= self.volumes[1], "volumes",
                     "empty, or the lowest and the highest factor, above 0")
        for name in ("mp3_kbps", "gmm_mp3_kbps"):
            config.check(getattr(self, name) == 0 or 8 <= getattr(self, name) <= 160, name, "0, or from 8 to 160")
        config.check(0 <= self.speaker_minutes < float("inf"), "speaker_minutes", "zero or more")
        config.check(0 < self.held_out < 1, "held_out", "greater than 0 and less than 1")
        config.check(len(set(self.triphones)) == len(self.triphones) > 0, "triphones", "a list of different names")
        config.check(self.targets in self.triphones, "targets", f"one of {', '.join(self.triphones)}")
        config.check(not set(self.networks) & {"mono", *self.triphones}, "networks",
                     "a group of names, such as `lstmp: {}`, other than those of the systems before")
        config.check(not self.systems or {self.triphones[-1]} <= set(self.systems) <= set(self.all_systems), "systems",
                     f"empty, or some of {', '.join(self.all_systems)}, {self.triphones[-1]} among them")
        for name, members in self.combinations.items():
            config.check(isinstance(members, list) and len(set(members)) == len(members) > 1
                         and set(members) <= {self.triphones[-1], *self.networks} and name not in self.all_systems,
                         f"combinations.{name}", "a new name, with a list of two or more of "
                         f"{', '.join([self.triphones[-1], *map(str, self.networks)])}")
        named = {"networks": [str(n) for n in [*self.networks, *self.combinations]], "train": [self.train],
                 "dev": [self.dev], "lm": [self.lm], "tests": self.tests,
                 "rescore_lm": [self.rescore_lm] if self.rescore_lm else []}
        for name, values in named.items():
            config.check(all(re.fullmatch(r"[\w.+-]+", v) for v in values), name,
                         "made of letters, digits, `_`, `-`, `.`")
        splits = [*self.train_parts, self.dev, *self.tests]
        config.check(len(set(splits)) == len(splits), "tests", f"splits used once only, but these are {splits}")

    @property
    def all_systems(self) -> list[str]:
        return ["mono", *self.triphones, *map(str, self.networks)]

    @property
    def gmm_train(self) -> str:
        """Name of the data dir that the GMMs are trained on."""
        return self.train + (f"_coded{self.gmm_mp3_kbps}" if self.gmm_mp3_kbps else "")

    @property
    def train_parts(self) -> list[str]:
        return self.train.split("+")


SOURCES = ("tiny", "librispeech", "datadirs")
RECIPE_KEYS = [f.name for f in dataclasses.fields(Recipe)]
