"""Guesses the encoding of bytes that are not UTF-8.

A candidate encoding decodes nearly all bytes. Many do (Windows-1251 decodes anything), so
candidates are ordered by the share of letters that are frequent in a language written in that
encoding. Also, accented Latin letters mostly occur singly between ASCII letters, while letters of
other scripts occur in runs.

Nothing is converted here: the guess may be wrong, and nobody would notice wrongly converted text.
The message shows a decoded line, and the user runs the conversion command.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import NamedTuple

SAMPLE_BYTES = 1 << 16
SAMPLES = 4
MOST_ERRORS = 0.01  # of the characters beyond ASCII
MOST_CONTROLS = 0.01  # of all characters: with more it is not text
LEAST_SCORE, LEAST_SHARE_OF_BEST = 0.25, 0.5
MOST_SHOWN = 3
SHOWN_BEFORE, SHOWN = 12, 40  # characters of the excerpt: before the offset, in all
BLOCK = 1 << 20
BAD = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8, as Python escapes them
CHANCE = 10  # characters: text in another encoding has no valid UTF-8 run this long

# Letters that are frequent in each language and rare when it is decoded wrongly.
CHINESE_MARKS = "，。、：；？！“”‘’「」『』《》（）…—　"
JAPANESE = "".join(map(chr, range(0x3041, 0x3094))) + "、。「」ー"  # hiragana
FRENCH, GERMAN, SPANISH = "éèêàçùûîôâ’«»œ", "äöüßÄÖÜ", "ñáéíóúü¿¡"
RUSSIAN, UKRAINIAN, POLISH, CZECH = "оеаинтсрвлк", "оаніивретсі", "ąćęłńóśźż", "áčďéěíňóřšťúůýž"
SIMPLIFIED = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所"
    "然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日回走头手水老两"
    "春秋夜月风山花门书把被很又已等再向听问见知意间无正新明常最三二十儿声"
)
TRADITIONAL = (
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所"
    "然家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日回走頭手水老兩"
    "春秋夜月風山花門書把被很又已等再向聽問見知意間無正新明常最三二十兒聲"
)
HANGUL = (
    "이다는에을의가고하지은를도한로서기사아그나리어자니인시대해일들라수만있과보여정전주부장상으스제구조오게것진까면"
    "선안미동비소성었던했요거마무우원적내없때저되위중세야치경국물방새신"
)


class Encoding(NamedTuple):
    """A candidate encoding.

    Args:
        name: the name that iconv and Python share.
        common_name: the usual name, for messages.
        frequent: for each language, the letters that make up most of its non-ASCII text.
        expected: their approximate share of the non-ASCII characters.
        latin: whether its letters beyond ASCII are Latin.
    """

    name: str
    common_name: str
    frequent: tuple[str, ...]
    expected: float
    latin: bool = False


ENCODINGS = (
    Encoding("GB18030", "GB18030 (GBK)", (SIMPLIFIED + CHINESE_MARKS, TRADITIONAL), 0.5),
    Encoding("BIG5-HKSCS", "Big5", (TRADITIONAL + CHINESE_MARKS,), 0.5),
    Encoding("CP932", "Shift_JIS", (JAPANESE,), 0.6),
    Encoding("EUC-JP", "EUC-JP", (JAPANESE,), 0.6),
    Encoding("CP949", "EUC-KR", (HANGUL,), 0.6),
    Encoding("CP1251", "Windows-1251", (RUSSIAN, UKRAINIAN), 0.75),
    Encoding("KOI8-R", "KOI8-R", (RUSSIAN,), 0.75),
    Encoding("KOI8-U", "KOI8-U", (UKRAINIAN,), 0.75),
    Encoding("CP866", "CP866 (DOS)", (RUSSIAN,), 0.75),
    Encoding("ISO-8859-5", "ISO-8859-5", (RUSSIAN,), 0.75),
    Encoding("CP1253", "Windows-1253 (Greek)", ("αοιετσνηςκπρυόί",), 0.8),
    Encoding("CP1255", "Windows-1255 (Hebrew)", ("יוהלארמתבשנ",), 0.8),
    Encoding("CP1256", "Windows-1256 (Arabic)", ("الينموترةبعد",), 0.75),
    Encoding("CP874", "TIS-620 (Thai)", ("านรอกเง่มยลวดทั",), 0.65),
    Encoding(
        "CP1252",
        "Windows-1252",
        (FRENCH, GERMAN, SPANISH, "ãõçáéíóúâêà", "åäöæøé", "àèéìòù", "’‘“”—–…£"),
        0.95,
        latin=True,
    ),
    Encoding(
        "CP1250", "Windows-1250", (POLISH, CZECH, "áéíóöőúüű", "ăâîşţ", "čšžćđ"), 0.95, latin=True
    ),
    Encoding("ISO-8859-2", "ISO-8859-2", (POLISH, CZECH), 0.95, latin=True),
    Encoding("CP1254", "Windows-1254 (Turkish)", ("çğıöşüİâ",), 0.95, latin=True),
    Encoding(
        "CP1257", "Windows-1257 (Baltic)", ("ąčęėįšųūž", "āčēģīķļņšūž", "äõöü"), 0.95, latin=True
    ),
    Encoding("CP850", "CP850 (DOS)", (FRENCH, GERMAN, SPANISH), 0.95, latin=True),
    Encoding("MACINTOSH", "Mac Roman", (FRENCH, GERMAN, SPANISH, "’‘“”—–…"), 0.95, latin=True),
)


class Decoding(NamedTuple):
    """A text decoded with one candidate encoding.

    Args:
        name: the name that iconv and Python share.
        common_name: the usual name, for messages.
        line: an excerpt around the first byte that is not UTF-8.
        errors: approximate number of bytes that it cannot decode.
    """

    name: str
    common_name: str
    line: str
    errors: int


class Damage(NamedTuple):
    """How much of a text is valid UTF-8.

    Args:
        bad: number of bytes that are not UTF-8.
        good: number of non-ASCII characters that are.
        joined: whether the text starts or ends with so many valid characters that a part of it
            must be UTF-8.
    """

    bad: int
    good: int
    joined: bool

    @property
    def stray(self) -> bool:
        """Whether the text is UTF-8 with a few invalid bytes, and not in another encoding."""
        return self.good >= 3 * self.bad


def damage_of(data: bytes) -> Damage:
    """Count the characters that are UTF-8 and the bytes that are not."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    bad = good = 0
    for start in range(0, len(data), BLOCK):
        text = decoder.decode(data[start : start + BLOCK], start + BLOCK >= len(data))
        whole = len(text.encode("utf-8", "ignore").decode())
        bad += len(text) - whole
        good += whole - len(text.encode("ascii", "ignore"))
    ends = data[:SAMPLE_BYTES], data[-SAMPLE_BYTES:]
    first, last = (text.decode("utf-8", "surrogateescape") for text in ends)
    runs = BAD.split(first, 1)[0], BAD.split(last)[-1]
    joined = bad > 0 and any(
        len(run) - len(run.encode("ascii", "ignore")) >= CHANCE for run in runs
    )
    return Damage(bad, good, joined)


def plausible_decodings(data: bytes, offset: int = 0) -> list[Decoding]:
    """Return plausible decodings of bytes, the most plausible first; empty if none is.

    Args:
        offset: index of the first byte that is not UTF-8; the excerpt is around it.
    """
    sample = _sample(data, offset)
    scored = sorted(
        ((_score(sample, encoding), encoding) for encoding in ENCODINGS),
        key=lambda pair: -pair[0],
    )
    best = scored[0][0]
    decodings: list[Decoding] = []
    for score, encoding in scored:
        if score < max(LEAST_SCORE, LEAST_SHARE_OF_BEST * best) or len(decodings) == MOST_SHOWN:
            break
        line = _line(data, offset, encoding.name)
        errors = _errors(data, encoding.name)
        # Encodings that decode the excerpt alike cannot be told apart by the user.
        if errors is not None and all(line != other.line for other in decodings):
            decodings.append(Decoding(encoding.name, encoding.common_name, line, errors))
    return decodings


def wide_encoding(data: bytes) -> str | None:
    """Return the UTF-16 or UTF-32 encoding of bytes without a byte order mark, or None."""
    sample = data[: SAMPLE_BYTES // 8 * 8]
    for name in ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE"):
        unit = 4 if "32" in name else 2
        try:
            text = sample[: len(sample) // unit * unit].decode(name)
        except UnicodeDecodeError:
            continue
        plain = sum(unicodedata.category(letter)[0] in "LMNPZ" for letter in text)
        parted = text.count(" ") + text.count("\n")
        # Almost any two bytes decode to a character, but not to spaces and lines at this rate.
        if "\0" not in text and plain >= 0.9 * len(text) and parted * 500 > len(text):
            return name
    return None


def _sample(data: bytes, offset: int) -> bytes:
    """Return parts of the text from several places, each from the start of a line."""
    start = data.rfind(b"\n", 0, offset) + 1
    step = max(SAMPLE_BYTES, (len(data) - start) // SAMPLES)
    pieces = []
    for place in range(start, len(data), step):
        begin = place if place == start else data.find(b"\n", place, place + SAMPLE_BYTES) + 1
        if begin:
            pieces.append(data[begin : begin + SAMPLE_BYTES])
        elif place == start:
            pieces.append(data[:SAMPLE_BYTES])
    return b"\n".join(pieces)


def _score(sample: bytes, encoding: Encoding) -> float:
    """Return how much a decoded sample resembles a language: about 1 if it is one, else less."""
    text = sample.decode(encoding.name, "replace")
    beyond = [letter for letter in text if letter > "\x7f"]
    if not beyond:
        return 0.0
    # Each sample may end inside a character.
    errors = beyond.count("\ufffd") - SAMPLES
    controls = sum(unicodedata.category(letter) == "Cc" for letter in text) - sum(
        map(text.count, "\n\r\t\f")
    )
    if errors > MOST_ERRORS * len(beyond) or controls > MOST_CONTROLS * len(text):
        return 0.0
    alone = _alone(sample)
    frequent = map(set, encoding.frequent)
    share = max(sum(letter in letters for letter in beyond) for letters in frequent)
    return share / len(beyond) / encoding.expected * (alone if encoding.latin else 1 - alone)


def _alone(sample: bytes) -> float:
    """Return the share of non-ASCII bytes whose neighbours are ASCII."""
    runs = re.findall(rb"[\x80-\xff]+", sample)
    return sum(len(run) == 1 for run in runs) / max(1, sum(map(len, runs)))


def _errors(data: bytes, name: str) -> int | None:
    """Return how many characters of the whole text cannot be decoded; None if too many."""
    decoder = codecs.getincrementaldecoder(name)("replace")
    errors = beyond = 0
    for start in range(0, len(data), BLOCK):
        text = decoder.decode(data[start : start + BLOCK])  # an incomplete end is not an error
        errors += text.count("\ufffd")
        beyond += len(text) - len(text.encode("ascii", "ignore"))
        if errors > BLOCK // 10:
            return None
    return errors if errors <= max(MOST_ERRORS * beyond, 1) else None


def _line(data: bytes, offset: int, name: str) -> str:
    """Return an excerpt around an offset, decoded, with control characters replaced by spaces."""
    start = max(data.rfind(b"\n", 0, offset), data.rfind(b"\r", 0, offset)) + 1
    end = re.compile(rb"[\r\n]|\Z").search(data, offset)
    stop = min(end.start() if end else len(data), offset + 8 * SHOWN)
    before = data[start:offset].decode(name, "replace")
    text = data[start:stop].decode(name, "replace")
    first = max(0, len(before) - SHOWN_BEFORE)
    shown = text[first : first + SHOWN]
    cut = "…" if len(text) > first + SHOWN else ""
    return "".join(letter if letter.isprintable() else " " for letter in shown).strip() + cut
