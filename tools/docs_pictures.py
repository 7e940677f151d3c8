"""Draw the pictures of the docs anew, with the real engine: `python -m tools.docs_pictures`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

SHEET = Path(__file__).parent.parent / "docs" / "images" / "demo.png"
_GAP = 8


def contact_sheet(files: list[Path]) -> Image.Image:
    """Pictures of one size side by side on white."""
    pictures = [Image.open(file).convert("RGB") for file in files]
    width, height = pictures[0].size
    sheet = Image.new("RGB", ((width + _GAP) * len(pictures) - _GAP, height), "white")
    for position, picture in enumerate(pictures):
        sheet.paste(picture, (position * (width + _GAP), 0))
    return sheet


def main() -> None:
    """Run `tsr demo` on a data directory of its own and put its pictures side by side."""
    from tensors.config import load_config

    with tempfile.TemporaryDirectory() as folder:
        environment = {"TSR_DATA_DIR": folder, "TSR_ENGINE_DIR": str(load_config().engine_dir)}
        done = subprocess.run(
            [sys.executable, "-m", "tensors", "demo", "--json"],
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            check=True,
        )
        files = [Path(image["path"]) for image in json.loads(done.stdout)["images"]]
        contact_sheet(files).save(SHEET, optimize=True)


if __name__ == "__main__":
    main()
