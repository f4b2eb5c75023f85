"""Features drawn around the means of known states, an alignment, and a list of what is held out."""

from pathlib import Path

import numpy as np

from lstmp.features.ark import ArkWriter, write_int_vectors

DIM, PDFS = 6, 5


class World:
    """Twelve utterances whose frames lie around the mean of their state; the last two are held out."""

    def __init__(self, path: Path, lengths=(31, 12, 45, 7, 22, 60, 18, 25, 33, 9, 28, 40)):
        self.path, self.data, self.ali, self.valid = path, path / "train", path / "ali", path / "valid.list"
        rng = np.random.default_rng(1)
        means = 2 * rng.normal(size=(PDFS, DIM))
        self.pdfs, self.feats = {}, {}
        for n, length in enumerate(lengths):
            states = np.repeat(rng.integers(0, PDFS, length), rng.integers(2, 6, length))[:length]
            self.pdfs[f"a-{n:02d}"] = states
            self.feats[f"a-{n:02d}"] = (means[states] + 0.5 * rng.normal(size=(length, DIM))).astype(np.float32)
        self.data.mkdir()
        self.ali.mkdir()
        self.valid.write_text("".join(f"{utt}\n" for utt in list(self.pdfs)[-2:]))
        (self.ali / "num_pdfs").write_text(f"{PDFS}\n")
        (self.ali / "tree.json").write_text("{}\n")
        (self.ali / "transitions.safetensors").write_bytes(b"as it came")
        self.write()

    def write(self):
        """Write features and alignment as they are now."""
        with ArkWriter(self.data / "feats.ark", self.data / "feats.scp") as writer:
            for utt, feats in self.feats.items():
                writer.write(utt, feats)
        (self.data / "utt2spk").write_text("".join(f"{utt} a\n" for utt in self.feats))
        write_int_vectors(self.ali / "pdf.ark", self.pdfs.items())
