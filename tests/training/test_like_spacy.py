"""Training with our command against spaCy's own."""

from spacy.cli.train import train as spacy_train
from typer.testing import CliRunner

from bert_spacy.cli.app import app

from .test_run import config, weights_of

__all__ = ["config"]


def test_the_weights_are_those_of_spacys_own_command(config, tmp_path):
    config["training"].update(max_steps=17, eval_frequency=6)  # eight batches an epoch
    config["paths"]["log"] = None
    path = tmp_path / "train.cfg"
    config.to_disk(path)
    spacy_train(path, tmp_path / "spacy")
    result = CliRunner().invoke(app, ["train", str(path), "-o", str(tmp_path / "ours")])
    assert result.exit_code == 0, result.output
    for name in ("model-best", "model-last"):
        wanted = weights_of(tmp_path / "spacy" / name)
        assert len(wanted) > 3
        assert weights_of(tmp_path / "ours" / name) == wanted
