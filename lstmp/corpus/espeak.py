"""espeak-ng through ctypes: text to samples and to phonemes. The library and its data come with ``espeakng_loader``.

The functions and constants are those of espeak-ng's ``speak_lib.h`` and ``espeak_ng.h``. The library keeps one global
state: one engine in a process, no threads, and what is spoken depends by a few samples on what was spoken before. The
same samples every time need a fresh process and the same utterances in the same order.
"""

import ctypes
from dataclasses import dataclass

import espeakng_loader
import numpy as np

from lstmp.errors import UserError

SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: samples go to the callback, espeak_Synth returns when all are there
DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
UTF8 = 1  # espeakCHARS_UTF8
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER: words per minute, 0–100, 0–100
SEPARATOR = "_"

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Manner:
    """How to speak: the voice (``en-us+m3`` is an accent and a variant), words per minute, pitch and its range."""

    voice: str
    rate: int
    pitch: int
    range: int


class Espeak:
    """The engine.

    Raises:
        UserError: the library cannot be loaded or does not find its data.
    """

    def __init__(self):
        hint = "install it again: `pip install --force-reinstall espeakng-loader`"
        try:
            self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as e:
            raise UserError(f"espeak-ng cannot be loaded ({e})", hint=hint) from None
        data = espeakng_loader.get_data_path()
        self._lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self.sample_rate = self._lib.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), DONT_EXIT)
        if self.sample_rate <= 0:
            raise UserError("espeak-ng does not find its data", file=data, hint=hint)
        self._blocks: list[np.ndarray] = []
        self._callback = _Callback(self._take)  # kept: ctypes does not keep it alive
        self._lib.espeak_SetSynthCallback(self._callback)

    def _take(self, samples, count, _events) -> int:
        if samples and count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0  # go on

    def set_voice(self, voice: str):
        """Choose a voice by name.

        Raises:
            UserError: there is none of that name.
        """
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(f"espeak-ng has no voice `{voice}`", hint="install espeakng-loader 0.2.4")

    def speak(self, text: str, manner: Manner, seed: int) -> np.ndarray:
        """Synthesize: int16 ``[samples]`` at ``sample_rate``. ``seed`` is that of the breath noise of some voices."""
        self.set_voice(manner.voice)
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        for parameter, value in ((RATE, manner.rate), (PITCH, manner.pitch), (RANGE, manner.range)):
            self._lib.espeak_SetParameter(parameter, value, 0)
        self._blocks.clear()
        raw = text.encode("utf-8")
        if self._lib.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, UTF8, None, None) != 0 or not self._blocks:
            raise UserError(f"espeak-ng cannot speak `{text}`", hint="run the same command again")
        return np.concatenate(self._blocks)

    def phonemes(self, text: str, voice: str) -> list[list[str]]:
        """espeak's phoneme mnemonics of ``text``, per word as espeak groups them; stress marks ``'`` and ``,`` stay."""
        self.set_voice(voice)
        raw = ctypes.c_char_p(text.encode("utf-8"))
        rest = ctypes.cast(ctypes.pointer(raw), ctypes.POINTER(ctypes.c_char_p))
        words: list[list[str]] = []
        while rest.contents:
            clause = self._lib.espeak_TextToPhonemes(rest, UTF8, ord(SEPARATOR) << 8)
            for word in (clause or b"").decode("utf-8").split():
                words.append([p for p in word.split(SEPARATOR) if p])
        return words
