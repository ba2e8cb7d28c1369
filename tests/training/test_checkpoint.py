"""What comes and goes in the folder of checkpoints."""

import pytest
import spacy
from thinc.api import Adam

from bert_spacy.training.checkpoint import (
    Progress,
    find_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_alone(tmp_path, monkeypatch):
    nlp, optimizer = spacy.blank("en"), Adam()
    save_checkpoint(tmp_path, nlp, optimizer, Progress(step=1), "")

    def write_and_fail(folder):
        folder.mkdir()
        (folder / "half").touch()
        raise OSError

    monkeypatch.setattr(nlp, "to_disk", write_and_fail)
    with pytest.raises(OSError):
        save_checkpoint(tmp_path, nlp, optimizer, Progress(step=2), "")
    assert names_in(tmp_path) == ["step-00000001"]


def test_what_a_kill_cut_off_goes_with_the_next_checkpoint(tmp_path, monkeypatch):
    nlp, optimizer = spacy.blank("en"), Adam()
    with monkeypatch.context() as patch:
        # A kill leaves no time to tidy up.
        patch.setattr("bert_spacy.training.checkpoint.shutil.rmtree", lambda *args, **kwargs: None)
        patch.setattr(nlp, "to_disk", lambda folder: 1 / 0)
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                save_checkpoint(tmp_path, nlp, optimizer, Progress(step=1), "")
    assert len(names_in(tmp_path)) == 5
    save_checkpoint(tmp_path, nlp, optimizer, Progress(step=1), "")
    assert names_in(tmp_path) == ["step-00000001"]


@pytest.mark.parametrize("kept", [None, "step-00000006"])
def test_folders_that_are_no_checkpoints_stay(tmp_path, kept):
    mine = [".step-a1b2c3d4.old", ".step-by-step", "step-00000003-mine", "step-by-step"]
    for name in ("step-00000003", "step-00000006", ".step-a1b2c3d4", *mine):
        (tmp_path / name / "pipeline").mkdir(parents=True)
    remove_checkpoints(tmp_path, kept and tmp_path / kept)
    assert names_in(tmp_path) == sorted([*mine, *([kept] if kept else [])])
    assert find_checkpoint(tmp_path) == (kept and tmp_path / kept)
