"""The sites that files come from."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Source:
    """A site that files come from, and how it gets a key."""

    name: str
    keys: str
    """Where a person makes one."""
    address: str
    """The setting with its URL."""
    setting: str
    """The setting with the key."""
    variable: str
    """Of the environment, with the key."""

    @property
    def make_key(self) -> str:
        """What to do without a key."""
        return f"make one at {self.keys}, then: tsr config set {self.setting} KEY (or set {self.variable})"


CIVITAI = Source("CivitAI", "https://civitai.com/user/account", "api.civitai_url", "api.civitai_key", "CIVITAI_API_KEY")
HUGGING_FACE = Source(
    "Hugging Face", "https://huggingface.co/settings/tokens", "api.huggingface_url", "api.huggingface_key", "HF_TOKEN"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A source as it is configured."""

    source: Source
    url: str
    key: str | None = field(default=None, repr=False)
