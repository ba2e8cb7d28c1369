"""Probabilities of stretches of tags and the k best paths, against enumeration of all paths."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bert_spacy.nn import chain
from bert_spacy.nn.crf import LinearChainCRF
from bert_spacy.nn.spans import TagRuns

from .test_crf import enumerate_scores, make_batch, make_crf


@pytest.fixture(params=["scaled", "log"])
def recursion(request, monkeypatch):
    if request.param == "log":
        monkeypatch.setattr(chain, "EMISSION_SHARE", -1.0)
    return request.param


N_TAGS = 4


def make_runs(
    rows: list[tuple[int, int, list[int], set[int], set[int]]], n_tags: int = N_TAGS
) -> TagRuns:
    row, start, tags, stop, avoid = zip(*rows)
    return TagRuns(
        np.array(row),
        np.array(start),
        np.array([tag for run in tags for tag in run]),
        np.array([len(run) for run in tags]),
        *(np.array([[t in x for t in range(n_tags)] for x in some]) for some in (stop, avoid)),
    )


def all_runs(lengths: list[int], n_tags: int) -> list[tuple[int, int, list[int], set, set]]:
    """Stretches of every place and length; tags and what must not stand beside turn through all."""
    runs = []
    for row, length in enumerate(lengths):
        for start in range(length):
            for size in range(1, length - start + 1):
                for turn in range(n_tags):
                    tags = [(turn + k * start) % n_tags for k in range(size)]
                    stop = {(turn + size) % (n_tags + 1), (turn + start) % (n_tags + 2)}
                    avoid = {(turn + 2 * size) % (n_tags + 3), (turn + row) % (n_tags + 1)}
                    runs.append((row, start, tags, stop, avoid))
    return runs


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_runs_match_enumeration(recursion, constrained, temperature):
    crf = make_crf(constrained)
    emissions, mask = make_batch()
    lengths = mask.sum(1).tolist()
    rows = all_runs(lengths, crf.n_tags)
    expected = []
    for row, start, tags, stop, avoid in rows:
        paths, scores = enumerate_scores(crf, emissions[row], lengths[row])
        share = torch.softmax(scores.detach() / temperature, 0)
        end = start + len(tags)
        total = sum(
            float(p)
            for path, p in zip(paths, share)
            if list(path[start:end]) == tags
            and not stop.intersection(path[end : end + 1])
            and not avoid.intersection(path[max(start - 1, 0) : start])
        )
        expected.append(math.log(total) if total > 0 else -math.inf)
    ours = crf.posterior(emissions, mask, temperature).score_runs(make_runs(rows))
    np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-7)


def test_marginals_follow_the_temperature(recursion):
    crf = make_crf(True)
    emissions, mask = make_batch()
    row, length = 0, 4
    paths, scores = enumerate_scores(crf, emissions[row], length)
    share = torch.softmax(scores.detach() / 0.5, 0)
    expected = torch.zeros(length, crf.n_tags, dtype=torch.float64)
    for path, p in zip(paths, share):
        for t, tag in enumerate(path):
            expected[t, tag] += p
    plain = np.concatenate(crf.posterior(emissions, mask).marginals())
    np.testing.assert_allclose(plain, crf.marginals(emissions, mask)[mask], rtol=1e-6)
    ours = crf.posterior(emissions, mask, 0.5).marginals()[row]
    np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-7)


def test_runs_keep_digits_in_a_long_sequence_of_large_scores():
    crf = LinearChainCRF(2)
    emissions = torch.zeros(1, 20_000, 2)
    emissions[..., 0] = 30.0
    mask = torch.ones(1, 20_000, dtype=torch.bool)
    rows = [(0, 0, [0, 0], {1}, {1}), (0, 12_345, [1], set(), {1}), (0, 19_998, [0, 1], {0}, {})]
    runs = make_runs(rows, 2)
    ours = crf.posterior(emissions, mask).score_runs(runs)
    np.testing.assert_allclose(ours, [0.0, -30.0, -30.0], atol=1e-8, rtol=0)


def test_no_run_gives_nothing_and_bad_input_is_refused():
    crf = make_crf(False)
    emissions, mask = make_batch()
    posterior = crf.posterior(emissions, mask)
    empty = TagRuns(
        *(np.zeros(0, dtype=np.int64) for _ in range(4)),
        *(np.zeros((0, N_TAGS), dtype=bool) for _ in range(2)),
    )
    assert posterior.score_runs(empty).shape == (0,)
    nothing = crf.posterior(emissions[:, :0], mask[:, :0])
    assert nothing.score_runs(empty).shape == (0,)
    assert [table.shape for table in nothing.marginals()] == [(0, 4)] * len(mask)
    for bad in [(0, 3, [0, 0]), (9, 0, [0]), (1, 0, [0])]:
        with pytest.raises(ValueError, match="B118"):
            posterior.score_runs(make_runs([(*bad, {}, {})]))
    for bad in [(0, 0, [4]), (0, 0, [-1])]:
        with pytest.raises(ValueError, match="B119"):
            posterior.score_runs(make_runs([(*bad, {}, {})]))
    good = make_runs([(0, 0, [0], {}, {})])
    for wrong in (
        good._replace(stop=good.stop[:, 1:]),
        good._replace(avoid=good.avoid.astype(int)),
    ):
        with pytest.raises(ValueError, match="B112"):
            posterior.score_runs(wrong)
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="B117"):
            crf.posterior(emissions, mask, temperature)


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("k", [1, 3, 7, 300])
def test_k_best_paths_match_enumeration(constrained, k):
    crf = make_crf(constrained)
    emissions, mask = make_batch()
    tags, scores = crf.decode_k_best(emissions, mask, k)
    assert tags.shape == (len(mask), k, mask.shape[1])
    for row, length in enumerate(mask.sum(1).tolist()):
        paths, values = enumerate_scores(crf, emissions[row], length)
        value, order = values.detach().sort(descending=True)
        n = min(k, len(paths))
        torch.testing.assert_close(scores[row, :n], value[:n])
        assert (scores[row, n:] == -math.inf).all()
        assert (tags[row, :, length:] == 0).all()
        ours = [tuple(path) for path in tags[row, :n, :length].tolist()]
        assert ours == [paths[i] for i in order[:n].tolist()]
    best, best_score = crf.decode(emissions, mask)
    torch.testing.assert_close(scores[:, 0], best_score)
    assert torch.equal(tags[:, 0], best)


def test_k_best_of_no_position():
    crf = make_crf(False)
    tags, scores = crf.decode_k_best(*(x[:, :0] for x in make_batch()), 2)
    assert tags.shape == (6, 2, 0)
    assert scores.tolist() == [[0.0, -math.inf]] * 6


def draw_allowed(mask: Tensor) -> Tensor:
    """Forbid some tags here and there, a whole position's but one at the first."""
    generator = torch.Generator().manual_seed(5)
    allowed = torch.rand((*mask.shape, N_TAGS), generator=generator) < 0.7
    allowed[:, 0] = False
    allowed[:, 0, 2] = True
    allowed[:, 1, 1] = True
    return allowed


@pytest.mark.parametrize("constrained", [False, True])
def test_all_answers_stay_within_allowed_tags(recursion, constrained):
    crf = make_crf(constrained)
    emissions, mask = make_batch()
    allowed = draw_allowed(mask)
    best, best_score = crf.decode(emissions, mask, allowed)
    tags, scores = crf.decode_k_best(emissions, mask, 5, allowed)
    posterior = crf.posterior(emissions, mask, 1.5, allowed)
    table = posterior.marginals()
    for row, length in enumerate(mask.sum(1).tolist()):
        paths, values = enumerate_scores(crf, emissions[row], length)
        inside = [all(bool(allowed[row, t, y]) for t, y in enumerate(path)) for path in paths]
        paths = [path for path, ok in zip(paths, inside) if ok]
        values = values.detach()[torch.tensor(inside)]
        if not paths:
            assert best_score[row] == scores[row, 0] == -math.inf
            continue
        share = torch.softmax(values / 1.5, 0)
        value, order = values.sort(descending=True)
        n = min(5, len(paths))
        torch.testing.assert_close(scores[row, :n], value[:n])
        assert (scores[row, n:] == -math.inf).all()
        assert [tuple(p) for p in tags[row, :n, :length].tolist()] == [
            paths[i] for i in order[:n].tolist()
        ]
        assert tuple(best[row, :length].tolist()) == paths[int(order[0])]
        for t in range(length):
            for tag in range(N_TAGS):
                wanted = sum(float(p) for path, p in zip(paths, share) if path[t] == tag)
                assert float(table[row][t, tag]) == pytest.approx(wanted)
                runs = make_runs([(row, t, [tag], {}, {})])
                assert np.exp(posterior.score_runs(runs)[0]) == pytest.approx(wanted)
    with pytest.raises(ValueError, match="B112"):
        crf.decode(emissions, mask, allowed[:, :, 1:])
