"""Remove files and folders of an earlier run, on any operating system."""

import shutil
import sys
from pathlib import Path


def main(names: list[str]) -> None:
    """Remove what exists; refuse anything outside of the working folder.

    names (list[str]): Files and folders.
    """
    here = Path.cwd().resolve()
    for name in names:
        path = Path(name).resolve()
        if here not in path.parents:
            sys.exit(f"{path} is not inside of {here}: it is left alone")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1:])
