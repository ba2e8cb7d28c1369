"""Make sure that the weights a config names are on this machine, and record what they are."""

import argparse
import json
from pathlib import Path

from wasabi import msg

from bert_spacy.sources import SOURCES, alias_path, missing_parts, resolve_name
from bert_spacy.util import atomic_file, checksum


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="An alias, a local folder, or a name on the hub.")
    parser.add_argument("output", type=Path, help="A .json file for the checksums.")
    args = parser.parse_args()
    try:
        fetch_weights(args.name, args.output)
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't fetch {args.name}", str(err), exits=1)


def fetch_weights(name: str, output: Path) -> None:
    """Fetch the weights of an alias unless they are there, and write their checksums.

    name (str): An alias, a local folder, or a name on the hub; a hub name is
        left to transformers and recorded as it is.
    output (Path): The .json file. It changes only if the weights do, and so
        tells later steps of the project whether to run again.
    RAISES (ValueError): B803 to B805 for a folder that is not there or not whole, or a name that
        is nearly an alias; B806 and more if an alias can't be fetched.
    """
    if name in SOURCES and missing_parts(alias_path(name)):
        from bert_spacy.weights.fetch import fetch

        fetch(name)
    folder = Path(resolve_name(name))
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    sums = {path.name: checksum(path) for path in files}
    with atomic_file(output) as file_:
        file_.write(json.dumps({"name": name, "sha256": sums}, indent=2) + "\n")
    msg.good(f"Weights '{name}'", str(folder) if files else "to be loaded by transformers")


if __name__ == "__main__":
    main()
