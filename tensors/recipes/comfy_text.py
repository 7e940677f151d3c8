"""Prompts in ComfyUI's graphs: from a sampler back to the texts that were encoded."""

from __future__ import annotations

from tensors.recipes import values
from tensors.recipes.comfy_graph import Graph, Node, Source

_DEEPEST = 100
_TEXTS = (
    *("text", "populated_text", "wildcard_text", "prompt", "string", "value", "Text", "t5xxl", "mt5xl", "text_g"),
    *("clip_g", "clip_l", "text_l", "bert", "result"),
)
"""Inputs that hold a prompt; what is meant first where a node has several."""
_PARTS = (("text_g", "text_l"), ("string_a", "string_b"), ("text_a", "text_b", "text_c", "text_d"), ("text1", "text2"))
"""Inputs whose texts are put together."""
_ON = ("conditioning", "conditioning_1", "conditioning_to", "cond1", "conditioning_2", "conditioning_from", "cond2")
_BOTH = ("conditioning_1", "conditioning_2"), ("conditioning_to", "conditioning_from")
"""Inputs of nodes that combine two prompts."""


def prompt_of(graph: Graph, encoders: Node, side: str) -> str | None:
    """The prompt on one `side` (`positive`, `negative`) of a sampler or guider."""
    names = (side, "conditioning", "cond1") if side == "positive" else (side, "cond2")
    start = graph.at(encoders, *names)
    text = _encoded(graph, start, side, set()) if start else None
    return None if text is None else values.words(text)


def _encoded(graph: Graph, start: Source, side: str, seen: set[str]) -> str | None:
    node = start.node
    if node.id in seen or len(seen) > _DEEPEST:
        return None
    seen.add(node.id)
    if node.kind == "ConditioningZeroOut":
        return ""
    for pair in _BOTH:
        sources = [found for name in pair if (found := graph.at(node, name))]
        if len(sources) > 1:
            texts = [text for found in sources if (text := _encoded(graph, found, side, seen))]
            return ", ".join(texts)
    if (literal := _text(graph, node, side, set())) is not None:
        return literal
    onward = graph.at(node, side, *_ON) or graph.behind_reroute(node)
    return _encoded(graph, onward, side, seen) if onward else None


def _text(graph: Graph, node: Node, side: str, seen: set[str]) -> str | None:
    """What a node holds as text, itself or in the nodes that it gets it from."""
    if node.id in seen or len(seen) > _DEEPEST:
        return None
    seen.add(node.id)
    for names in _PARTS:
        parts = [part for name in names if (part := _input(graph, node, name, side, seen))]
        if parts and names[1] in node.inputs:
            return _together(node, list(dict.fromkeys(parts)))
    own = (side, f"text_{side}", f"{side}_prompt")
    for name in (*own, *_TEXTS):
        text = _input(graph, node, name, side, seen)
        if text is not None:
            return text
    return None


def _input(graph: Graph, node: Node, name: str, side: str, seen: set[str]) -> str | None:
    value = node.inputs.get(name)
    if isinstance(value, str):
        return value
    source = graph.source(value)
    # A link at `positive` is of a prompt that was encoded already: that is no text.
    return _text(graph, source.node, side, seen) if source and name != side else None


def _together(node: Node, parts: list[str]) -> str:
    between = node.inputs.get("delimiter")
    return (between if isinstance(between, str) else ", ").join(parts)


def guidance_of(graph: Graph, encoders: Node) -> float | None:
    """Distilled guidance (Flux), which goes with the prompt."""
    start = graph.at(encoders, "positive", "conditioning", "cond1")
    for node in graph.chain(start, "positive", *_ON):
        if (found := values.number(graph.value(node, "guidance"))) is not None:
            return found
    return None
