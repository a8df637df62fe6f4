"""What people type, write into a YAML file, name their files and have in them, right and wrong."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field

from hypothesis import strategies as st

SCRIPTS = (
    "the cat sat on the mat. My sister lost a letter! ",
    "अध्यापक चिट्ठी खरीदेगा। शाम को ",
    "天亮以前，小姑娘望着一封旧信。　　",
    "Мама мыла раму. ",
    "cafe\u0301 naïve ‘quoted’ — 🙂🏽 ",
    "def f(x):\n    return {'a': x}\r\n",
    "\u202eright to left\u200b\ufeff\x1b[31mred\x00",
    "$x_1$ {name} %s \\n ",
    "<|endoftext|>",
)
plain_text = st.lists(st.sampled_from(SCRIPTS[:6]), min_size=40, max_size=80).map("".join)
odd_text = st.one_of(
    st.lists(st.sampled_from(SCRIPTS), max_size=60).map("".join),
    st.text(max_size=300),
    st.sampled_from(["", " ", "\n\n\n", "\ufeff", "a", "ACGT" * 2000, " " * 5000]),
)


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "replace")


rows = st.lists(
    st.one_of(
        st.dictionaries(
            st.sampled_from(["text", "body", "id", "messages"]),
            st.one_of(st.none(), plain_text, st.integers(), st.lists(st.text(max_size=5))),
        ),
        st.none(),
        st.integers(),
        st.text(max_size=9),
    ),
    max_size=30,
)
contents = st.one_of(
    *(plain_text.map(lambda text: (text * 9).encode()) for _ in range(6)),
    plain_text.map(str.encode),
    plain_text.map(lambda text: (text * 5).encode()),
    odd_text.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.builds(
        _encoded,
        plain_text,
        st.sampled_from(["utf-8-sig", "utf-16", "gb18030", "shift_jis", "cp1251", "latin1"]),
    ),
    st.builds(lambda text, cut: text.encode()[:-cut], plain_text, st.integers(1, 3)),
    st.builds(
        lambda text, at, byte: text.encode()[:at] + bytes([byte]) + text.encode()[at:],
        plain_text,
        st.integers(0, 500),
        st.integers(0, 255),
    ),
    st.binary(max_size=200),
    rows.map(lambda found: "\n".join(map(json.dumps, found)).encode()),
    rows.map(lambda found: json.dumps(found).encode()),
    plain_text.map(lambda text: ("id,text\n" + f'1,"{text}"\n' * 9).encode()),
    plain_text.map(lambda text: gzip.compress(text.encode())),
    plain_text.map(lambda text: gzip.compress(text.encode())[:-9]),
)
stems = st.one_of(
    st.just("text"),
    st.sampled_from(["a b", "$x$", "{x}", "naïve", "文", "-x", "a'b", 'a"b', "%s", "x" * 200]),
    st.just(b"undecodable\xff".decode("utf-8", "surrogateescape")),
    st.text(
        st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]),
        min_size=1,
        max_size=20,
    ).filter(lambda name: name not in (".", "..")),
)
SUFFIXES = ".txt .txt .txt .md .py .jsonl .json .csv .tsv .parquet .gz .txt.gz .jsonl.gz .dat"
suffixes = st.sampled_from(["", *SUFFIXES.split()])
names = st.one_of(st.just("text.txt"), st.builds(lambda stem, end: stem + end, stems, suffixes))

WRONG_NUMBERS = (
    "nan inf -inf -1 0 1e999 1e-999 1,5 0x10 ten 1_000 ٣ 99999999999999999999 1.5 -0".split()
)
WRONG_WORDS = [
    "",
    " ",
    "no",
    "none",
    "None",
    "null",
    "~",
    "true",
    "[]",
    "{}",
    "$HOME",
    "é",
    "--help",
    *"linear foo relu gpu float8 words wish half".split(),
]

# Every value that is allowed is small: a model takes milliseconds.
COUNTS = ("1", "2", "3")
VALUES: dict[str, tuple[str, ...]] = {
    "steps": COUNTS,
    "batch_size": COUNTS,
    "accumulate": ("1", "2"),
    "layers": ("1", "2"),
    "heads": ("1", "2", "4"),
    "width": ("8", "16"),
    "trained_length": ("8", "16"),
    "vocabulary_size": ("257", "300"),
    "learning_rate": ("0.01", "1e-3", "0"),
    "matrix_learning_rate": ("0.01", "2e-2"),
    "weight_decay": ("0", "0.1"),
    "clip": ("0", "1"),
    "momentum": ("0.9", "0.95"),
    "warmup": ("0", "0.1"),
    "decay": ("0.1", "0.5"),
    "schedule": ("warmup-stable-decay", "cosine"),
    "dropout": ("0", "0.1"),
    "norm": ("rms", "layer"),
    "feed_forward": ("swiglu", "gelu"),
    "position": (
        "rotary",
        "none",
        "alibi",
        "learned+alibi",
        "transformer_xl",
        "rotary:base=nan",
        "foo",
    ),
    "tokenizer": ("bytes", "bpe", "characters"),
    "objective": ("next-token", "masked-token"),
    "seed": ("0", "7", "1700000000000"),
    "threads": ("0", "1"),
    "device": ("cpu", "auto"),
    "dtype": ("float32", "bfloat16"),
    "validation_fraction": ("0.1", "0.5", "1"),
    "development_fraction": ("0", "0.04"),
    "keep": ("best", "last"),
    "sample_prompt": ("the cat", "Ω"),
    "evaluate_every": COUNTS,
    "checkpoint_every": COUNTS,
    "embedding_scale": ("0", "1"),
    "windows": ("4", "0"),
    "key_value_heads": ("0", "1"),
    "time": ("90", "1s"),
    "field": ("text", "body"),
}
FLAGS = ("muon", "qk_norm", "biases", "isolate_documents", "causal", "tied_embeddings", "overwrite")
OF_TRAINING = (*VALUES, *FLAGS, "warmup_steps", "lr")

# What the other commands take.
OTHERS: dict[str, tuple[str, ...]] = {
    "temperature": ("0", "0.8", "2"),
    "top_k": ("0", "5"),
    "top_p": ("0.9", "1"),
    "max_tokens": ("0", "4"),
    "count": ("1", "2"),
    "repetition_penalty": ("1", "1.3"),
    "window": ("0", "8"),
    "sinks": ("0", "2"),
    "length": ("4", "8", "16"),
    "stride": ("2", "8"),
    "other": ("b a", "the the", ""),
    "to": ("2x", "32"),
    "method": ("auto", "yarn", "interpolate"),
}
OPTIONS: dict[str, tuple[str, ...]] = {
    "train": OF_TRAINING,
    "resume": ("threads", "inexact", "overwrite", "steps", "device"),
    "data": (
        *("tokenizer", "vocabulary_size", "validation_fraction", "development_fraction", "field"),
        "steps",
    ),
    "generate": (
        *("temperature", "top_k", "top_p", "max_tokens", "count", "seed", "device"),
        *("repetition_penalty", "window", "sinks"),
    ),
    "eval": ("length", "stride", "device", "field", "isolate_documents"),
    "explain": ("other",),
    "words": ("count", "vocabulary", "method"),
    "probe": ("seed", "field"),
    "extend": ("method", "steps", "seed", "batch_size"),
}


def value_of(name: str, number: int) -> str:
    """Return one value of a setting: mostly allowed, else a wrong number or word."""
    if name in FLAGS:
        return ("true", "false")[number % 2] if number < 95 else ("no", "1", "maybe")[number % 3]
    wrong = [*WRONG_NUMBERS, *WRONG_WORDS]
    allowed = {**VALUES, **OTHERS}.get(name, ("1",))
    return wrong[number % len(wrong)] if number >= 85 else allowed[number % len(allowed)]


@dataclass
class Situation:
    """One thing that somebody does."""

    command: str
    settings: dict[str, int] = field(default_factory=dict)
    by_yaml: bool = False
    name: str = "text.txt"
    content: bytes = b""
    folder: str = "none"
    prompt: str = ""
    overwrite: bool = False


FOLDERS = ("none", "none", "run", "run", "empty", "stranger", "file", "link", "half a run")


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Return one of the things that people do, mostly where it can work."""
    command = draw(st.sampled_from(("train", "train", "train", *OPTIONS)))
    needs_run = command not in ("train", "data")
    folder = draw(st.sampled_from(("run", "run", *FOLDERS) if needs_run else FOLDERS))
    names_of_settings = st.sampled_from(OPTIONS[command])
    return Situation(
        command=command,
        settings=draw(st.dictionaries(names_of_settings, st.integers(0, 99), max_size=4)),
        by_yaml=draw(st.booleans()),
        name=draw(names),
        content=draw(contents),
        folder=folder,
        prompt=draw(
            st.one_of(st.just("the cat"), plain_text.map(lambda text: text[:40]), odd_text)
        ),
        overwrite=draw(st.booleans()),
    )
