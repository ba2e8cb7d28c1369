"""What every head must do, whatever its task."""

import math
import subprocess
import sys

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from bert_spacy.data.pairs import get_segments, make_choice, make_question

from ..util import (
    EXAMPLES,
    HEADS,
    all_examples,
    assert_close,
    encoder_of,
    make_nlp,
    predictions,
    same_weights,
    train_steps,
    trained,
    weights,
)

FITTED = {"temperature": 3.0, "thresholds": {"PER": 0.5}, "knows_null": True}
each_head = pytest.mark.parametrize("head", [*HEADS, "bert_regressor"])


def some_docs(nlp):
    """Return Docs of all kinds: plain, empty, blank, long, questions, and choices."""
    long = "anna lives in paris and bob won the game in london " * 12
    texts = ["anna was in paris", "", "  \n", long, "a good film", "北京 is the city"]
    questions = [
        make_question(nlp, "where was anna", long),
        make_question(nlp, "who", ""),
        make_question(nlp, "", "the team"),
    ]
    choices = [
        make_choice(nlp, long, "where was anna", ["paris", "the good team in london", "\u0301"]),
        make_choice(nlp, "", "", ["bob", "anna"]),
    ]
    return [*map(nlp.make_doc, texts), *questions, *choices]


@each_head
def test_defaults_train_until_the_gold_is_known(bert, head):
    nlp = spacy.blank("en")
    nlp.add_pipe("bert_encoder", config={"model": {"name": str(bert), "dropout": 0.0}})
    nlp.add_pipe(head)
    examples = EXAMPLES[head](nlp)
    nlp.initialize(lambda: examples)
    history = train_steps(nlp, examples, 40)
    assert history[-1][head] < history[0][head]
    for _ in range(5):
        if is_learned(nlp, head, examples):
            return
        train_steps(nlp, examples, 40)
    pytest.fail(f"{head} does not learn four examples by heart")


def is_learned(nlp, head, examples):
    docs = list(nlp.pipe(eg.predicted.copy() for eg in examples))
    for doc, eg in zip(docs, examples):
        gold = eg.reference
        if head == "bert_textcat":
            good = max(doc.cats, key=doc.cats.get) == max(gold.cats, key=gold.cats.get)
        elif head == "bert_regressor":
            known = gold.spans["regression"].attrs["targets"]
            good = all(abs(doc._.regression[name] - known[name]) < 0.1 for name in known)
        elif head == "bert_ner":
            good = [str(e) + e.label_ for e in doc.ents] == [str(e) + e.label_ for e in gold.ents]
        elif head == "bert_choice":
            good = doc._.choice == gold._.choice
        else:
            wanted = [a["text"] for a in gold.spans["answers"].attrs["answers"]]
            good = [a.text for a in doc._.answers[:1]] == wanted
        if not good:
            return False
    return True


@pytest.fixture(scope="module")
def joint(bert):
    """Return one pipeline of all heads, a little trained; tests leave it as it is."""
    return trained(bert, HEADS, steps=20, window=24, stride=16)


def test_hard_docs_pass_in_order_at_any_batch_size(joint):
    docs = some_docs(joint)
    alone = [joint(doc.copy()) for doc in docs]
    for size in (1, 2, 7, 128):
        passed = [doc.copy() for doc in docs]
        found = list(joint.pipe(passed, batch_size=size))
        assert all(a is b for a, b in zip(found, passed))
        assert_close(predictions(found), predictions(alone), 1e-4)
        assert len(joint.get_pipe("bert_encoder").store) == 0
    for doc in alone:
        assert set(doc.cats) == {"sport", "city", "film"}
        assert sum(doc.cats.values()) == pytest.approx(1)
        n_segments = len(get_segments(doc))
        assert ("answers" in doc.spans) == (n_segments == 2)
        assert ("chosen" in doc.spans) == (n_segments > 2)
        assert len(doc._.choice_scores) == max(n_segments - 2, 0)
        assert not doc._.choice_scores or sum(doc._.choice_scores) == pytest.approx(1)
        assert doc.has_annotation("ENT_IOB") or not len(doc)
        assert doc._.trf_data is None


def test_encoder_and_heads_take_batches_of_their_own(joint):
    docs = some_docs(joint)
    wanted = predictions([joint(doc.copy()) for doc in docs])
    sizes = {"bert_encoder": 4, "bert_textcat": 3, "bert_ner": 50, "bert_qa": 1, "bert_choice": 2}
    component_cfg = {name: {"batch_size": size} for name, size in sizes.items()}
    found = list(joint.pipe([d.copy() for d in docs], component_cfg=component_cfg, batch_size=5))
    assert_close(predictions(found), wanted, 1e-4)
    assert len(joint.get_pipe("bert_encoder").store) == 0


def test_loaded_pipelines_predict_the_same(joint, tmp_path):
    docs = some_docs(joint)
    wanted = predictions(joint.pipe([doc.copy() for doc in docs]))
    joint.to_disk(tmp_path / "model")
    loaded = spacy.load(tmp_path / "model")
    again = spacy.blank("en").from_config(joint.config).from_bytes(joint.to_bytes())
    for nlp in (loaded, again):
        copies = [Doc(nlp.vocab).from_bytes(doc.to_bytes()) for doc in docs]
        assert_close(predictions(nlp.pipe(copies)), wanted, 1e-5)
    loaded.to_disk(tmp_path / "model")  # over itself
    for head in HEADS:
        part = loaded.get_pipe(head)
        empty = make_nlp(tmp_path, [head]).get_pipe(head)
        empty.from_bytes(part.to_bytes())
        assert empty.labels == part.labels and empty.cfg == part.cfg
        assert same_weights(weights(empty.shim.module), weights(part.shim.module))


def test_a_fresh_process_loads_the_pipeline_offline(joint, tmp_path):
    joint.to_disk(tmp_path / "model")
    code = (
        "import sys, socket, spacy\n"
        "socket.socket.connect = lambda *a: sys.exit('network')\n"
        "nlp = spacy.load(sys.argv[1])\n"
        "doc = nlp('anna was in paris')\n"
        "print(sorted(doc.cats), doc._.ask('where was anna')[:0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=False,
        env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "['city', 'film', 'sport'] []"


@pytest.mark.parametrize("keep", [False, True])
def test_two_processes_predict_the_same(joint, keep):
    encoder = joint.get_pipe("bert_encoder")
    docs = some_docs(joint)
    wanted = predictions(joint.pipe([doc.copy() for doc in docs]))
    encoder.keep_outputs = keep
    try:
        found = list(joint.pipe([doc.copy() for doc in docs], n_process=2, batch_size=2))
    finally:
        encoder.keep_outputs = False
    assert_close(predictions(found), wanted, 1e-4)
    assert all((doc._.trf_data is not None) == keep for doc in found)


@each_head
def test_labels_given_beforehand_are_kept(bert, head):
    nlp = make_nlp(bert, [head])
    part = nlp.get_pipe(head)
    assert part.add_label("B") == 1
    assert part.add_label("B") == 0
    assert part.add_label("A") == 1
    for wrong in (1, "", None):
        with pytest.raises(ValueError, match=r"\[B301\].*not a string"):
            part.add_label(wrong)
    examples = EXAMPLES[head](nlp)
    nlp.initialize(lambda: examples)
    assert part.labels == ("B", "A")
    assert part.label_data == ["B", "A"]
    with pytest.raises(ValueError, match=r"\[B301\].*the model is made"):
        part.add_label("C")
    assert part.add_label("A") == 0
    other = make_nlp(bert, [head]).get_pipe(head)
    other.listener.set_dim("nO", 16)
    other.initialize(lambda: examples, labels=["X", "Y"])
    assert other.labels == ("X", "Y")


@each_head
def test_initializing_again_forgets_all_but_the_labels(bert, head):
    nlp, fresh = trained(bert, [head], steps=2), make_nlp(bert, [head])
    part, other = nlp.get_pipe(head), fresh.get_pipe(head)
    part.cfg.update({key: value for key, value in FITTED.items() if key in part.cfg})
    half = EXAMPLES[head](nlp)[2:3]  # a question with an answer; targets of other means
    for label in part.labels:
        other.add_label(label)
    for pipeline in (nlp, fresh):
        pipeline.initialize(lambda: half)
    assert part.cfg == other.cfg
    assert part.labels == trained(bert, [head], steps=0).get_pipe(head).labels


@each_head
def test_a_head_without_any_gold_is_refused(bert, head):
    nlp = make_nlp(bert, [head])
    examples = [Example.from_dict(nlp.make_doc("anna"), {})]
    code = "B311" if head in ("bert_qa", "bert_choice") else "B300"  # they have no labels
    with pytest.raises(ValueError, match=rf"\[{code}\].*1 training examples"):
        nlp.initialize(lambda: examples)
    with pytest.raises(ValueError, match=rf"\[{code}\].*0 training examples"):
        nlp.initialize(list)


@each_head
def test_a_head_without_encoder_is_refused(bert, head):
    nlp = spacy.blank("en")
    nlp.add_pipe(head)
    examples = EXAMPLES[head](nlp)
    with pytest.raises(ValueError, match=r"\[B204\]"):
        nlp.initialize(lambda: examples)
    with pytest.raises(ValueError, match=r"\[B208\]"):
        nlp("anna")
    nlp.add_pipe("bert_encoder", config={"model": {"name": str(bert)}})  # after the head
    with pytest.raises(ValueError, match=r"\[B204\]"):
        nlp.initialize(lambda: examples)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_that_misses_the_encoders_output_says_so(joint, head):
    with joint.select_pipes(enable=head), pytest.raises(ValueError, match=rf"\[B201\].*{head}"):
        joint("anna")
    lost = []
    with joint.select_pipes(enable=head):
        joint.get_pipe(head).set_error_handler(lambda *args: lost.append(args))
        try:
            assert list(joint.pipe(["anna", "bob"])) == []
        finally:
            joint.get_pipe(head).set_error_handler(spacy.util.raise_error)
    assert [docs[0].text for _, _, docs, _ in lost] == ["anna", "bob"]


def test_a_head_that_is_loaded_without_the_encoder_is_named(joint, tmp_path):
    joint.to_disk(tmp_path / "model")
    nlp = spacy.load(tmp_path / "model", exclude=["bert_encoder"], enable=["bert_ner"])
    with pytest.raises(ValueError, match=r"\[B201\].*'bert_ner'"):
        nlp("anna")


@each_head
def test_a_stock_model_is_refused(head):
    listener = {"@architectures": "spacy-transformers.TransformerListener.v1", "grad_factor": 1.0}
    listener["pooling"] = {"@layers": "reduce_mean.v1"}
    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}
    message = rf"\[B217\].*'{head}'.*\[components.{head}.model\]"
    with pytest.raises(ValueError, match=message):
        spacy.blank("en").add_pipe(head, config={"model": model})
    with pytest.raises(ValueError, match=r"\[B217\].*'bert_encoder'"):
        spacy.blank("en").add_pipe("bert_encoder", config={"model": listener})
    with pytest.raises(ValueError, match=rf"\[B218\].*'{head}'.*BertListener"):
        spacy.blank("en").add_pipe(head, config={"model": {"encoder": listener}})


@each_head
def test_a_loss_that_went_astray_is_named(bert, head):
    nlp = trained(bert, [head], steps=1)
    for parameter in nlp.get_pipe(head).shim.module.parameters():
        parameter.data.fill_(math.nan)
    before = weights(encoder_of(nlp))
    # A CRF looks at its scores first.
    found = rf"\[B568\].*'{head}' is nan.*learning rate|\[B111\].*learning rate"
    with pytest.raises(ValueError, match=found) as caught:
        train_steps(nlp, all_examples(nlp, [head]), 1)
    if "B568" in str(caught.value):  # nlp.update saves no pipeline and reads no config
        assert "In a config" in str(caught.value) and "pipeline" not in str(caught.value)
    assert same_weights(before, weights(encoder_of(nlp)))


@pytest.mark.parametrize("name", ["bert_encoder", *HEADS])
def test_rehearsal_is_refused(joint, name):
    with pytest.raises(NotImplementedError, match=rf"\[B302\].*{name}"):
        joint.get_pipe(name).rehearse([])


def test_nothing_to_update_is_no_error(joint):
    for _, pipe in joint.pipeline:
        before = weights(encoder_of(joint))
        assert pipe.update([]) == {pipe.name: 0.0}
        assert same_weights(before, weights(encoder_of(joint)))
        assert list(pipe.pipe([])) == []


def test_get_loss_gives_the_loss_of_predictions(joint):
    examples = all_examples(joint)
    docs = [eg.predicted for eg in examples]
    encoder = joint.get_pipe("bert_encoder")
    encoder.set_annotations(docs, encoder.predict(docs))
    for head in HEADS:
        part = joint.get_pipe(head)
        loss, gradient = part.get_loss(examples, part.predict(docs))
        assert loss > 0 and gradient is None


def test_what_has_no_head_stays_empty() -> None:
    """The attributes of all heads can be read as soon as a pipeline has one of them."""
    code = (
        "import spacy\n"
        "nlp = spacy.blank('en')\n"
        "nlp.add_pipe('bert_textcat')\n"
        "doc = nlp.make_doc('A text.')\n"
        "print(doc._.regression, doc._.choice, list(doc._.choice_scores), list(doc._.answers))\n"
        "print(doc._.no_answer, doc[0:1]._.score)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["{}", "None", "[]", "[]", "None", "None"]
