"""A report with made-up data, for tests of its page in a browser: words that are HTML, or run from right to left."""

import random
import time
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from lstmp.report.page import write_page
from lstmp.shards import shard_name, write_shard

HOSTILE = '<img src=x onerror="window.harmed=1">'
WORDS = ["THE", "CAT", "NAÏVE", "ŻÓŁW", "日本語", HOSTILE, "</script><script>window.harmed=1</script>", "O'ER", "WORD"]
RIGHT_TO_LEFT = ["שלום", "עולם", "سلام", "دنیا"]
SPEAKER = "m 8/ü % \"'<b>"
SYSTEMS = ("tri1", "lstmp (2 × 800)/%")
LM = "tg"
SECONDS, RATE, PER_SHARD = 4.0, 16000, 50
STAGES = ("data", "dictionary and lang", "language model", "features", "monophones", "triphones", "alignment",
          "networks", "graphs", "decoding", "scoring")


def aligned(rng: random.Random, number: int) -> list[dict]:
    """The words of an utterance; every 7th is in Hebrew and Arabic, and the fourth word is always a hostile one."""
    words = []
    for i in range(8):
        text = HOSTILE if i == 3 else rng.choice(RIGHT_TO_LEFT if number % 7 == 3 else WORDS)
        op = "S" if i == 3 else rng.choices("CSDI", (80, 10, 5, 5))[0]
        hyp = "IMAGE" if i == 3 else {"C": text, "D": ""}.get(op, rng.choice(WORDS))
        words.append({"op": op, "ref": "" if op == "I" else text, "hyp": hyp, "start": round(0.1 + 0.45 * i, 2),
                      "end": round(0.5 + 0.45 * i, 2), "confidence": None if op == "D" else round(rng.random(), 2)})
    return words


def counts(words: list[dict]) -> dict:
    ops = [w["op"] for w in words]
    n = {"words": 8 - ops.count("I"), "ins": ops.count("I"), "del": ops.count("D"), "sub": ops.count("S")}
    return {**n, "wer": 100 * (n["ins"] + n["del"] + n["sub"]) / n["words"]}


def states(words: list[dict]) -> dict:
    """Four phones in each word, of three states each."""
    phones = [[w["start"] + 0.1 * k, w["start"] + 0.1 * (k + 1), phone]
              for w in words for k, phone in enumerate(("K_B", "AE_I", "T_I", "S_E"))]
    return {"phones": phones, "states": [[start + 0.03 * k, start + 0.03 * (k + 1), f"{phone}.{k}", 17 * k]
                                         for start, _, phone in phones for k in range(3)]}


def write_set(report: Path, system: str, test_set: str, utterances: int, rng: random.Random) -> dict:
    """Write the shards of a system on a set; returns its row of the results."""
    words = {f"utt-{n:04}": aligned(rng, n) for n in range(utterances)}
    parts, utts = (system, LM, test_set), list(words)
    sound = {"audio": "../audio%20files/tone.wav", "offset": 0.5, "seconds": SECONDS,
             "spectrogram": "spectrograms/one.png", "frame_seconds": 0.02,
             "bins": [round(7000 / 1.07 ** k) for k in range(64)]}
    for first in range(0, utterances, PER_SHARD):
        shard, members = str(first // PER_SHARD), utts[first:first + PER_SHARD]
        write_shard(report, shard_name("words", *parts, shard), {u: words[u] for u in members})
        write_shard(report, shard_name("states", *parts, shard), {u: states(words[u]) for u in members})
        write_shard(report, shard_name("sound", test_set, shard), {u: sound for u in members})
    items = [{"utt": u, "speaker": SPEAKER if n % 3 else "anna", "seconds": SECONDS, "level": -20.0 - n % 9,
              "shard": str(n // PER_SHARD), **counts(words[u])} for n, u in enumerate(utts)]
    write_shard(report, shard_name("utterances", *parts), {"items": items})
    total = {key: sum(item[key] for item in items) for key in ("words", "ins", "del", "sub")}
    wer = 100 * (total["ins"] + total["del"] + total["sub"]) / total["words"]
    write_shard(report, shard_name("errors", *parts), errors(total, wer, rng))
    return {"system": system, "set": test_set, "lm": LM, "wer": wer, "ci": [wer - 1.2, wer + 1.4], **total,
            "utterances": utterances, "rtf": 0.12 if system == "tri1" else 0.034, "params": 1234567, "minutes": 12.3,
            "seed": 1, "command": "./run.sh"}


def errors(total: dict, wer: float, rng: random.Random) -> dict:
    """The shard of the errors."""
    def rates(*labels: str) -> list[dict]:
        return [{"label": label, "errors": 30, "words": 400, "wer": 30 / (k + 1)} for k, label in enumerate(labels)]

    others = {"words": 90, "ins": 0, "del": 0, "sub": 9}
    speakers = {SPEAKER: total, **{f"speaker {k}": others for k in range(30)}}
    means = [k / 10 + 0.05 for k in range(10)]
    return {
        "substitutions": [[rng.choice(WORDS), rng.choice(WORDS), n] for n in range(40, 0, -1)],
        "insertions": [[w, 9 - k] for k, w in enumerate(WORDS)], "deletions": [[w, 4] for w in RIGHT_TO_LEFT],
        "by_speaker": [{"label": s, "utterances": 20, **n, "wer": wer + k, "ci": [wer + k - 1, wer + k + 2]}
                       for k, (s, n) in enumerate(speakers.items())],
        "by_frequency": rates("0", "1 to 9", "10 to 99", "100 or more"), "by_length": rates("1 to 5", "6 to 10"),
        "by_level": rates("−35 to −30", "−30 to −25", "−25 to −20"),
        "calibration": {"ece": 0.043, "nce": None, "bins": [
            {"low": k / 10, "high": (k + 1) / 10, "n": 20 * (k + 1) ** 2, "confidence": mean, "correct": mean ** 1.3}
            for k, mean in enumerate(means)]}}


def progress(finished: bool) -> dict:
    """A run in its eighth stage, or at its end."""
    stages = [{"stage": n, "title": title, "state": "done" if finished or n < 8 else "running" if n == 8 else "waiting",
               "seconds": 31.0 * n if finished or n < 8 else 0.0, "left": 0.0 if finished or n < 8 else 120.0}
              for n, title in enumerate(STAGES, 1)]
    network = {"name": "lstmp", "epoch": 3, "of": 12, "batches": 200, "of_batches": 610, "loss": 1.234,
               "frames_per_second": 17200}
    now = time.time()
    return {"command": "./run.sh", "began": now - 900, "updated": now - 5, "finished": now if finished else None,
            "machine": "box", "left": 0.0 if finished else 754.0, "stages": stages,
            "network": None if finished else network}


def curve(epochs: int, start: float) -> list[dict]:
    return [{"epoch": e, "minutes": 1.7 * e, "loss": start / e ** 0.4, "valid_loss": start / e ** 0.35,
             "accuracy": 80 - 50 / e, "valid_accuracy": 75 - 50 / e, "rate": 2e-3 * 0.8 ** e}
            for e in range(1, epochs + 1)]


def write_sound(place: Path, report: Path) -> None:
    """A tone, and the picture of noise."""
    (place / "audio files").mkdir(parents=True)
    (report / "spectrograms").mkdir(parents=True)
    t = np.arange(int(RATE * (SECONDS + 1))) / RATE
    soundfile.write(place / "audio files" / "tone.wav", 0.2 * np.sin(2 * np.pi * 300 * t), RATE)
    picture = np.random.default_rng(1).integers(0, 90, (64, 200)) + np.linspace(0, 150, 64)[:, None]
    Image.fromarray(picture.astype(np.uint8)).save(report / "spectrograms" / "one.png")


def write_parts(report: Path, rng: random.Random) -> None:
    """Comparisons, stages and suspicious utterances."""
    pair = {"a": SYSTEMS[0], "b": SYSTEMS[1], "lm": LM, "lm_b": LM, "wer_a": 12.0, "wer_b": 10.1, "difference": -1.9}
    write_shard(report, "comparison", {"items": [{**pair, "set": "dev", "ci": [-3.1, -0.6], "p": 0.0004},
                                                 {**pair, "set": "test", "ci": [-4, 0.3], "p": 0.08},
                                                 {**pair, "set": "test", "lm_b": "big", "ci": [-5, -1], "p": 0.02}]})
    cost = {"seconds": 20.0, "cpu_seconds": 35.0, "peak_mib": 300.0}
    step = {"step": "train", "command": "steps/train.sh", "began": "2026-11-28 13:54:02 +0000", **cost, "status": 0}
    write_shard(report, "stages", {"stages": [
        {"stage": n, "title": title, **cost, "steps": [{**step, "log": f"{n}-train.log"}] * 2}
        for n, title in enumerate(STAGES, 1)]})
    write_shard(report, "suspicious", {"items": [
        {"utt": f"utt-{n:04}", "set": "test", "speaker": SPEAKER, "score": 3 - n / 10 if n else None, "shard": "0",
         "reason": "words without audio", "words": aligned(rng, n)} for n in range(8)]})


def write(place: Path, utterances: int = 1000, running: bool = False) -> Path:
    """Write a report into the folder `place`/report, its audio beside it, and return the path of its page."""
    rng, report = random.Random(1), place / "report"
    write_sound(place, report)
    systems = {"lstmp": {"epochs": curve(3 if running else 12, 3.0), "running": running},
               "wide": {"epochs": curve(9, 2.6), "running": False}}
    write_shard(report, "curves", {"systems": systems})
    write_shard(report, "progress", progress(not running))
    rows = []
    if not running:
        rows = [write_set(report, system, name, utterances if (system, name) == (SYSTEMS[1], "test") else 60, rng)
                for system in SYSTEMS for name in ("dev", "test")]
        write_parts(report, rng)
    config = [{"file": "lstmp.yaml", "key": f"key_{n}", "value": n, "default": n if n % 4 else [n, n + 1],
               "changed": n % 4 == 0} for n in range(60)]
    decodings = [{key: row[key] for key in ("system", "lm", "set")} | {"detailed": True} for row in rows]
    return write_page(report, {
        "title": "tiny <b>", "exp": "exp/tiny", "made": "2026-11-28 17:51:35 +0000", "commit": "4e8a4ac7f940",
        "machine": "2 × Xeon, 24 GiB, no GPU", "versions": {"Python": "3.11.7", "torch": "1.13.1"}, "config": config,
        "commands": ["./run.sh --recipe tiny --seed 1 --exp exp/tiny", "steps/make_report.sh exp/tiny"],
        "notes": ["`lstmp` hears the training data without MP3 coding."], "sets": ["dev", "test"],
        "systems": [*SYSTEMS], "lms": [LM], "several": False, "parts": [{"name": "tiny", "exp": "exp/tiny"}],
        "decodings": decodings}, {"rows": rows})[0]
