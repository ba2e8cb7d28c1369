"""`bert-spacy.MixedCorpus.v1`: one stream from several corpora, large and small."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from spacy.language import Language
from spacy.training import Example
from spacy.util import registry

from ..errors import Errors

Mixing = Literal["proportional", "sqrt", "annealed"]
MIXINGS = ("proportional", "sqrt", "annealed")
# How far annealing takes the exponent from 1 down.
_ANNEALED_BY = 0.8
Reader = Callable[[Language], Iterable[Example]]


@registry.readers("bert-spacy.MixedCorpus.v1")
def create_mixed_corpus_v1(
    corpora: dict[str, Any],  # of Reader, which thinc's check of settings does not see through
    mixing: Mixing = "sqrt",
    epochs: int = 0,
    seed: int = 0,
) -> Callable[[Language], Iterator[Example]]:
    """Create a reader that draws from several corpora.

    A corpus of N Docs gets a share of the draws as N ** alpha. Each is gone through whole,
    in a random order, before it is shuffled and begun again. In an epoch every Doc comes once or
    more: those of the largest corpus once, those of smaller ones more often, as alpha has it.

    corpora (dict[str, Reader]): Readers by name; each must end, and is read once, into memory.
    mixing (str): "proportional", alpha = 1: all Docs alike. "sqrt", alpha = 0.5. "annealed":
        alpha falls in even steps from 1 in the first epoch to 0.2 in the last. This needs
        `training.max_epochs = -2`: below 0 spaCy asks for each epoch anew, and with -1 it would
        learn the labels from the first 100 Docs alone.
    epochs (int): Epochs over which "annealed" falls, 2 or more; 0 with the others.
    seed (int): Seed of order and shuffling.
    RETURNS (Callable[[Language], Iterator[Example]]): The reader. Each call draws an epoch.
    RAISES (ValueError): B551 for settings that do not go together.

    SOURCE: Stickland & Murray (2019), BERT and PALs: alpha = 1 - 0.8 (e - 1) / (E - 1).
    """
    fine = mixing in MIXINGS and (epochs >= 2 if mixing == "annealed" else epochs == 0)
    if not fine or not corpora:
        given = {"mixing": mixing, "epochs": epochs, "corpora": list(corpora)}
        raise ValueError(Errors.B551.format(given=given))
    return MixedCorpus(corpora, mixing, epochs, seed)


class MixedCorpus:
    """Draw Examples from several corpora, an epoch with each call.

    corpora, mixing, epochs, seed: See `create_mixed_corpus_v1`.
    """

    def __init__(self, corpora: dict[str, Reader], mixing: Mixing, epochs: int, seed: int):
        self.corpora = corpora
        self.mixing = mixing
        self.epochs = epochs
        self.seed = seed
        self._vocab: Any = None
        self._pools: list[_Pool] = []
        self._epoch = 0
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Yield the examples of the next epoch; with another pipeline, of the first.

        nlp (Language): The pipeline, whose tokenizer makes the predicted Docs.
        YIELDS (Example): In random order; each with a predicted Doc of its own.
        RAISES (ValueError): B552 if a corpus is empty; B553 if `training.max_epochs` of the
            pipeline's config would leave labels out, or is no stream and "annealed" needs one.
        """
        max_epochs = nlp.config.interpolate()["training"]["max_epochs"]
        if max_epochs == -1 or (max_epochs >= 0 and self.mixing == "annealed"):
            raise ValueError(Errors.B553.format(value=max_epochs, mixing=self.mixing))
        if self._vocab is not nlp.vocab:
            self._begin(nlp)
        self._epoch += 1
        sizes = [len(pool.examples) for pool in self._pools]
        counts = count_draws(sizes, self.alpha(self._epoch))
        order = [pool for pool, n in zip(self._pools, counts) for _ in range(n)]
        self._random.shuffle(order)
        for pool in order:
            example = pool.draw()
            # The same Doc may come twice in a batch.
            yield Example(example.predicted.copy(), example.reference)

    def alpha(self, epoch: int) -> float:
        """Return the exponent of an epoch; the first is 1."""
        if self.mixing != "annealed":
            return 1.0 if self.mixing == "proportional" else 0.5
        done = min(epoch, self.epochs) - 1
        return 1.0 - _ANNEALED_BY * done / (self.epochs - 1)

    def _begin(self, nlp: Language) -> None:
        pools = []
        self._random.seed(self.seed)
        for name, reader in self.corpora.items():
            examples = list(reader(nlp))
            if not examples:
                raise ValueError(Errors.B552.format(name=name))
            pools.append(_Pool(examples, self._random.getrandbits(64)))
        self._pools, self._vocab, self._epoch = pools, nlp.vocab, 0


class _Pool:
    """The Examples of one corpus, in an order of their own that is made anew after each pass."""

    def __init__(self, examples: list[Example], seed: int):
        self.examples = examples
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._waiting: list[Example] = []

    def draw(self) -> Example:
        """Return the next one."""
        if not self._waiting:
            self._waiting = list(self.examples)
            self._random.shuffle(self._waiting)
        return self._waiting.pop()


def count_draws(sizes: Sequence[int], alpha: float) -> list[int]:
    """Count the draws from each corpus in an epoch, in shares of N ** alpha.

    sizes (Sequence[int]): Docs of each corpus.
    alpha (float): From 0 (all corpora alike) to 1 (all Docs alike).
    RETURNS (list[int]): As many as there are Docs for the largest corpus, no fewer for others.
    """
    largest = max(sizes)
    return [round(largest * (n / largest) ** alpha) for n in sizes]
