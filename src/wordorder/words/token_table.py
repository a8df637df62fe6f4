"""The token embeddings of a language model as word vectors.

A byte-level tokenizer joins a word to the space before it, so a word here is a token of a space and
letters: " king", not "king", which also ends "making". In scripts without spaces it is a token
without a space. A word of several tokens has no vector. If tokens are characters, they are words.
"""

from __future__ import annotations

import numpy as np

from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.words import UNSPACED
from wordorder.words.sentences import tokens_of
from wordorder.words.vectors import Vectors

# The space before a word, as written by GPT-2 and by SentencePiece.
WORD_STARTS = ("Ġ", "▁")
CONTINUES = "##"  # WordPiece marks tokens inside a word instead


def token_vectors(model: TokenModel, tokenizer: Tokenizer, source: str) -> Vectors:
    """Return the input embeddings of the tokens that are words, in the order of their ids.

    Ids of a byte-pair encoding go from frequent to rare, as the words of vector files do.
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
    """Return the tokens that are words, by id, without the mark of their beginning."""
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=False)
    spelt = sorted((token, spelling) for spelling, token in vocabulary.items())
    marked = any(spelling.startswith(WORD_STARTS) and spelling[1:] for _, spelling in spelt)
    words = {}
    for token, spelling in spelt:
        begins = spelling.startswith(WORD_STARTS) if marked else not spelling.startswith(CONTINUES)
        word = tokenizer.decode([token]).removeprefix(" ")
        if (
            (begins or UNSPACED.search(word))
            and "\ufffd" not in word
            and any(map(str.isalnum, word))
        ):
            words[token] = word
    return words
