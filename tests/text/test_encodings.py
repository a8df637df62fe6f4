"""The encoding of real sentences is the first that is shown."""

from __future__ import annotations

import pytest

from wordorder.text.encodings import damage_of, plausible_decodings, wide_encoding

RUSSIAN = "В тот вечер старик сидел у ворот и смотрел на далёкие горы."
FRENCH = "Ce soir-là, le vieil homme était assis devant la porte et regardait les montagnes."
JAPANESE = "その晩、老人は門の前に座って、遠くの山を見ていた。"
CZECH = "Toho večera seděl stařec před bránou a díval se na vzdálené hory."
POLISH = "Tego wieczoru stary człowiek siedział przed bramą, źle spał i świtało."
SENTENCES = [
    ("GB18030", "那天晚上，老人坐在门前，看着远处的山。他想起年轻的时候，也曾经走过那条路。"),
    ("BIG5-HKSCS", "那天晚上，老人坐在門前，看著遠處的山。他想起年輕的時候，也曾經走過那條路。"),
    ("CP932", JAPANESE),
    ("EUC-JP", JAPANESE),
    ("CP949", "그날 저녁 노인은 문 앞에 앉아 먼 산을 바라보고 있었다. 젊은 시절이 생각났다."),
    ("CP1251", RUSSIAN),
    ("KOI8-R", RUSSIAN),
    ("CP866", RUSSIAN),
    ("ISO-8859-5", RUSSIAN),
    ("CP1251", "Того вечора старий сидів біля воріт і дивився на далекі гори."),
    ("KOI8-U", "Того вечора старий сидів біля воріт і дивився на далекі гори."),
    ("CP1253", "Εκείνο το βράδυ ο γέρος καθόταν μπροστά στην πόρτα και κοίταζε τα βουνά."),
    ("CP1255", "באותו ערב ישב הזקן לפני השער והביט בהרים הרחוקים. הוא נזכר בנעוריו."),
    ("CP1256", "في ذلك المساء جلس الرجل العجوز أمام الباب ونظر إلى الجبال البعيدة."),
    ("CP874", "เย็นวันนั้นชายชรานั่งอยู่หน้าประตูและมองดูภูเขาที่อยู่ไกลออกไป"),
    ("CP1252", FRENCH),
    ("CP850", FRENCH),
    ("MACINTOSH", FRENCH),
    ("CP1252", "Der alte Mann saß vor der Tür und hörte die Vögel."),
    ("CP1252", "Esa noche el viejo miraba las montañas; ¿qué veía?"),
    ("CP1252", "It wasn’t late. “Come in,” he said."),
    ("CP1252", "café"),
    ("CP1250", POLISH),
    ("ISO-8859-2", POLISH),
    ("CP1250", CZECH),
    ("CP1254", "O akşam yaşlı adam kapının önünde oturmuş uzak dağlara bakıyordu."),
    ("CP1257", "Tą vakarą senis sėdėjo prie vartų ir žiūrėjo į tolimus kalnus."),
]


@pytest.mark.parametrize(("name", "text"), SENTENCES, ids=lambda each: each[:12])
@pytest.mark.parametrize("before", ["", "Plain lines\nbefore it.\n"], ids=["alone", "below"])
def test_the_right_reading_comes_first(name: str, text: str, before: str) -> None:
    data = f"{before}{text}\n".encode(name)
    assert not damage_of(data).stray
    offset = next(place for place, byte in enumerate(data) if byte > 0x7F)
    first = plausible_decodings(data, offset)[0]
    # Other encodings that spell it with the same bytes are as right.
    assert data.decode(first.name) == data.decode(name)
    assert first.line.rstrip("…") in text and first.errors == 0


def test_what_reads_as_no_language() -> None:
    assert plausible_decodings(bytes(range(128, 256)) * 9) == []
    assert plausible_decodings(b"plain") == []


def test_utf8_with_strays_is_told_from_other_encodings() -> None:
    text = RUSSIAN.encode()
    assert damage_of(text)[:2] == (0, sum(letter > "\x7f" for letter in RUSSIAN))
    assert damage_of(text + b"\xff" + text).stray
    assert damage_of(b"\xff")[0] == 1 and not damage_of(b"\xff").stray
    assert damage_of(text + RUSSIAN.encode("koi8_r") * 3).joined
    assert not damage_of(RUSSIAN.encode("koi8_r")).joined


@pytest.mark.parametrize("name", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
def test_wide_encodings_without_a_mark(name: str) -> None:
    assert wide_encoding(FRENCH.encode(name)) == name
    assert wide_encoding(f"{SENTENCES[0][1]}\n".encode(name)) == name
    assert wide_encoding(b"\0\x01\x02\x03" * 100) is None
