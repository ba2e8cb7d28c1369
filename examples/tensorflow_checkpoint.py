"""Write an encoder as a TensorFlow checkpoint, and make a model folder of that again.

    python examples/tensorflow_checkpoint.py [FOLDER_OR_ALIAS]

Run `python -m bert_spacy weights fetch minilm-l6-en` once before. TensorFlow is not needed. A
checkpoint of your own, such as Google's, goes to `import_tf` in the same way.
"""

import sys
import tempfile
from pathlib import Path

from bert_spacy.weights.tf.exporting import export_tf
from bert_spacy.weights.tf.importing import import_tf


def main(name: str = "minilm-l6-en") -> None:
    """Export and import an encoder."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, output = Path(folder) / "tf" / "bert_model.ckpt", Path(folder) / "imported"
        print(export_tf(name, checkpoint).n_variables, "variables in", checkpoint.name)
        report = import_tf(checkpoint, output)
        print(f"{report.architecture}, {report.n_tensors} tensors")
        print((output / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
