"""More texts for a student: words of the training texts replaced by what a model would write."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from spacy.tokens import Doc

from ...segments import read_segments, write_segments
from ...text.words import whole_words

# Takes texts with one mask each, gives the words that fit there, best first.
Fill = Callable[[Sequence[str]], Sequence[Sequence[str]]]


def augment(
    docs: Iterable[Doc],
    fill: Fill,
    is_piece: Callable[[str], bool],
    *,
    mask: str = "[MASK]",
    copies: int = 5,
    rate: float = 0.4,
    n_candidates: int = 15,
    seed: int = 0,
) -> Iterator[Doc]:
    """Yield variants of Docs in which some words are others.

    Whole words that are one piece of the model are replaced, each by chance, by one of the words
    that a masked-word model would write there. Variants have no gold: a teacher says what they are.
    Segments, as of a question and its context, stay where they are. A Doc whose text holds the mask
    is left alone.

    docs (Iterable[Doc]): The Docs.
    fill (Callable): Takes texts that hold the mask once; gives words for each, best first.
    is_piece (Callable[[str], bool]): Says whether a word is one piece.
    mask (str): The mask in a text.
    copies (int): Variants of each Doc; one without any change is left out.
    rate (float): Share of such words that change, 0..1.
    n_candidates (int): Words to choose among.
    seed (int): Seed of the choices.
    YIELDS (Doc): The variants, Doc after Doc.

    SOURCE: Jiao et al. (2020), TinyBERT, algorithm 1 (words of several pieces stay here).
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    for doc in docs:
        places = [] if mask in doc.text else _find_places(doc, is_piece)
        # Chosen before the model is asked, which takes all of the time.
        changes = [[at for at in places if chance.random() < rate] for _ in range(copies)]
        words = _find_words(doc, sorted(set().union(*changes)), fill, mask, n_candidates)
        for change in changes:
            if chosen := {at: chance.choice(words[at]) for at in change if at in words}:
                yield _replace(doc, chosen)


def _find_places(doc: Doc, is_piece: Callable[[str], bool]) -> list[int]:
    """Return the numbers of the tokens that are a word of one piece."""
    word_start, word_end = whole_words(doc.text)
    places = []
    for token in doc:
        start, end = token.idx, token.idx + len(token)
        # A tokenizer that gives single characters cuts "iPhone", whose letters are no words.
        is_whole = word_start[start] == start and word_end[end - 1] == end
        if token.is_alpha and is_whole and is_piece(token.text):
            places.append(token.i)
    return places


def _find_words(
    doc: Doc, places: Sequence[int], fill: Fill, mask: str, n_candidates: int
) -> dict[int, list[str]]:
    """Return other words for tokens, by the number of the token; for some there may be none."""
    text = doc.text
    texts = [f"{text[: doc[at].idx]}{mask}{text[doc[at].idx + len(doc[at]) :]}" for at in places]
    found = {}
    for at, words in zip(places, fill(texts) if texts else ()):
        old = doc[at]
        # Pieces that continue a word, marks and special pieces are no words.
        usable = [w for w in words if w.isalpha() and w.lower() != old.lower_][:n_candidates]
        if usable:
            found[at] = [w.capitalize() if old.is_title else w for w in usable]
    return found


def _replace(doc: Doc, chosen: dict[int, str]) -> Doc:
    words = [chosen.get(token.i, token.text) for token in doc]
    other = Doc(doc.vocab, words=words, spaces=[bool(token.whitespace_) for token in doc])
    other.has_unknown_spaces = doc.has_unknown_spaces
    if segments := read_segments(doc):
        write_segments(other, [len(s) for s in segments], [s.label_ for s in segments])
    return other
