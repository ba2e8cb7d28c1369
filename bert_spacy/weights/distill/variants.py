"""Variants of the training texts, filled in by a masked-word model and kept on disk."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, DocBin
from thinc.api import get_torch_default_device
from tqdm import tqdm

from ...data.docbin import SHARD_NAME, write_docbin
from ...errors import Errors
from ..pretrain.filling import Filler, fill_masks
from .augment import augment
from .settings import AugmentSettings

# Docs whose variants are one file: what a kill can lose.
DOCS_A_FILE = 500
# Most pieces around a mask that the model sees.
CONTEXT = 128


def write_variants(
    nlp: Language, read: Any, filler: Filler, settings: AugmentSettings, seed: int, folder: Path
) -> int:
    """Write variants of all training Docs, or go on with those that are there.

    nlp (Language): Makes the tokens.
    read (Callable): Reader of the training data.
    filler (Filler): The model that the settings name.
    settings (AugmentSettings): How much it changes.
    seed (int): Seed of the choices.
    folder (Path): The folder for `.spacy` files of variants, which have no gold.
    RETURNS (int): How many there are.
    RAISES (ValueError): B740 if no text can be changed.
    """
    words = FilledWords(filler, 2 * settings.candidates)
    docs, number, total = _read_docs(nlp, read), 0, 0
    while part := list(islice(docs, DOCS_A_FILE)):
        path = folder / SHARD_NAME.format(number=number)
        if not path.is_file():
            variants = augment(
                tqdm(part, desc=f"Variants {number}", unit=" Docs"),
                words.fill,
                words.is_piece,
                mask=words.filler.tokenizer.mask_token,
                copies=settings.copies,
                rate=settings.rate,
                n_candidates=settings.candidates,
                seed=seed + number,
            )
            if found := list(variants):
                write_docbin(found, path)
        if path.is_file():
            total += len(DocBin().from_disk(path))
        number += 1
    if not total:
        raise ValueError(Errors.B740.format(name=settings.name, rate=settings.rate))
    return total


def _read_docs(nlp: Language, read: Any) -> Iterator[Doc]:
    for example in read(nlp):
        # Where tokens do not follow from the text, those of a variant do not either.
        example.predicted.has_unknown_spaces = example.reference.has_unknown_spaces
        yield example.predicted


class FilledWords:
    """What a masked-word model would write, as words.

    filler (Filler): The model.
    top_k (int): Pieces to ask it for; those that are no words by themselves are left out.
    """

    def __init__(self, filler: Filler, top_k: int):
        self.filler, self.top_k = filler, top_k
        filler.model.to(get_torch_default_device())
        self._word = cache(self._find_word)

    def fill(self, texts: Sequence[str]) -> list[list[str]]:
        """Give words for each text, which holds the mask once, best first.

        Of a text that is longer, the model sees `CONTEXT` pieces around the mask.
        """
        parts = [self._cut(text) for text in texts]
        found = fill_masks(self.filler, parts, top_k=self.top_k)
        words = ([self._word(fill.piece) for fill in fills] for (fills,) in found)
        return [[word for word in some if word] for some in words]

    def is_piece(self, word: str) -> bool:
        """Tell whether a word is one piece, and a known one."""
        pieces = self._split(word)
        return len(pieces) == 1 and pieces[0] != self.filler.tokenizer.unk_token

    def _split(self, word: str) -> list[str]:
        # As within a text: some vocabularies tell by the space where a word begins.
        return self.filler.tokenizer.tokenize(f" {word}")

    def _find_word(self, piece: str) -> str:
        """Return the word that is this piece by itself; "" if there is none."""
        word = self.filler.tokenizer.convert_tokens_to_string([piece]).strip()
        return word if self._split(word) == [piece] else ""

    def _cut(self, text: str) -> str:
        tokenizer = self.filler.tokenizer
        # A word that is cut may have more pieces than before: half leaves room for them.
        limit = min(CONTEXT, self.filler.max_pieces // 2)
        row = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = row["input_ids"], row["offset_mapping"]
        if len(ids) <= limit:
            return text
        start = max(0, min(ids.index(tokenizer.mask_token_id) - limit // 2, len(ids) - limit))
        return text[offsets[start][0] : offsets[start + limit - 1][1]]
