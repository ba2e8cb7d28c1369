"""What the tools that write folders share."""

import hashlib

import pytest

from bert_spacy.weights.folders import check_output, check_pipeline_output, find_licence, write_card


@pytest.mark.parametrize("mark", ["config.json", "tokenizer_report.json"])
def test_what_a_tool_wrote_may_be_written_again(tmp_path, mark):
    (tmp_path / "vocab.txt").touch()
    with pytest.raises(ValueError, match=r"\[B676\].*other files"):
        check_output(tmp_path)
    (tmp_path / mark).touch()
    check_output(tmp_path)


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
