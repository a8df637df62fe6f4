"""The token embeddings of a language model as word vectors.

A byte-level tokenizer joins a word to the space before it, so a word here is a token that begins
with a space: " king", not "king", which also ends "making". In scripts without spaces it is a token
without a space. A word of several tokens has no vector. With a character tokenizer, each character
is a word.
"""

from __future__ import annotations

import numpy as np

from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.words import UNSPACED
from wordorder.words.sentences import tokens_of
from wordorder.words.vectors import Vectors

# How GPT-2 and SentencePiece spell the space before a word.
WORD_STARTS = ("Ġ", "▁")
CONTINUES = "##"  # WordPiece marks tokens inside a word instead


def token_vectors(model: TokenModel, tokenizer: Tokenizer, source: str) -> Vectors:
    """Return the input embeddings of the tokens that are words, in the order of their ids.

    Ids of a byte-pair encoding go from frequent to rare, as words in vector files do.
    """
    words = word_tokens(tokenizer)
    table = model.embedding.weight.detach().float().cpu().numpy()
    matrix = table[np.array(list(words), np.int64)]

    def absent(word: str) -> str:
        try:
            pieces = [tokenizer.decode([token]) for token in tokens_of(tokenizer, word)]
        except BadInput as error:  # an unknown character
            return f" ({error})"
        if len(pieces) < 2:
            return ""
        return f" ({len(pieces)} tokens: {' '.join(map(repr, pieces))})"

    return Vectors(source, list(words.values()), matrix, absent)


def word_tokens(tokenizer: Tokenizer) -> dict[int, str]:
    """Return the tokens that are words, by id, without the space before them."""
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=False)
    spellings = sorted((token, spelling) for spelling, token in vocabulary.items())
    marked = any(spelling.startswith(WORD_STARTS) and spelling[1:] for _, spelling in spellings)
    words = {}
    for token, spelling in spellings:
        begins = spelling.startswith(WORD_STARTS) if marked else not spelling.startswith(CONTINUES)
        word = tokenizer.decode([token]).removeprefix(" ")
        if (
            (begins or UNSPACED.search(word))
            and "\ufffd" not in word
            and any(map(str.isalnum, word))
        ):
            words[token] = word
    return words
