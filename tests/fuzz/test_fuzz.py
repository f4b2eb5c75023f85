"""500 damaged files, over all readers: each is read, or refused in one line. More by tests/fuzz/run.sh."""

from collections import Counter

from fuzz import fuzz
from fuzz.readers import READERS


def test_damaged_files_are_read_or_refused(tmp_path):
    root = fuzz.prepared(tmp_path)
    told = list(fuzz.run(root, list(range(500)), 1, list(READERS)))
    faults = [t for t in told if t["outcome"] == "fault"]
    assert not faults, "\n".join(f"tests/fuzz/run.sh --only {t['n']}: {t['reader']}, {t['file']}: {t['what']}"
                                 for t in faults)
    outcomes = Counter(t["outcome"] for t in told)
    assert len(told) == 500 and outcomes["taken"] > 50 and outcomes["refused"] > 150
