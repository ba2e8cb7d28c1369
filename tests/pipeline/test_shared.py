"""Several heads on one encoder: gradients, missing gold, who listens and when."""

import copy

import pytest
import spacy
import torch
from spacy.training import Example
from thinc.api import Adam

from bert_spacy.data.pairs import make_pair
from bert_spacy.layers.listener import BertListener
from bert_spacy.training.optimizer import create_adamw_v1
from bert_spacy.types import EncoderGradient

from ..util import (
    HEADS,
    all_examples,
    assert_close,
    encoder_of,
    gradients,
    make_nlp,
    ner_examples,
    predictions,
    same_weights,
    textcat_examples,
    train_steps,
    trained,
    weights,
)


def make_joint(folder, heads=HEADS, **settings):
    torch.manual_seed(1)
    nlp = make_nlp(folder, heads, **settings)
    examples = all_examples(nlp, heads)
    nlp.initialize(lambda: examples)
    return nlp, examples


def encoder_gradient(nlp, examples, **update):
    """Return the gradient of the encoder after one update, and clear it."""
    nlp.update(examples, sgd=False, drop=0.0, **update)
    nlp.get_pipe("bert_encoder")._finish_backward()
    found = gradients(encoder_of(nlp))
    for name, pipe in nlp.pipeline:
        module = encoder_of(nlp) if name == "bert_encoder" else pipe.shim.module
        module.zero_grad(set_to_none=True)
    return found


def assert_equal_gradients(a, b):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-6, rtol=1e-4)


def test_encoder_gradient_is_that_of_the_summed_losses_in_one_graph(bert):
    nlp, examples = make_joint(bert, window=24, stride=16)
    found = encoder_gradient(nlp, examples)
    component = nlp.get_pipe("bert_encoder")
    docs = [eg.predicted for eg in examples]
    # One graph: the encoder's own backward pass, fed by autograd of the sum.
    batch, backprop = component.model.begin_update(docs)
    for part in (batch.hidden, batch.cls, batch.pooled):
        part.requires_grad_()
    total = 0
    for head in HEADS:
        pipe = nlp.get_pipe(head)
        output = pipe.model.attrs["compute"](pipe.model, batch)
        total = total + pipe.compute_loss(examples, output)
    total.backward()
    backprop(EncoderGradient(batch.hidden.grad, batch.cls.grad, batch.pooled.grad))
    assert_equal_gradients(found, gradients(encoder_of(nlp)))


@pytest.mark.parametrize("silent", HEADS)
def test_a_head_without_gold_neither_learns_nor_blocks_the_encoder(bert, silent):
    nlp, _ = make_joint(bert)
    others = [head for head in HEADS if head != silent]
    examples = all_examples(nlp, others)
    wanted = encoder_gradient(nlp, examples, exclude=[silent])
    found = encoder_gradient(nlp, examples)
    assert_equal_gradients(found, wanted)
    assert found
    before = weights(nlp.get_pipe(silent).shim.module)
    encoder_before = weights(encoder_of(nlp))
    history = train_steps(nlp, examples, 2)
    assert history[0][silent] == 0.0
    assert same_weights(before, weights(nlp.get_pipe(silent).shim.module))
    assert not same_weights(encoder_before, weights(encoder_of(nlp)))


def test_a_batch_without_any_gold_changes_nothing(bert):
    nlp, _ = make_joint(bert)
    before = {name: weights(p.shim.module) for name, p in nlp.pipeline if name in HEADS}
    encoder_before = weights(encoder_of(nlp))
    bare = [Example.from_dict(nlp.make_doc("anna was in paris"), {}) for _ in range(2)]
    losses = train_steps(nlp, bare, 2)
    assert set(losses[0].values()) == {0.0}
    assert same_weights(encoder_before, weights(encoder_of(nlp)))
    assert all(same_weights(w, weights(nlp.get_pipe(n).shim.module)) for n, w in before.items())


def test_gradients_of_two_batches_add_up_until_the_step(bert):
    nlp, examples = make_joint(bert, ["bert_textcat"])
    first, second = examples[:2], examples[2:]
    a, b = encoder_gradient(nlp, first), encoder_gradient(nlp, second)
    nlp.update(first, sgd=False, drop=0.0)
    both = encoder_gradient(nlp, second)
    assert_equal_gradients(both, {name: a[name] + b[name] for name in a})


@pytest.mark.parametrize("optimizer", [create_adamw_v1, Adam])
@pytest.mark.parametrize("disabled", [[], ["bert_ner"]])
def test_update_with_an_optimizer_equals_update_and_finish(bert, optimizer, disabled):
    runs = []
    for at_once in (False, True):
        nlp, examples = make_joint(bert)
        with nlp.select_pipes(disable=disabled):
            sgd = optimizer(learn_rate=0.01)
            if at_once:
                for _ in range(4):
                    nlp.update(examples, sgd=sgd, drop=0.0)
            else:
                train_steps(nlp, examples, 4, sgd=sgd)
        runs.append([weights(encoder_of(nlp)), weights(nlp.get_pipe("bert_qa").shim.module)])
    assert same_weights(runs[0][0], runs[1][0])
    assert same_weights(runs[0][1], runs[1][1])


def test_plain_update_call_learns(bert):
    nlp, examples = make_joint(bert, ["bert_textcat"])
    losses = []
    for _ in range(30):
        losses.append(nlp.update(examples, sgd=nlp.create_optimizer())["bert_textcat"])
    assert losses[-1] < losses[0]


def test_same_seed_same_weights(bert):
    def run():
        spacy.util.fix_random_seed(3)
        nlp = make_nlp(bert, HEADS, dropout=0.1)
        examples = all_examples(nlp)
        nlp.initialize(lambda: examples)
        train_steps(nlp, examples, 4, drop=0.2)
        return [weights(encoder_of(nlp))] + [weights(nlp.get_pipe(h).shim.module) for h in HEADS]

    assert all(same_weights(a, b) for a, b in zip(run(), run()))


def test_frozen_encoder_keeps_its_weights_while_heads_learn(bert):
    nlp, examples = make_joint(bert)
    before = weights(encoder_of(nlp))
    freeze = {"exclude": ["bert_encoder"], "annotates": ["bert_encoder"]}
    history = train_steps(nlp, examples, 15, **freeze)
    assert same_weights(before, weights(encoder_of(nlp)))
    for head in HEADS:
        assert history[-1][head] < history[0][head]
    with pytest.raises(ValueError, match=r"\[B201\].*annotating_components"):
        nlp.update(examples, sgd=False, exclude=["bert_encoder"])


def test_frozen_head_keeps_its_weights(bert):
    nlp, examples = make_joint(bert)
    before = weights(nlp.get_pipe("bert_ner").shim.module)
    encoder_before = weights(encoder_of(nlp))
    train_steps(nlp, examples, 2, exclude=["bert_ner"])
    assert same_weights(before, weights(nlp.get_pipe("bert_ner").shim.module))
    assert not same_weights(encoder_before, weights(encoder_of(nlp)))


def test_heads_may_annotate_while_they_learn(bert):
    nlp, examples = make_joint(bert)
    train_steps(nlp, examples, 2, annotates=["bert_encoder", *HEADS])
    assert not examples[0].predicted.cats  # nlp.update works on copies


@pytest.mark.parametrize(
    "what, still", [("all", "."), ("embeddings", "embeddings"), (1, "layer.0.")]
)
def test_frozen_parts_of_the_encoder_do_not_learn(bert, what, still):
    nlp, examples = make_joint(bert, ["bert_textcat"], freeze=what)
    before = weights(encoder_of(nlp))
    train_steps(nlp, examples, 2)
    after = weights(encoder_of(nlp))
    for name, parameter in encoder_of(nlp).named_parameters():
        if still in name:
            assert not parameter.requires_grad and torch.equal(before[name], after[name])
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert bool(moved) == (what != "all")


@pytest.mark.parametrize("what", ["half", -1, 3])
def test_impossible_freezing_is_refused(bert, what):
    nlp = make_nlp(bert)
    nlp.get_pipe("bert_encoder").model.shims[0].freeze = what
    with pytest.raises(ValueError, match=r"\[B102\]"):
        nlp.initialize()


@pytest.fixture
def joint(bert):
    return trained(bert, HEADS, steps=5)


def docs_of(nlp):
    return [eg.predicted for eg in all_examples(nlp)]


def entries(nlp):
    return len(nlp.get_pipe("bert_encoder").store)


def test_output_is_let_go_whoever_is_enabled(joint):
    wanted = predictions(joint.pipe(docs_of(joint)))
    for awake in ([], ["bert_ner"], ["bert_textcat", "bert_qa"]):
        with joint.select_pipes(enable=["bert_encoder", *awake]):
            docs = list(joint.pipe(docs_of(joint)))
            one = joint("anna was in paris")
            assert entries(joint) == 0
            assert bool(one.cats) == ("bert_textcat" in awake)
            assert [bool(d.cats) for d in docs] == ["bert_textcat" in awake] * len(docs)
    assert_close(predictions(joint.pipe(docs_of(joint))), wanted, 1e-6)


def test_removed_head_holds_nothing_back(joint):
    joint.remove_pipe("bert_ner")
    kept = list(joint.pipe(docs_of(joint)))
    assert entries(joint) == 0 and kept[0].cats
    for head in ("bert_textcat", "bert_qa"):
        joint.remove_pipe(head)
    kept = list(joint.pipe(docs_of(joint)))
    assert entries(joint) == 0


def test_output_is_let_go_with_the_docs(joint):
    docs = list(joint.get_pipe("bert_encoder").pipe(docs_of(joint)))
    assert entries(joint) == len(docs)
    del docs
    assert entries(joint) == 0


@pytest.mark.parametrize("off", [["bert_ner"], ["bert_textcat", "bert_qa"]])
def test_output_does_not_wait_for_heads_that_a_stream_leaves_out(joint, off):
    whole = joint.pipe(docs_of(joint))
    first = next(whole)  # another stream of the same thread, on its way
    alone = joint("anna was in paris")
    assert alone.cats
    docs = list(joint.pipe(docs_of(joint), disable=off, batch_size=2))
    assert [bool(doc.cats) for doc in docs] == ["bert_textcat" not in off] * len(docs)
    rest = list(whole)
    assert first.cats and all(doc.cats for doc in rest)
    assert entries(joint) == 0


def test_encoder_may_run_again(joint):
    docs = docs_of(joint)
    encoder, head = joint.get_pipe("bert_encoder"), joint.get_pipe("bert_textcat")
    docs = list(encoder.pipe(encoder.pipe(docs)))
    docs = list(head.pipe(reversed(docs)))
    assert all(doc.cats for doc in docs)
    same = joint.make_doc("anna")
    assert [doc is same for doc in joint.pipe([same, same, same])] == [True] * 3


def test_head_enabled_after_loading_reads_and_learns(joint, tmp_path):
    joint.to_disk(tmp_path)
    wanted = predictions(joint.pipe(docs_of(joint)))
    for off in (["bert_ner"], list(HEADS)):
        nlp = spacy.load(tmp_path, disable=off)
        for name in off:
            nlp.enable_pipe(name)
        assert_close(predictions(nlp.pipe(docs_of(nlp))), wanted, 1e-5)
        assert entries(nlp) == 0
        found = encoder_gradient(nlp, all_examples(nlp))
        assert_equal_gradients(found, encoder_gradient(joint, all_examples(joint)))


def test_excluded_parts_are_not_loaded(joint, tmp_path):
    joint.to_disk(tmp_path)
    nlp = spacy.load(tmp_path, exclude=["bert_ner"])
    assert "bert_ner" not in nlp.component_names
    assert nlp("anna was in paris").cats
    nlp = spacy.load(tmp_path, exclude=["bert_encoder"])
    with pytest.raises(ValueError, match=r"\[B201\]"):
        nlp("anna")


def test_renamed_head_works(joint):
    joint.rename_pipe("bert_ner", "people")
    assert joint("anna was in paris").has_annotation("ENT_IOB")
    assert entries(joint) == 0
    assert train_steps(joint, ner_examples(joint), 1)[0]["people"] > 0


def test_new_head_on_a_trained_encoder_needs_no_second_start(bert, tmp_path):
    trained(bert, ["bert_ner"]).to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    before = weights(encoder_of(nlp))
    head = nlp.add_pipe("bert_textcat")
    examples = textcat_examples(nlp)
    head.initialize(lambda: examples, nlp=nlp)
    assert same_weights(before, weights(encoder_of(nlp)))
    train_steps(nlp, examples, 2)
    assert nlp("anna").cats


def test_sourced_parts_predict_the_same(joint):
    wanted = predictions(joint.pipe(docs_of(joint)))
    asked = joint("anna was in paris")._.ask("who")
    nlp = spacy.blank("en")
    for name in ("bert_encoder", *HEADS):
        nlp.add_pipe(name, source=joint)
    assert_close(predictions(nlp.pipe(docs_of(nlp))), wanted, 1e-6)
    assert entries(nlp) == 0
    mixed = make_nlp(encoder_folder(joint), [])
    mixed.initialize()
    mixed.get_pipe("bert_encoder").from_bytes(joint.get_pipe("bert_encoder").to_bytes())
    for name in HEADS:
        mixed.add_pipe(name, source=joint)
    assert_close(predictions(mixed.pipe(docs_of(mixed))), wanted, 1e-6)
    answers = mixed("anna was in paris")._.ask("who")
    assert [a.text for a in answers] == [a.text for a in asked]


def encoder_folder(nlp):
    return nlp.get_pipe("bert_encoder").model.attrs["source"]


def test_replaced_listeners_give_a_head_an_encoder_of_its_own(joint, tmp_path):
    wanted = predictions(joint.pipe(docs_of(joint)))
    joint.replace_listeners("bert_encoder", "bert_ner", ["model.encoder"])
    assert joint.get_pipe("bert_ner").listener is None
    assert_close(predictions(joint.pipe(docs_of(joint))), wanted, 1e-5)
    assert entries(joint) == 0
    joint.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    assert_close(predictions(nlp.pipe(docs_of(nlp))), wanted, 1e-5)
    shared = weights(encoder_of(nlp))
    own = weights(nlp.get_pipe("bert_ner").model.get_ref("encoder").shims[0].encoder)
    train_steps(nlp, ner_examples(nlp), 2)
    assert same_weights(shared, weights(encoder_of(nlp)))
    after = weights(nlp.get_pipe("bert_ner").model.get_ref("encoder").shims[0].encoder)
    assert not same_weights(own, after)


def test_head_with_an_encoder_of_its_own_trains_alone(bert):
    nlp = spacy.blank("en")
    own = {"@architectures": "bert-spacy.BertEncoder.v1", "name": str(bert)}
    nlp.add_pipe("bert_textcat", config={"model": {"encoder": own}})
    examples = textcat_examples(nlp)
    nlp.initialize(lambda: examples)
    history = train_steps(nlp, examples, 15)
    assert history[-1]["bert_textcat"] < history[0]["bert_textcat"]
    assert all(doc.cats for doc in nlp.pipe(["anna", ""]))


def test_one_bad_doc_does_not_take_its_batch_along(joint):
    good, bad = joint.make_doc("anna"), make_pair(joint, "a", "b")
    bad.spans["segments"] = [bad[1:2]]
    joint.set_error_handler(lambda *args: None)
    found = list(joint.pipe([good, bad, joint.make_doc("bob")]))
    assert [doc.text for doc in found] == ["anna", "bob"]
    assert all(doc.cats for doc in found)
    with pytest.raises(ValueError, match=r"\[B202\]"):
        joint.get_pipe("bert_encoder").predict([bad])


def test_encoder_without_weights_says_so(bert):
    nlp = make_nlp(bert, ["bert_textcat"])
    with pytest.raises(ValueError, match=r"\[B200\]"):
        nlp("anna")
    with pytest.raises(ValueError, match=r"\[B200\]"):
        _ = nlp.get_pipe("bert_encoder").model.shims[0].template


@pytest.mark.parametrize("window", [0, 7, 65, 10000])
def test_window_that_does_not_fit_is_refused(bert, window):
    nlp = make_nlp(bert, window=window)
    with pytest.raises(ValueError, match=rf"\[B205\].*{window}.*64"):
        nlp.initialize()


@pytest.mark.parametrize(
    "stride, window, allowed", [(0, None, "the window."), (-1, 20, "20"), (21, 20, "20")]
)
def test_stride_outside_of_the_window_is_refused(bert, stride, window, allowed):
    with pytest.raises(ValueError, match=rf"\[B206\].*{allowed}"):
        make_nlp(bert, window=window, stride=stride)


def test_text_in_place_of_a_number_of_pieces_is_refused(bert):
    for settings, code in (
        ({"window": "64"}, "B205"),
        ({"window": "64", "stride": 8}, "B205"),
        ({"stride": "8"}, "B206"),
        ({"max_batch_pieces": "8"}, "B210"),
    ):
        with pytest.raises(ValueError, match=rf"\[{code}\].*'"):
            make_nlp(bert, **settings).initialize()


def test_stride_outside_of_the_window_of_the_model_is_refused(bert, tmp_path):
    with pytest.raises(ValueError, match=r"\[B206\].*600.*64"):
        make_nlp(bert, stride=600).initialize()
    nlp = make_nlp(bert, stride=64)
    nlp.initialize()
    nlp.to_disk(tmp_path / "model")
    with pytest.raises(ValueError, match=r"\[B206\].*65.*64"):
        spacy.load(tmp_path / "model", config={"components.bert_encoder.model.stride": 65})


def test_listener_is_found_in_every_head(joint):
    for head in HEADS:
        listener = joint.get_pipe(head).listener
        assert isinstance(listener, BertListener)
        assert listener.get_dim("nO") == 16


def test_a_config_can_be_read_back(joint):
    nlp = spacy.blank("en").from_config(copy.deepcopy(joint.config))
    assert nlp.pipe_names == joint.pipe_names
