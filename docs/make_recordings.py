"""Makes the folder `recordings` of docs/tutorial.md from the synthetic speech of the recipe `tiny`: files of three
formats in a folder for each speaker, and their transcripts as ordinary text.

    python docs/make_recordings.py data/tiny recordings
"""

import sys
from pathlib import Path

import soundfile

UTTERANCES = {"train": 300, "dev": 40, "test": 40}


def main(data: Path, out: Path):
    for split, count in UTTERANCES.items():
        lines = (data / split / "text").read_text(encoding="utf-8").splitlines()
        for n, line in enumerate(lines[::len(lines) // count][:count]):
            utt, words = line.split(maxsplit=1)
            speaker, number = utt.rsplit("-", 1)
            folder = out / split / speaker
            folder.mkdir(parents=True, exist_ok=True)
            samples, rate = soundfile.read(data / "audio" / split / f"{utt}.wav", dtype="int16")
            soundfile.write(folder / f"{number}.{('wav', 'flac', 'mp3')[n % 3]}", samples, rate)
            (folder / f"{number}.txt").write_text(words.capitalize() + ".\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
