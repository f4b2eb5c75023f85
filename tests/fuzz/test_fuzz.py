"""500 damaged files for all readers: each is read, or refused in one line. tests/fuzz/run.sh tries more."""

from collections import Counter

from fuzz import fuzz
from fuzz.readers import READERS


def test_damaged_files_are_read_or_refused(tmp_path):
    root = fuzz.prepared(tmp_path)
    reports = list(fuzz.run(root, list(range(500)), 1, list(READERS)))
    failures = [t for t in reports if t["outcome"] == "failed"]
    assert not failures, "\n".join(f"tests/fuzz/run.sh --only {t['n']}: {t['reader']}, {t['file']}: {t['what']}"
                                 for t in failures)
    outcomes = Counter(t["outcome"] for t in reports)
    assert len(reports) == 500 and outcomes["read"] > 50 and outcomes["refused"] > 150
