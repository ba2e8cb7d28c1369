"""A stopped run goes on where the config leaves something to chance."""

import random

import numpy as np
import pytest
from spacy.language import Language
from thinc.api import fix_random_seed

from bert_spacy.data.corpus import Corpus
from bert_spacy.training.run import train

from .test_run import KILL_AT, Killed, config, run, weights_of

__all__ = ["config"]

DRAWN: list[tuple[float, float]] = []


@Language.factory("bert_spacy_tests_draws")
class Draws:
    """Draws from Python and NumPy as it learns, as components of others may."""

    def __init__(self, nlp, name):
        pass

    def __call__(self, doc):
        return doc

    def update(self, examples, **kwargs):
        # Each of these draws two numbers at once and keeps one for the next time.
        DRAWN.append((random.gauss(0, 1), np.random.standard_normal()))  # noqa: NPY002


def test_a_run_without_a_seed_goes_on(config, tmp_path):
    config["training"]["seed"] = None
    fix_random_seed(5)
    run(config, tmp_path / "whole", [], checkpoint_every=3)
    KILL_AT.add(8)
    fix_random_seed(5)
    with pytest.raises(Killed):
        train(config, tmp_path / "killed", checkpoint_every=3)
    fix_random_seed(6)  # another process begins elsewhere
    train(config, tmp_path / "killed", resume=True, checkpoint_every=3)
    assert weights_of(tmp_path / "killed" / "model-last") == weights_of(
        tmp_path / "whole" / "model-last"
    )


def test_evaluations_after_a_stop_are_on_the_data_of_a_whole_run(config, tmp_path, monkeypatch):
    config["corpora"]["dev"].update(shuffle=True, limit=4)
    read: list[list[str]] = []
    make = Corpus.__call__

    def follow(corpus, nlp):
        if corpus.limit != 4:
            yield from make(corpus, nlp)
            return
        read.append([])
        for example in make(corpus, nlp):
            read[-1].append(example.reference.text)
            yield example

    monkeypatch.setattr(Corpus, "__call__", follow)
    run(config, tmp_path / "whole", [], checkpoint_every=3)
    whole = read[:]
    assert len(whole) == 4 and whole[0] != whole[-1]  # the check of the data, three evaluations
    KILL_AT.add(8)
    with pytest.raises(Killed):
        train(config, tmp_path / "killed", checkpoint_every=3)
    read.clear()
    train(config, tmp_path / "killed", resume=True, checkpoint_every=3)
    assert read == whole


def test_what_other_components_draw_after_a_stop_is_that_of_a_whole_run(config, tmp_path):
    config["nlp"]["pipeline"].append("draws")
    config["components"]["draws"] = {"factory": "bert_spacy_tests_draws"}
    config["training"].update(max_steps=17)  # eight batches an epoch
    DRAWN.clear()
    run(config, tmp_path / "whole", [], checkpoint_every=3)
    whole = DRAWN[:]
    assert len(set(whole)) == 18
    DRAWN.clear()
    run(config, tmp_path / "killed", [5, 12], checkpoint_every=3)
    # The checkpoints before the stops are those of three and of twelve steps.
    assert [*whole[:5], *whole[3:12], *whole[12:]] == DRAWN
    assert weights_of(tmp_path / "killed" / "model-last") == weights_of(
        tmp_path / "whole" / "model-last"
    )
