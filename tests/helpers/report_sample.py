"""A report page with made-up data, for tests of the page in a browser: hostile, Unicode and right-to-left words, odd names."""

import json
import random
import shutil
import time
from pathlib import Path
from urllib.parse import quote

import jinja2
import numpy as np
import soundfile
from PIL import Image

import lstmp

ASSETS = Path(lstmp.__file__).parent / "report" / "assets"
TEMPLATES = ASSETS.with_name("templates")
HOSTILE = '<img src=x onerror="window.harmed=1">'
WORDS = ["THE", "CAT", "NAÏVE", "ŻÓŁW", "日本語", HOSTILE, "</script><script>window.harmed=1</script>", "O'ER", "WORD", "ANOTHER"]
RIGHT_TO_LEFT = ["שלום", "עולם", "سلام", "دنیا"]
SPEAKER = "m 8/ü % \"'<b>"
SYSTEMS = ("tri1", "lstmp (2 × 800)/%")
SECONDS, RATE, PER_SHARD = 4.0, 16000, 50


def name_of(*parts: str) -> str:
    """The name of a file of data: percent-quoted parts."""
    return "/".join(quote(part, safe="") for part in parts)


class Sample:
    """The folder of a report, and the names of its files."""

    def __init__(self, folder: Path):
        self.folder, self.files = folder, []
        (folder / "spectrograms").mkdir(parents=True)
        shutil.copytree(ASSETS, folder / "assets")

    def add(self, name: str, data) -> None:
        """Write data/NAME.js."""
        path = self.folder / "data" / f"{name}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
        path.write_text(f'lstmpReport.add({json.dumps(name)}, {text});\n', encoding="utf-8")
        if "/" not in name and name != "experiment":
            self.files.append(name)


def word(rng, text: str, at: float, length: float) -> dict:
    """One aligned word with its time."""
    op = rng.choices("CSDI", (80, 10, 5, 5))[0]
    return {"op": op, "ref": "" if op == "I" else text, "hyp": {"C": text, "D": ""}.get(op, rng.choice(WORDS)),
            "start": round(at, 2), "end": round(at + length, 2), "confidence": None if op == "D" else round(rng.random(), 2)}


def aligned(rng, number: int) -> list[dict]:
    """The words of an utterance; the first of all has a known beginning, and every 7th is in Hebrew and Arabic."""
    texts = [rng.choice(RIGHT_TO_LEFT if number % 7 == 3 else WORDS) for _ in range(8)]
    words = [word(rng, text, 0.1 + 0.45 * i, 0.4) for i, text in enumerate(texts)]
    words[3] = {"op": "S", "ref": WORDS[5], "hyp": "IMAGE", "start": 1.45, "end": 1.85, "confidence": 0.7}
    return words


def counts(words: list[dict]) -> dict:
    ops = [w["op"] for w in words]
    spoken = sum(op != "I" for op in ops)
    ins, dele, sub = (ops.count(op) for op in "IDS")
    return {"words": spoken, "ins": ins, "del": dele, "sub": sub, "wer": 100 * (ins + dele + sub) / spoken}


def write_set(sample: Sample, system: str, lm: str, test_set: str, utterances: int, rng) -> dict:
    """Utterances, words, sound, states and errors of a system on a set; returns its row of the results."""
    items, shards = [], {}
    for n in range(utterances):
        utt, shard = f"utt-{n:04}", f"{n // PER_SHARD:03}"
        words = aligned(rng, n)
        items.append({"utt": utt, "speaker": SPEAKER if n % 3 else "anna", "seconds": SECONDS, "level": -20.0 - n % 9,
                      "shard": shard, **counts(words)})
        phones = [[w["start"] + k * 0.1, w["start"] + (k + 1) * 0.1, p] for w in words for k, p in enumerate(("K_B", "AE_I", "T_I", "S_E"))]
        states = [[s + k * 0.03, s + (k + 1) * 0.03, f"{p}.{k}", 17 * k + n] for s, _, p in phones for k in range(3)]
        shards.setdefault(shard, []).append((utt, words, {"phones": phones, "states": states}))
    for shard, members in shards.items():
        parts = (system, lm, test_set)
        sample.add(name_of("words", *parts, shard), {u: w for u, w, _ in members})
        sample.add(name_of("states", *parts, shard), {u: s for u, _, s in members})
        sample.add(name_of("sound", test_set, shard), {u: {
            "audio": "../audio%20files/tone.wav", "offset": 0.5, "seconds": SECONDS, "spectrogram": "spectrograms/one.png",
            "bins": [100 * 1.07 ** k for k in range(64)], "frame_seconds": 0.02} for u, _, _ in members})
    sample.add(name_of("utterances", *parts), {"items": items})
    total = {key: sum(item[key] for item in items) for key in ("words", "ins", "del", "sub")}
    wer = 100 * (total["ins"] + total["del"] + total["sub"]) / total["words"]
    rate = {"errors": 30, "words": 400, "wer": 7.5}
    sample.add(name_of("errors", *parts), {
        "substitutions": [[rng.choice(WORDS), rng.choice(WORDS), n] for n in range(40, 0, -1)],
        "insertions": [[w, 9 - k] for k, w in enumerate(WORDS)], "deletions": [[w, 9 - k] for k, w in enumerate(RIGHT_TO_LEFT)],
        "by_speaker": [{"label": s, "utterances": 20, **total, "wer": wer + k, "ci": [wer + k - 1, wer + k + 2]}
                       for k, s in enumerate((SPEAKER, "anna", *(f"speaker {k}" for k in range(30))))],
        "by_frequency": [{"label": label, **rate, "wer": 30 / (k + 1)} for k, label in enumerate(("0", "1–9", "10–99", "100 or more"))],
        "by_length": [{"label": label, **rate} for label in ("1–5", "6–10", "11–20", "21 or more")],
        "by_level": [{"label": label, **rate} for label in ("below −35", "−35 to −30", "−30 to −25")],
        "calibration": {"ece": 0.043, "nce": 0.312, "bins": [{
            "low": k / 10, "high": (k + 1) / 10, "n": 20 * (k + 1) ** 2, "confidence": k / 10 + 0.05, "correct": (k / 10 + 0.05) ** 1.3}
            for k in range(10)]}})
    return {"system": system, "set": test_set, "lm": lm, "wer": wer, "ci": [wer - 1.2, wer + 1.4], **total, "utterances": utterances,
            "rtf": 0.12 if system == "tri1" else 0.034, "params": 1234567, "minutes": 12.3, "seed": 1, "command": "./run.sh"}


def progress(finished: bool) -> dict:
    """A run in its eighth stage, or at its end."""
    titles = ("data", "dictionary and lang", "language model", "features", "monophones", "triphones", "alignment", "networks",
              "graphs", "decoding", "scoring")
    states = [("done" if finished or n < 8 else "running" if n == 8 else "waiting") for n in range(1, 12)]
    return {"command": "./run.sh", "began": time.time() - 900, "updated": time.time() - 5, "finished": finished, "machine": "box",
            "left": None if finished else 754, "stages": [
                {"stage": n, "title": title, "state": state, "seconds": 31.0 * n if state == "done" else None,
                 "left": None if state == "done" else 120.0} for n, (title, state) in enumerate(zip(titles, states), 1)],
            "network": None if finished else {"name": "lstmp", "epoch": 3, "of": 12, "batches": 200, "of_batches": 610, "loss": 1.234,
                                              "frames_per_second": 17200}}


def curve(epochs: int, start: float) -> list[dict]:
    return [{"epoch": e, "minutes": 1.7 * e, "loss": start / e ** 0.4, "valid_loss": start / e ** 0.35, "accuracy": 80 - 50 / e,
             "valid_accuracy": 75 - 50 / e, "rate": 2e-3 * 0.8 ** e} for e in range(1, epochs + 1)]


def write(place: Path, utterances: int = 1000, running: bool = False) -> Path:
    """Write a report into the folder `place`/report, its audio beside it, and return the path of its page."""
    rng = random.Random(1)
    sample = Sample(place / "report")
    (place / "audio files").mkdir()
    t = np.arange(int(RATE * (SECONDS + 1))) / RATE
    soundfile.write(place / "audio files" / "tone.wav", 0.2 * np.sin(2 * np.pi * 300 * t), RATE)
    picture = np.random.default_rng(1).integers(0, 90, (64, 200)) + np.linspace(150, 0, 64)[:, None]
    Image.fromarray(picture.astype(np.uint8)).save(sample.folder / "spectrograms" / "one.png")
    rows = [] if running else [write_set(sample, system, "tg", name, utterances if (system, name) == (SYSTEMS[1], "test") else 60, rng)
                               for system in SYSTEMS for name in ("dev", "test")]
    sample.add("results", {"rows": rows})
    sample.add("curves", {"systems": {"lstmp": {"epochs": curve(3 if running else 12, 3.0), "running": running},
                                      "wide": {"epochs": curve(9, 2.6), "running": False}}})
    sample.add("progress", progress(not running))
    if not running:
        sample.add("comparison", {"items": [{"a": SYSTEMS[0], "b": SYSTEMS[1], "lm": "tg", "lm_b": "tg", "set": name, "wer_a": 12.0, "wer_b": 10.1,
                                   "difference": -1.9, "ci": ci, "p": p} for name, ci, p in (("dev", [-3.1, -0.6], 0.0004), ("test", [-4, 0.3], 0.08))]})
        sample.add("stages", {"stages": [{"stage": n, "title": f"stage {n}", "seconds": 40.0 * n, "cpu_seconds": 70.0 * n, "peak_mib": 300.0 * n,
                               "steps": [{"step": "steps/train.sh", "command": f"steps/train.sh --nj {n}", "began": 1.7e9 + 60 * n,
                                          "seconds": 20.0 * n, "cpu_seconds": 35.0 * n, "peak_mib": 300.0 * n, "status": 0,
                                          "log": f"{n}-train.log"}] * 2} for n in range(1, 12)]})
        sample.add("suspicious", {"items": [{"utt": f"utt-{n:04}", "set": "test", "speaker": SPEAKER, "score": 3 - n / 10,
                                             "reason": "words without audio", "words": aligned(rng, n), "shard": "000"} for n in range(8)]})
    experiment = {
        "title": "tiny <b>", "exp": "exp/tiny", "made": time.time(), "commit": "4e8a4ac7f940", "machine": "2 × Xeon, 24 GiB, no GPU",
        "versions": {"python": "3.11.7", "torch": "1.13.1", "k2": "1.23.4"}, "commands": ["./run.sh --recipe tiny --seed 1 --exp exp/tiny",
                                                                                    "steps/make_report.sh exp/tiny"],
        "config": [{"file": "lstmp.yaml", "key": f"key_{n}", "value": n, "default": n if n % 4 else [n, n + 1], "changed": n % 4 == 0}
                   for n in range(60)], "notes": ["`lstmp` hears the training data without MP3 coding."],
        "sets": ["dev", "test"], "systems": list(SYSTEMS), "lms": ["tg"], "several": False, "parts": [],
        "files": sample.files,
        "decodings": [{"system": row["system"], "lm": row["lm"], "set": row["set"], "path": name_of(row["system"], row["lm"], row["set"]), "detailed": True} for row in rows]}
    sample.add("experiment", experiment)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    page = sample.folder / "index.html"
    page.write_text(environment.get_template("index.html").render(experiment=experiment, results={"rows": rows}), encoding="utf-8")
    return page
