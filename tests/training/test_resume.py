"""A stopped run goes on where the config leaves something to chance."""

import pytest
from thinc.api import fix_random_seed

from bert_spacy.data.corpus import Corpus
from bert_spacy.training.run import train

from .test_run import KILL_AT, Killed, config, run, weights_of

__all__ = ["config"]


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
