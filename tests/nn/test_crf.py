"""The CRF against enumeration of all paths, and its gradients against those of the enumeration."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bert_spacy.nn import chain
from bert_spacy.nn.crf import LinearChainCRF

N_TAGS = 4
LENGTHS = [4, 0, 1, 3, 4, 2]
# Tag 1 never follows 0, tag 3 only follows 2; no start with 3, no end with 2.
TRANSITIONS = torch.tensor(
    [[1, 0, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.bool
)
START = torch.tensor([1, 1, 1, 0], dtype=torch.bool)
END = torch.tensor([1, 1, 0, 1], dtype=torch.bool)


def make_crf(constrained: bool, dtype: torch.dtype = torch.float64) -> LinearChainCRF:
    masks = (TRANSITIONS, START, END) if constrained else ()
    crf = LinearChainCRF(N_TAGS, *masks).to(dtype)
    generator = torch.Generator().manual_seed(1)
    for param in crf.parameters():
        param.data.copy_(torch.randn(param.shape, generator=generator, dtype=torch.float64))
    return crf


def make_batch(scale: float = 1.0, lengths: list[int] = LENGTHS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    shape = (len(lengths), max(lengths), N_TAGS)
    emissions = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return emissions, mask


def list_paths(crf: LinearChainCRF, length: int) -> list[tuple[int, ...]]:
    """Enumerate the legal paths by looking at each step."""
    legal = []
    for path in itertools.product(range(crf.n_tags), repeat=length):
        steps = zip(path, path[1:])
        ends_ok = not path or bool(crf.start_mask[path[0]] and crf.end_mask[path[-1]])
        if ends_ok and all(bool(crf.transitions_mask[i, j]) for i, j in steps):
            legal.append(path)
    return legal


def score_path(crf: LinearChainCRF, emissions: Tensor, path: tuple[int, ...]) -> Tensor:
    total = emissions.new_zeros(()) + 0 * emissions.sum()
    if not path:
        return total
    total = total + crf.start[path[0]] + crf.end[path[-1]]
    for t, tag in enumerate(path):
        total = total + emissions[t, tag]
    for i, j in zip(path, path[1:]):
        total = total + crf.transitions[i, j]
    return total


def enumerate_scores(crf: LinearChainCRF, row: Tensor, length: int) -> tuple[list, Tensor]:
    paths = list_paths(crf, length)
    return paths, torch.stack([score_path(crf, row, path) for path in paths])


def enumerate_log_mass(crf, emissions, mask, allowed=None) -> Tensor:
    """Log of the summed exponentials of all paths that stay within `allowed`; Shape (B,)."""
    out = []
    for b, length in enumerate(mask.sum(1).tolist()):
        paths, scores = enumerate_scores(crf, emissions[b], length)
        if allowed is not None:
            is_inside = [all(bool(allowed[b, t, y]) for t, y in enumerate(p)) for p in paths]
            scores = scores[torch.tensor(is_inside)]
        out.append(torch.logsumexp(scores, 0))
    return torch.stack(out)


def pick_tags(crf: LinearChainCRF, mask: Tensor) -> Tensor:
    """One legal path per row, with rubbish in the padding."""
    tags = torch.full(mask.shape, -100)
    for b, length in enumerate(mask.sum(1).tolist()):
        paths = list_paths(crf, length)
        tags[b, :length] = torch.tensor(paths[(7 * b + 3) % len(paths)], dtype=torch.int64)
    return tags


def make_allowed(mask: Tensor) -> Tensor:
    """Random allowed tags, none excluded in row 0, tag 0 or 1 always among them."""
    generator = torch.Generator().manual_seed(5)
    allowed = torch.rand((*mask.shape, N_TAGS), generator=generator) < 0.5
    allowed[..., 1] = True
    allowed[0] = True
    return allowed


def grads_of(value: Tensor, crf: LinearChainCRF, emissions: Tensor) -> list[Tensor]:
    weights = torch.arange(1, len(value) + 1, dtype=value.dtype)
    inputs = [emissions, *crf.parameters()]
    return list(
        torch.autograd.grad(
            (value * weights).sum(), inputs, retain_graph=True, materialize_grads=True
        )
    )


@pytest.fixture(params=["scaled", "log"])
def recursion(request, monkeypatch):
    """Run a test with both recursions; sums on logarithms are forced by a share of nothing."""
    if request.param == "log":
        monkeypatch.setattr(chain, "EMISSION_SHARE", -1.0)
    return request.param


@pytest.mark.parametrize("constrained", [False, True])
def test_sums_and_gradients_match_enumeration(recursion, constrained):
    crf = make_crf(constrained)
    emissions, mask = make_batch()
    emissions.requires_grad_()
    tags, allowed = pick_tags(crf, mask), make_allowed(mask)
    gold = torch.stack(
        [
            score_path(crf, emissions[b], tuple(tags[b, :n].tolist()))
            for b, n in enumerate(mask.sum(1).tolist())
        ]
    )
    total = enumerate_log_mass(crf, emissions, mask)
    inside = enumerate_log_mass(crf, emissions, mask, allowed)
    partial, is_possible = crf.log_likelihood_partial(emissions, allowed, mask)
    assert is_possible.all()
    pairs = [
        (crf.log_partition(emissions, mask), total),
        (crf.log_likelihood(emissions, tags, mask), gold - total),
        (partial, inside - total),
    ]
    for ours, oracle in pairs:
        torch.testing.assert_close(ours, oracle)
        for mine, other in zip(grads_of(ours, crf, emissions), grads_of(oracle, crf, emissions)):
            torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("constrained", [False, True])
def test_marginals_match_enumeration(recursion, constrained):
    crf = make_crf(constrained)
    emissions, mask = make_batch()
    expected = torch.zeros_like(emissions)
    for b, length in enumerate(mask.sum(1).tolist()):
        paths, scores = enumerate_scores(crf, emissions[b], length)
        for path, prob in zip(paths, scores.softmax(0)):
            for t, tag in enumerate(path):
                expected[b, t, tag] += prob.detach()
    torch.testing.assert_close(crf.marginals(emissions, mask), expected)


@pytest.mark.parametrize("constrained", [False, True])
def test_decode_matches_enumeration(constrained):
    crf = make_crf(constrained)
    emissions, mask = make_batch()
    paths, scores = crf.decode(emissions, mask)
    for b, length in enumerate(mask.sum(1).tolist()):
        candidates, values = enumerate_scores(crf, emissions[b], length)
        best = candidates[int(values.argmax())]
        assert paths[b].tolist() == [*best, *[0] * (mask.shape[1] - length)]
        torch.testing.assert_close(scores[b], values.max().detach())


def test_gradcheck():
    crf = make_crf(constrained=True)
    emissions, mask = make_batch()
    tags, allowed = pick_tags(crf, mask), make_allowed(mask)
    emissions.requires_grad_()

    def compute(x, *params):
        return crf.log_likelihood(x, tags, mask), crf.log_likelihood_partial(x, allowed, mask)[0]

    assert torch.autograd.gradcheck(compute, (emissions, *crf.parameters()))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 30.0, 1e4]))
def test_no_illegal_path_is_decoded(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    masks = [torch.rand(s, generator=generator) < 0.6 for s in ((5, 5), (5,), (5,))]
    for mask in masks:
        mask[..., 0] = True  # tag 0 may follow all tags, start and end: a path always exists
    crf = LinearChainCRF(5, *masks)
    for param in crf.parameters():
        param.data.copy_(torch.randn(param.shape, generator=generator) * scale)
    emissions = torch.randn((3, 7, 5), generator=generator) * scale
    mask = torch.arange(7) < torch.tensor([7, 1, 4])[:, None]
    paths, scores = crf.decode(emissions, mask)
    # log_likelihood refuses illegal paths with B115, so it is the judge here.
    likelihood = crf.log_likelihood(emissions, paths, mask)
    assert scores.isfinite().all()
    assert (likelihood <= 1e-4).all()
    expected = scores - crf.log_partition(emissions, mask)
    torch.testing.assert_close(likelihood, expected, rtol=1e-4, atol=1e-6 * scale + 1e-4)


def test_illegal_paths_have_no_mass(recursion):
    crf = make_crf(constrained=True)
    emissions, mask = make_batch()
    legal, illegal = 0.0, []
    row, row_mask = emissions[:1, :3], mask[:1, :3]
    for path in itertools.product(range(N_TAGS), repeat=3):
        allowed = torch.nn.functional.one_hot(torch.tensor([path]), N_TAGS).bool()
        value, is_possible = crf.log_likelihood_partial(row, allowed, row_mask)
        if is_possible.item():
            legal += math.exp(value.item())
        else:
            illegal.append(path)
            assert value.item() == 0.0
    assert legal == pytest.approx(1.0, abs=1e-12)
    assert sorted(illegal + list_paths(crf, 3)) == list(itertools.product(range(4), repeat=3))
    assert not set(illegal) & set(list_paths(crf, 3))


def test_impossible_partial_gold_gives_no_gradient(recursion):
    crf = make_crf(constrained=True)
    emissions, mask = make_batch(lengths=[4, 4])
    emissions.requires_grad_()
    allowed = torch.ones(2, 4, N_TAGS, dtype=torch.bool)
    allowed[0, 1] = torch.tensor([True, False, False, False])
    allowed[0, 2] = torch.tensor([False, True, False, False])  # 1 never follows 0
    value, is_possible = crf.log_likelihood_partial(emissions, allowed, mask)
    assert is_possible.tolist() == [False, True]
    torch.testing.assert_close(value, torch.zeros(2, dtype=torch.float64))
    for grad in grads_of(value, crf, emissions):
        torch.testing.assert_close(grad, torch.zeros_like(grad))


def test_no_path_of_this_length(recursion):
    """Start only with 0 and end only with 1: nothing of length 1 is left."""
    ends = torch.eye(2, dtype=torch.bool)
    crf = LinearChainCRF(2, None, ends[0], ends[1])
    emissions = torch.zeros(2, 2, 2, requires_grad=True)
    mask = torch.tensor([[True, False], [True, True]])
    value = crf.log_partition(emissions, mask)
    assert value.tolist() == [-math.inf, 0.0]
    (30 * value).sum().backward()
    expected = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[30.0, 0.0], [0.0, 30.0]]])
    torch.testing.assert_close(emissions.grad, expected)
    assert crf.decode(emissions, mask)[1].tolist() == [-math.inf, 0.0]
    torch.testing.assert_close(crf.marginals(emissions, mask), expected / 30)
    _, is_possible = crf.log_likelihood_partial(emissions, torch.ones_like(expected).bool(), mask)
    assert is_possible.tolist() == [False, True]


@pytest.mark.parametrize("scale", [30.0, 1e2, 1e3, 1e5])
def test_large_scores_match_enumeration(scale):
    crf = make_crf(constrained=True)
    crf.transitions.data *= scale / 10
    emissions, mask = make_batch(scale)
    emissions.requires_grad_()
    tags = pick_tags(crf, mask)
    total = enumerate_log_mass(crf, emissions, mask)
    ours = crf.log_partition(emissions, mask)
    torch.testing.assert_close(ours, total)
    for mine, other in zip(grads_of(ours, crf, emissions), grads_of(total, crf, emissions)):
        torch.testing.assert_close(mine, other)
    single = make_crf(constrained=True, dtype=torch.float32)
    single.transitions.data *= scale / 10
    value = single.log_likelihood(emissions.detach().float(), tags, mask)
    exact = crf.log_likelihood(emissions, tags, mask).detach()
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6 * scale)


def test_batch_and_padding_do_not_matter():
    crf = make_crf(constrained=True, dtype=torch.float32)
    emissions, mask = make_batch()
    emissions = emissions.float()
    tags = pick_tags(crf, mask)
    together = crf.log_likelihood(emissions, tags, mask)
    marginals, (paths, scores) = crf.marginals(emissions, mask), crf.decode(emissions, mask)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    spoiled = emissions.masked_fill(~mask[..., None], math.nan)[order]
    torch.testing.assert_close(
        crf.log_likelihood(spoiled, tags[order], mask[order]), together[order]
    )
    torch.testing.assert_close(crf.marginals(spoiled, mask[order]), marginals[order])
    assert torch.equal(crf.decode(spoiled, mask[order])[0], paths[order])
    for b, n in enumerate(LENGTHS):
        alone = emissions[b : b + 1, :n], tags[b : b + 1, :n], mask[b : b + 1, :n]
        torch.testing.assert_close(crf.log_likelihood(*alone)[0], together[b])
        path, score = crf.decode(alone[0], alone[2])
        assert path[0].tolist() == paths[b, :n].tolist()
        torch.testing.assert_close(score[0], scores[b])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0), (2, 3)])
def test_nothing_to_tag(shape):
    crf = make_crf(constrained=True, dtype=torch.float32)
    emissions = torch.randn(*shape, N_TAGS, requires_grad=True)
    mask = torch.zeros(shape, dtype=torch.bool)
    tags = torch.zeros(shape, dtype=torch.int64)
    value = crf.log_likelihood(emissions, tags, mask)
    partial, is_possible = crf.log_likelihood_partial(
        emissions, torch.zeros_like(emissions).bool(), mask
    )
    assert value.tolist() == partial.tolist() == [0.0] * shape[0]
    assert is_possible.all()
    (value.sum() + partial.sum()).backward()
    assert not emissions.grad.any()
    paths, scores = crf.decode(emissions, mask)
    assert torch.equal(paths, tags)
    assert scores.tolist() == [0.0] * shape[0]
    assert not crf.marginals(emissions, mask).any()


def test_autocast_computes_in_float32():
    crf = make_crf(constrained=True, dtype=torch.float32)
    emissions, mask = make_batch()
    half = emissions.bfloat16().requires_grad_()
    tags = pick_tags(crf, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = crf.log_likelihood(half, tags, mask)
        marginals, (_, scores) = crf.marginals(half, mask), crf.decode(half, mask)
    value.sum().backward()
    full = half.detach().float().requires_grad_()
    expected = crf.log_likelihood(full, tags, mask)
    expected.sum().backward()
    assert value.dtype == marginals.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(marginals, crf.marginals(full, mask))
    torch.testing.assert_close(scores, crf.decode(full, mask)[1])
    assert half.grad is not None
    assert full.grad is not None
    torch.testing.assert_close(half.grad, full.grad.bfloat16())


def test_long_decode_is_the_same_in_two_halves():
    """Emissions that leave no doubt at the cut make both halves independent."""
    generator = torch.Generator().manual_seed(4)
    emissions = torch.randn((1, 5000, 3), generator=generator)
    emissions[0, 2499:2501] = torch.tensor([1000.0, 0.0, 0.0])
    crf = LinearChainCRF(3)
    crf.transitions.data.copy_(torch.randn((3, 3), generator=generator))
    mask = torch.ones(1, 5000, dtype=torch.bool)
    paths, _ = crf.decode(emissions, mask)
    first, _ = crf.decode(emissions[:, :2500], mask[:, :2500])
    second, _ = crf.decode(emissions[:, 2500:], mask[:, 2500:])
    assert torch.equal(paths, torch.cat([first, second], 1))


def test_masks_are_not_saved():
    crf = make_crf(constrained=True)
    assert set(crf.state_dict()) == {"transitions", "start", "end"}


def test_bad_inputs_have_codes():
    crf = make_crf(constrained=True, dtype=torch.float32)
    emissions, mask = make_batch()
    tags = pick_tags(crf, mask)
    nan = emissions.clone()
    nan[0, 1, 2] = math.nan
    infinite = emissions.clone()
    infinite[0, 1, 2] = math.inf
    gap = mask.clone()
    gap[0, 1] = False
    unknown = tags.clone()
    unknown[3, 2] = N_TAGS
    negative = tags.clone()
    negative[3, 2] = -1
    illegal = tags.clone()
    illegal[0] = torch.tensor([0, 1, 1, 1])
    bad_start = tags.clone()
    bad_start[2, 0] = 3
    cases = [
        ("B110", (emissions[..., :3], tags, mask)),
        ("B110", (emissions[0], tags, mask)),
        ("B110", (emissions.long(), tags, mask)),
        ("B111", (nan, tags, mask)),
        ("B111", (infinite, tags, mask)),
        ("B112", (emissions, tags, mask.long())),
        ("B112", (emissions, tags, mask[:, :3])),
        ("B112", (emissions, tags.int(), mask)),
        ("B112", (emissions, tags[:, :3], mask)),
        ("B113", (emissions, tags, gap)),
        ("B114", (emissions, unknown, mask)),
        ("B114", (emissions, negative, mask)),
        ("B115", (emissions, illegal, mask)),
        ("B115", (emissions, bad_start, mask)),
    ]
    for code, args in cases:
        with pytest.raises(ValueError, match=rf"\[{code}\]"):
            crf.log_likelihood(*args)
    for method in (crf.log_partition, crf.marginals, crf.decode):
        with pytest.raises(ValueError, match=r"\[B113\]"):
            method(emissions, gap)
    with pytest.raises(ValueError, match=r"\[B112\]"):
        crf.log_likelihood_partial(emissions, torch.ones_like(emissions), mask)
    with pytest.raises(ValueError, match=r"\[B112\]"):
        LinearChainCRF(3, start_mask=torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\[B116\]"):
        LinearChainCRF(0)
