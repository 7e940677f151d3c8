"""Print the description of the API, which a server has at /openapi.json: `python -m tools.openapi`."""

from __future__ import annotations

import json

from tensors.config import load_config
from tensors.server.app import create_app


def main() -> None:
    """As JSON."""
    app = create_app(load_config(), url="http://127.0.0.1:8080")
    print(json.dumps(app.openapi()))


if __name__ == "__main__":
    main()
