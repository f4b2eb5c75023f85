"""A pronunciation dictionary for ``tiny``: espeak's phonemes in four accents, written as ARPAbet with stress digits.

The phone set is CMUdict's: 15 vowels with stress 0, 1 or 2 and 24 consonants. A word gets a pronunciation per accent
that differs: American (rhotic), British (non-rhotic), Scottish and Caribbean; function words get weak forms too.
"""

from lstmp.corpus.espeak import Espeak
from lstmp.errors import UserError

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029")
RHOTIC = ("en-us",)  # where espeak's r-coloured vowels hold the r; in Scottish it writes the r itself

CONSONANTS = {
    "b": "B", "d": "D", "f": "F", "g": "G", "h": "HH", "j": "Y", "k": "K", "l": "L", "m": "M", "n": "N", "N": "NG",
    "p": "P", "r": "R", "s": "S", "S": "SH", "t": "T", "t#": "T", "t2": "T", "t[": "T", "tS": "CH", "dZ": "JH",
    "T": "TH", "D": "DH", "v": "V", "w": "W", "w#": "W", "z": "Z", "Z": "ZH",
}
# Vowels: the phones outside America, and those of American English where they differ. `*` takes the stress digit.
VOWELS = {
    "0": "AA*", "O2": "AO*", "A:": "AA*", "a": "AE*", "aa": "AA*", "a#": "AH*", "V": "AH*", "@": "AH*", "@2": "AH*",
    "@-": "AH*", "3": "AH*", "3:": "ER*", "VR": "ER*", "IR": "ER*", "@L": "AH* L", "E": "EH*", "e@": "EH*", "I": "IH*",
    "I#": "IH*", "I2": "IH*", "i": "IY*", "i:": "IY*", "i@": "IY* AH0", "i@3": "IY* AH0", "O:": "AO*", "O@": "AO*",
    "o@": "AO*", "A@": "AA*", "U": "UH*", "u:": "UW*", "aI": "AY*", "aI2": "AY*", "aI@": "AY* AH0", "aU": "AW*",
    "eI": "EY*", "oU": "OW*", "OI": "OY*",
}
RHOTIC_VOWELS = {"3": "ER*", "e@": "EH* R", "i@3": "IH* R", "O@": "AO* R", "o@": "AO* R", "A@": "AA* R", "aa": "AE*"}
SILENT = {";", ":", "|", "r-"}  # palatal and length marks, and the r that links to a following vowel
STRESS = {"'": "1", ",": "2", "%": "0", "=": "0"}

# Forms that a word takes inside a sentence and espeak does not give when it says the word alone.
WEAK_FORMS = {
    "a": ["AH0", "EY1"], "and": ["AH0 N D", "AH0 N"], "are": ["ER0", "AA1 R"], "at": ["AE0 T", "AH0 T"],
    "for": ["F AO0 R", "F AO0", "F ER0", "F AH0"], "from": ["F R AH0 M"], "in": ["IH0 N"], "is": ["IH0 Z"],
    "of": ["AH0 V", "AA0 V"], "on": ["AA0 N", "AO0 N"], "that": ["DH AH0 T"],
    "the": ["DH AH0", "DH IY0", "D AH0", "D IY0"],
    "to": ["T AH0", "T UH0", "T UW0"], "was": ["W AH0 Z"], "will": ["W AH0 L"], "would": ["W UH0 D"],
}


def to_arpabet(phonemes: list[str], rhotic: bool) -> str:
    """espeak's mnemonics of one word, stress marks attached, as ARPAbet phones separated by spaces.

    Raises:
        UserError: a mnemonic that the tables do not know.
    """
    phones = []
    for mnemonic in phonemes:
        name = mnemonic.lstrip("".join(STRESS))
        stress = next((STRESS[m] for m in mnemonic[:len(mnemonic) - len(name)] if m in STRESS), "0")
        if name in CONSONANTS:
            phones.append(CONSONANTS[name])
        elif name in VOWELS:
            vowel = RHOTIC_VOWELS.get(name, VOWELS[name]) if rhotic else VOWELS[name]
            phones.append(vowel.replace("*", stress))
        elif name and name not in SILENT:
            raise UserError(f"espeak's phoneme `{name}` of {' '.join(phonemes)} has no ARPAbet phone", file=__file__,
                            hint="install espeakng-loader 0.2.4, or add it to the table there")
    return " ".join(phones).replace("ER0 R ", "AH0 R ")  # espeak colours a schwa before r, CMUdict does not


def pronunciations(espeak: Espeak, word: str) -> list[str]:
    """All pronunciations of a word, without repetition: those of the accents, then its weak forms."""
    found = []
    for accent in ACCENTS:
        groups = espeak.phonemes(word, accent)
        found.append(to_arpabet([p for group in groups for p in group], accent in RHOTIC))
    return list(dict.fromkeys(found + WEAK_FORMS.get(word, [])))


def lexicon(words: list[str]) -> list[str]:
    """Lines of Kaldi's ``lexicon.txt``, sorted: the word in capitals and its phones."""
    espeak = Espeak()
    return sorted(f"{word.upper()} {p}" for word in words for p in pronunciations(espeak, word))
