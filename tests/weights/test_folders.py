"""What the tools that write folders share."""

import pytest

from bert_spacy.weights.folders import check_output


@pytest.mark.parametrize("mark", ["config.json", "tokenizer_report.json"])
def test_what_a_tool_wrote_may_be_written_again(tmp_path, mark):
    (tmp_path / "vocab.txt").touch()
    with pytest.raises(ValueError, match=r"\[B676\].*other files"):
        check_output(tmp_path)
    (tmp_path / mark).touch()
    check_output(tmp_path)
