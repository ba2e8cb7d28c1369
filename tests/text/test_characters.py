import pytest

from bert_spacy.text.characters import spell_words

from ..elmo import spell


@pytest.mark.parametrize("most", [5, 12, 50])
def test_words_are_spelled_as_one_by_one(most):
    words = ["a", "", "abc", "北京", "x" * 10, "é" * 7, "y" * 100_000]
    table, is_cut = spell_words(words, most, 3)
    wanted = [spell(word, most) for word in [*words, "<S>", "</S>"]]
    width = min(most, max(len(w.encode()[: most - 2]) for w in words) + 2 + 3)
    assert table.tolist() == [row[:width] for row in wanted]
    assert all(set(row[width:]) <= {261} for row in wanted)
    assert is_cut.tolist() == [len(word.encode()) > most - 2 for word in words]
