"""Kill a training run, let it go on, and see that nothing is lost.

    python examples/resume.py TRAIN.spacy DEV.spacy [CONFIG]

CONFIG is a spaCy config, `configs/textcat.cfg` if none is given. The run is killed as by a power
cut once it has written its first checkpoint.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).parents[1] / "configs" / "textcat.cfg"


def main(train: str, dev: str, config: str = str(CONFIG), *options: str) -> None:
    """Start a run, kill it, and go on with it.

    train (str): Training data, a .spacy file.
    dev (str): Development data.
    config (str): The config.
    *options (str): More options of the command, such as "--training.max_steps", "20".
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        command = [
            *(sys.executable, "-m", "bert_spacy", "train", config, "--output", str(output)),
            *("--paths.train", train, "--paths.dev", dev, "--checkpoint-every", "5", *options),
        ]
        run = subprocess.Popen(command)
        while run.poll() is None and not list(output.glob("checkpoints/step-*")):
            time.sleep(0.2)
        run.kill()
        run.wait()
        found = [path.name for path in output.glob("checkpoints/step-*")]
        print(f"Killed. Checkpoints: {found}")
        subprocess.run([*command, "--resume"], check=True)
        print(f"Done: {(output / 'model-last').exists()}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
