"""Binds espeak-ng through ctypes: text to samples and to phonemes. ``espeakng_loader`` brings the library and its data.

Functions and constants are those of espeak-ng's ``speak_lib.h`` and ``espeak_ng.h``. The library has one global state:
use one engine per process and no threads. The output depends by a few samples on what the process synthesized before,
so reproducible samples need a fresh process and the same utterances in the same order.
"""

import ctypes
from dataclasses import dataclass

import espeakng_loader
import numpy as np

from lstmp.errors import UserError

SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: samples go to the callback; espeak_Synth returns after the last
DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
UTF8 = 1  # espeakCHARS_UTF8
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER: words per minute, 0–100, 0–100
SEPARATOR = "_"

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class VoiceSettings:
    """Settings of the synthesizer: voice (``en-us+m3``: accent and variant), words per minute, pitch, pitch range."""

    voice: str
    rate: int
    pitch: int
    range: int


class Espeak:
    """The synthesizer.

    Raises:
        UserError: the library cannot be loaded or cannot find its data.
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
            raise UserError("espeak-ng cannot find its data", file=data, hint=hint)
        self._blocks: list[np.ndarray] = []
        self._callback = _Callback(self._receive)  # referenced here, because ctypes does not keep it alive
        self._lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples, count, _events) -> int:
        if samples and count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0  # continue

    def set_voice(self, voice: str):
        """Choose a voice by name.

        Raises:
            UserError: there is no such voice.
        """
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(f"espeak-ng has no voice `{voice}`", hint="install espeakng-loader 0.2.4")

    def speak(self, text: str, settings: VoiceSettings, seed: int) -> np.ndarray:
        """Synthesize ``text``: int16 ``[samples]`` at ``sample_rate``. ``seed``: for breath noise of some voices."""
        self.set_voice(settings.voice)
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        for parameter, value in ((RATE, settings.rate), (PITCH, settings.pitch), (RANGE, settings.range)):
            self._lib.espeak_SetParameter(parameter, value, 0)
        self._blocks.clear()
        raw = text.encode("utf-8")
        if self._lib.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, UTF8, None, None) != 0 or not self._blocks:
            raise UserError(f"espeak-ng cannot speak `{text}`", hint="run the same command again")
        return np.concatenate(self._blocks)

    def phonemes(self, text: str, voice: str) -> list[list[str]]:
        """Return espeak's phoneme mnemonics of ``text``, grouped into words; stress marks ``'`` and ``,`` are kept."""
        self.set_voice(voice)
        raw = ctypes.c_char_p(text.encode("utf-8"))
        rest = ctypes.cast(ctypes.pointer(raw), ctypes.POINTER(ctypes.c_char_p))
        words: list[list[str]] = []
        while rest.contents:
            clause = self._lib.espeak_TextToPhonemes(rest, UTF8, ord(SEPARATOR) << 8)
            for word in (clause or b"").decode("utf-8").split():
                words.append([p for p in word.split(SEPARATOR) if p])
        return words
