"""Transcripts as text, CTM, subtitles and JSON."""

import json
import re

import pytest

from lstmp.transcribe.formats import Transcript, Word, subtitles, write

WORDS = (Word("HELLO", 0.5, 0.9, 0.98765), Word("WORLD", 0.9, 1.25, 0.5), Word("AGAIN", 3661.5, 3662.0, 1.0))
TALK = Transcript("/tmp/my talk.mp3", 3670.0, WORDS)


def test_text_and_ctm():
    assert write(TALK, "text") == "HELLO WORLD AGAIN\n"
    assert write(TALK, "ctm").splitlines() == ["my_talk 1 0.50 0.40 HELLO 0.988", "my_talk 1 0.90 0.35 WORLD 0.500",
                                               "my_talk 1 3661.50 0.50 AGAIN 1.000"]


def test_json():
    got = json.loads(write(TALK, "json"))
    assert got["text"] == "HELLO WORLD AGAIN" and got["seconds"] == 3670 and got["name"] == TALK.name
    assert got["words"][0] == {"word": "HELLO", "begin": 0.5, "end": 0.9, "confidence": 0.988}


def test_srt():
    assert write(TALK, "srt") == ("1\n00:00:00,500 --> 00:00:01,250\nHELLO WORLD\n\n"
                                  "2\n01:01:01,500 --> 01:01:02,000\nAGAIN\n")


def test_subtitles_are_short_and_end_at_pauses():
    words = tuple(Word("ABCDEFGHI", 0.4 * i + (5 if i > 70 else 0), 0.4 * i + 0.4 + (5 if i > 70 else 0), 1.0)
                  for i in range(100))
    groups = subtitles(words)
    assert [w for g in groups for w in g] == list(words)
    for g in groups:
        assert sum(len(w.word) + 1 for w in g) <= 85 and g[-1].end - g[0].begin <= 6.0
    assert not any(words[70] in g and words[71] in g for g in groups)


@pytest.mark.parametrize("form, empty", [("text", "\n"), ("ctm", ""), ("srt", "")])
def test_a_transcript_without_words(form, empty):
    assert write(Transcript("x", 1.0, ()), form) == empty
    assert re.search(r'"words": \[\]', write(Transcript("x", 1.0, ()), "json"))
