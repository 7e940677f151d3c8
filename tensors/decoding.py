"""What msgspec raises for bytes that are not the JSON that was expected."""

from __future__ import annotations

import msgspec

NOT_THAT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Another shape and no JSON at all; a text that is not UTF-8; nested deeper than the interpreter's stack."""
