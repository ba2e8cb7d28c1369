"""What the tools that write folders share."""

import hashlib
import shutil

import pytest

from bert_spacy.weights.folders import check_output, check_pipeline_output, find_licence, write_card

from ..util import make_nlp, textcat_examples


def test_a_model_may_be_replaced_if_the_folder_holds_nothing_else(bert, tmp_path):
    model = shutil.copytree(bert, tmp_path / "model")
    check_output(model)
    for name in ("words.txt", "mine.safetensors", "src"):
        (model / name).mkdir()
        with pytest.raises(ValueError, match=rf"\[B676\].*other files, such as {name},"):
            check_output(model)
        (model / name).rmdir()
    check_output(model)
    (model / "tokenizer.json").unlink()
    check_output(model)
    # Any program may have a file of this name.
    (model / "config.json").write_text('{"port": 80}')
    with pytest.raises(ValueError, match=r"\[B676\].*other files"):
        check_output(model)


def test_a_pipeline_may_be_replaced_if_the_folder_holds_nothing_else(bert, tmp_path):
    nlp = make_nlp(bert, ["bert_textcat"])
    nlp.add_pipe("sentencizer")
    nlp.initialize(lambda: textcat_examples(nlp))
    nlp.disable_pipe("bert_textcat")
    (tmp_path / "run").mkdir()
    nlp.to_disk(tmp_path / "run" / "model-best")
    check_pipeline_output(tmp_path / "run" / "model-best")
    # As a training leaves it.
    shutil.copy(tmp_path / "run" / "model-best" / "config.cfg", tmp_path / "run")
    with pytest.raises(ValueError, match=r"\[B633\].*such as config.cfg,"):
        check_pipeline_output(tmp_path / "run")
    (tmp_path / "run" / "model-best" / "thesis").mkdir()
    with pytest.raises(ValueError, match=r"\[B633\].*such as thesis,"):
        check_pipeline_output(tmp_path / "run" / "model-best")
    (tmp_path / "run" / "model-best" / "thesis").rmdir()
    # Components keep what they like; the message says that it is not looked at.
    (tmp_path / "run" / "model-best" / "bert_textcat" / "thesis.txt").touch()
    check_pipeline_output(tmp_path / "run" / "model-best")
    with pytest.raises(ValueError, match=r"\[B633\].*folders .* replaced with all .* in them"):
        check_pipeline_output(tmp_path / "run")


@pytest.mark.parametrize("mark", ["config.json", "config.cfg"])
@pytest.mark.parametrize("check", [check_output, check_pipeline_output])
def test_nothing_is_written_into_the_model_that_is_read(tmp_path, mark, check):
    source = tmp_path / "source"
    source.mkdir()
    check(source / "new", source)  # data, say
    (source / mark).touch()
    check(tmp_path / "source2", source)
    with pytest.raises(ValueError, match=r"\[B6(33|76)\].*lies in the folder that is read"):
        check(source / "new", source)


def test_a_card_has_the_checksum_and_hands_the_licence_on(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    write_card(tmp_path, "a", "A model.", ["Made from: `b`"], "MIT", "more")
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# a\n\nA model.\n\n- Made from: `b`\n") and card.endswith("\n\nmore")
    assert hashlib.sha256(b"weights").hexdigest() in card
    assert find_licence("a", tmp_path) == "MIT"


@pytest.mark.parametrize(
    "card, licence",
    [
        ("---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ("- Licence of the teacher's weights as stated: MIT (card)\n", "MIT (card)"),
        ("- Licence as stated: BSD\n- License: other\n", "BSD"),
        ("Licensed under: the sky\nno license: none\nlicense:\n- x\n", None),
    ],
)
def test_licences_are_found_in_cards(tmp_path, card, licence):
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert find_licence("a", tmp_path) == (licence or find_licence("a", tmp_path / "none"))


def test_a_card_in_another_encoding_is_read(tmp_path):
    (tmp_path / "README.md").write_bytes("# Modèle\nlicense: mit\n".encode("latin-1"))
    assert find_licence("x", tmp_path) == "mit"
