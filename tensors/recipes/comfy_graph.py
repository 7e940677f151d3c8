"""ComfyUI's graphs: nodes, what is linked to what, and values that come through other nodes.

`prompt` is the graph as it was run: `{id: {"class_type", "inputs": {name: value or [id, slot]}}}`. `workflow` is the
graph as it was drawn, with the values in each node's own order; it is read where there is no `prompt`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tensors import fields

_MOST_NODES = 10_000
_MOST_INPUTS = 300
_LONGEST_WAY = 1000
_MOST_STEPS = 300_000
"""Links that are followed in one graph: somebody may have made it to keep us busy."""
_VALUE_KEYS = (
    *("value", "Value", "int", "float", "number", "Number", "seed", "noise_seed", "string", "String", "text", "Text"),
    *("populated_text", "wildcard_text", "prompt", "result"),
)
_MUTED, _BYPASSED = 2, 4
"""Modes of a drawn node that does nothing, and of one that hands on what it gets."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node; its inputs are values or links."""

    id: str
    kind: str
    inputs: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Source:
    """What a link comes from."""

    node: Node
    slot: int


class Graph:
    """The nodes by their ids."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = nodes
        self._steps = _MOST_STEPS

    def source(self, value: object) -> Source | None:
        """Where a link comes from; None for a value and for a link to nowhere."""
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str | int):
            return None
        self._steps -= 1
        node = self.nodes.get(str(value[0])) if self._steps > 0 else None
        return Source(node, value[1] if isinstance(value[1], int) else 0) if node else None

    def at(self, node: Node, *names: str) -> Source | None:
        """Where the first of these inputs that is linked comes from."""
        return next((found for name in names if (found := self.source(node.inputs.get(name)))), None)

    def value(self, node: Node, *names: str) -> object:
        """The value of the first of these inputs that has one, followed through nodes that only hold values."""
        for name in names:
            found = self._value(node, name)
            if found is not None:
                return found
        return None

    def _value(self, node: Node, name: str) -> object:
        seen: set[str] = set()
        while node.id not in seen:
            seen.add(node.id)
            value = node.inputs.get(name)
            if not isinstance(value, list):
                return value
            source = self.source(value)
            if source is None:
                return None
            node = source.node
            held = (key for key in (name, *_VALUE_KEYS) if node.inputs.get(key) is not None)
            name = next(held, next(iter(node.inputs), "") if len(node.inputs) == 1 else "")
        return None

    def behind_reroute(self, node: Node) -> Source | None:
        """Where a node's link comes from that has one and nothing else."""
        return self.source(next(iter(node.inputs.values()))) if len(node.inputs) == 1 else None

    def upstream(self, start: Source | None, leads: Callable[[Node, str], bool]) -> Iterator[Node]:
        """The nodes that a link comes from, nearest first, along the inputs that `leads` says yes to."""
        waiting = deque([start.node] if start else [])
        seen = {start.node.id} if start else set()
        while waiting:
            node = waiting.popleft()
            yield node
            for name, value in node.inputs.items():
                source = self.source(value)
                if source and source.node.id not in seen and leads(node, name):
                    seen.add(source.node.id)
                    waiting.append(source.node)

    def chain(self, start: Source | None, *names: str) -> Iterator[Node]:
        """The nodes on the way back along the first of these inputs that each has linked."""
        seen: set[str] = set()
        while start and start.node.id not in seen and len(seen) < _LONGEST_WAY:
            seen.add(start.node.id)
            yield start.node
            start = self.at(start.node, *names) or self.behind_reroute(start.node)


def from_prompt(document: object) -> Graph | None:
    """The graph as it was run; None for anything else."""
    nodes = {}
    for key, entry in list(fields.table(document).items())[:_MOST_NODES]:
        said = fields.table(entry)
        if isinstance(said.get("class_type"), str):
            nodes[key] = Node(key, said["class_type"], _few(fields.table(said.get("inputs"))))
    return Graph(nodes) if nodes else None


def _few(inputs: Mapping[str, object]) -> Mapping[str, object]:
    return inputs if len(inputs) <= _MOST_INPUTS else dict(itertools.islice(inputs.items(), _MOST_INPUTS))


_CONTROL = "control_after_generate"
_WIDGETS: dict[str, tuple[str, ...]] = {
    "KSampler": ("seed", _CONTROL, "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        *("add_noise", "noise_seed", _CONTROL, "steps", "cfg", "sampler_name", "scheduler"),
        *("start_at_step", "end_at_step", "return_with_leftover_noise"),
    ),
    "SamplerCustom": ("add_noise", "noise_seed", _CONTROL, "cfg"),
    "RandomNoise": ("noise_seed", _CONTROL),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "CFGGuider": ("cfg",),
    "FluxGuidance": ("guidance",),
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": ("width", "height", "crop_w", "crop_h", "target_width", "target_height", "text_g", "text_l"),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl", "guidance"),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "UnetLoaderGGUF": ("unet_name",),
    "VAELoader": ("vae_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "LatentUpscale": ("upscale_method", "width", "height", "crop"),
    "LatentUpscaleBy": ("upscale_method", "scale_by"),
    "ImageScale": ("upscale_method", "width", "height", "crop"),
    "ImageScaleBy": ("upscale_method", "scale_by"),
    "UpscaleModelLoader": ("model_name",),
    "PrimitiveNode": ("value",),
    "PrimitiveInt": ("value",),
    "PrimitiveFloat": ("value",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
}
"""The order in which a drawn node keeps its values. Facts: ComfyUI's `nodes.py` and `comfy_extras/`."""


def from_workflow(document: object) -> Graph | None:
    """The graph as it was drawn, as far as the order of the values is known; None for anything else."""
    said = fields.table(document)
    links = {}
    for link in fields.entries(said.get("links")):
        if isinstance(link, list) and len(link) >= 3 and isinstance(link[0], int):
            links[link[0]] = [link[1], link[2]]
    nodes = {}
    for entry in map(fields.table, fields.entries(said.get("nodes"))[:_MOST_NODES]):
        kind, key = entry.get("type"), entry.get("id")
        if isinstance(kind, str) and isinstance(key, str | int) and entry.get("mode") != _MUTED:
            inputs = {} if entry.get("mode") == _BYPASSED else _widgets(kind, entry.get("widgets_values"))
            inputs |= dict(_links(fields.entries(entry.get("inputs")), links))
            nodes[str(key)] = Node(str(key), kind, _few(inputs))
    return Graph(nodes) if nodes else None


def _widgets(kind: str, said: object) -> dict[str, object]:
    if isinstance(said, dict):
        return dict(said)
    held = fields.entries(said)
    if kind.startswith("Power Lora Loader"):
        return {f"lora_{number}": value for number, value in enumerate(held) if isinstance(value, dict)}
    return dict(zip(_WIDGETS.get(kind, ()), held, strict=False))


def _links(inputs: Iterable[object], links: Mapping[int, list[object]]) -> Iterator[tuple[str, object]]:
    for entry in map(fields.table, inputs):
        name, link = entry.get("name"), entry.get("link")
        if isinstance(name, str) and isinstance(link, int) and link in links:
            yield name, links[link]
