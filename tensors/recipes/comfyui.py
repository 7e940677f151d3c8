"""ComfyUI: the recipe out of the graph, followed back from the picture that is saved.

From the output back to the last sampler, from its latent picture back to the one before, and so on: the first one drew
the picture, the second drew it again after it was enlarged. Nodes are known by what their inputs are called rather than
by their class, so that other people's samplers and loaders are understood too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tensors import fields
from tensors.recipes import values
from tensors.recipes.comfy_graph import Graph, Node, Source, from_prompt, from_workflow
from tensors.recipes.comfy_text import guidance_of, prompt_of
from tensors.recipes.lora_tags import without_tags
from tensors.types.recipe import Recipe, RecipeHires, RecipeLora

_SIDEWAYS = frozenset(
    (
        *("model", "clip", "vae", "positive", "negative", "conditioning", "guider", "sampler", "sigmas", "noise"),
        *("control_net", "style_model", "clip_vision", "mask", "upscale_model", "text", "prompt", "seed"),
    )
)
"""Inputs that do not lead to the picture before."""
_MODEL_WAY = ("model", "model1", "unet", "base_model", "MODEL")
_MODEL_NAMES = ("ckpt_name", "unet_name", "gguf_name", "base_ckpt_name", "checkpoint", "diffusion_model")
_SAVED, _SHOWN = re.compile(r"save", re.IGNORECASE), re.compile(r"preview|output", re.IGNORECASE)
_STACKS = ("lora_stack", "optional_lora_stack")
_SLOT = re.compile(r"lora(?:_name)?_?([0-9]{1,2})(?:_name)?")
_FACTOR = re.compile(r"(?<![0-9])([2-8])x|x([2-8])(?![0-9])", re.IGNORECASE)
_MOST_PASSES = 20
_METHODS = {"lanczos": "Lanczos", "nearest-exact": "Nearest", "bilinear": "Latent"}


@dataclass(frozen=True, slots=True)
class _Pass:
    """A sampler and what stands between it and the sampler before it, or nothing, nearest first."""

    sampler: Node
    before: tuple[Node, ...]


def read(texts: Mapping[str, str]) -> Recipe | None:
    """The recipe out of `prompt` or, without that, out of `workflow`; None where neither is a graph."""
    graph = from_prompt(values.document(texts.get("prompt", "")))
    if graph is None:
        graph = from_workflow(values.document(texts.get("workflow", "")))
    if graph is None:
        return None
    output, passes = _passes(graph)
    if not passes:
        return Recipe(program="comfyui", rest=_others(graph))
    recipe = _first_pass(graph, passes[-1])
    if len(passes) > 1:
        later = (_hires(graph, again, recipe) for again in reversed(passes[:-1]))
        recipe = replace(recipe, hires=next(filter(None, later), None))
    return replace(recipe, vae=_vae(graph, output), rest={**recipe.rest, **_others(graph)})


def is_sampler(node: Node) -> bool:
    """Whether it draws: it takes a latent picture and a seed, or what makes noise."""
    names = node.inputs.keys()
    return "latent_image" in names and bool({"seed", "noise_seed", "noise"} & names)


def _leads_back(node: Node, name: str) -> bool:
    return name not in _SIDEWAYS and not is_sampler(node)


def _passes(graph: Graph) -> tuple[Node | None, list[_Pass]]:
    """The output with the most samplers behind it, and those, last first."""
    best: tuple[Node | None, list[_Pass]] = (None, [])
    for output in _outputs(graph):
        found = _passes_behind(graph, output)
        if len(found) > len(best[1]):
            best = output, found
    return best


def _outputs(graph: Graph) -> list[Node]:
    """Nodes that save, then nodes that show; without either, the samplers themselves."""
    saving = [node for node in graph.nodes.values() if _SAVED.search(node.kind)]
    showing = [node for node in graph.nodes.values() if _SHOWN.search(node.kind)]
    for kind in (saving, showing):
        reached = [node for node in kind[:_MOST_PASSES] if _passes_behind(graph, node)]
        if reached:
            return reached
    return [node for node in graph.nodes.values() if is_sampler(node)][:_MOST_PASSES]


def _passes_behind(graph: Graph, output: Node) -> list[_Pass]:
    passes: list[_Pass] = []
    sampler, between = _sampler_behind(graph, Source(output, 0))
    while sampler and len(passes) < _MOST_PASSES and all(one.sampler.id != sampler.id for one in passes):
        drawn = sampler
        sampler, between = _sampler_behind(graph, graph.at(drawn, "latent_image"))
        passes.append(_Pass(drawn, between))
    return passes


def _sampler_behind(graph: Graph, start: Source | None) -> tuple[Node | None, tuple[Node, ...]]:
    between: list[Node] = []
    for node in graph.upstream(start, _leads_back):
        if is_sampler(node):
            return node, tuple(between)
        between.append(node)
    return None, tuple(between)


def _first_pass(graph: Graph, drawn: _Pass) -> Recipe:
    node = drawn.sampler
    guider = _linked(graph, node, "guider")
    sigmas = _scheduler_node(graph, node)
    encoders = guider if guider.inputs.keys() & {"positive", "conditioning", "cond1"} else node
    sampler, scheduler = values.sampling(_sampler_name(graph, node), _scheduler_name(graph, sigmas))
    prompt, tagged = without_tags(prompt_of(graph, encoders, "positive") or "")
    width, height = _size(graph, drawn)
    denoise = values.number(graph.value(sigmas, "denoise"))
    model_from = graph.at(guider, *_MODEL_WAY) or graph.at(node, *_MODEL_WAY)
    return Recipe(
        program="comfyui",
        prompt=prompt or None,
        negative_prompt=prompt_of(graph, encoders, "negative"),
        model=_model(graph, model_from),
        width=width,
        height=height,
        steps=values.positive(graph.value(sigmas, "steps")),
        cfg_scale=values.number(graph.value(guider, "cfg") or graph.value(node, "cfg")),
        guidance=guidance_of(graph, encoders),
        sampler=sampler,
        scheduler=scheduler,
        seed=values.natural(graph.value(_linked(graph, node, "noise"), "noise_seed", "seed")),
        clip_skip=_clip_skip(graph, encoders),
        loras=tuple(_loras(graph, model_from)),
        strength=denoise if denoise is not None and denoise < 1 else None,
        # Core ComfyUI reads no tags in prompts; the nodes that do keep them as text.
        rest=values.rest({"tags in the prompt": ", ".join(f"{lora.name}:{lora.weight:g}" for lora in tagged)}),
    )


def _linked(graph: Graph, node: Node, name: str) -> Node:
    """The node at an input; the node itself where there is none."""
    found = graph.at(node, name)
    return found.node if found else node


def _scheduler_node(graph: Graph, node: Node) -> Node:
    """What holds steps and scheduler: behind `sigmas`, also through nodes that split them."""
    for found in graph.chain(graph.at(node, "sigmas"), "sigmas"):
        if "steps" in found.inputs:
            return found
    return node


def _sampler_name(graph: Graph, node: Node) -> object:
    found = graph.at(node, "sampler")
    if found is None:
        return graph.value(node, "sampler_name")
    named = graph.value(found.node, "sampler_name")
    kinds = {"SamplerEulerAncestral": "euler_ancestral", "SamplerEulerAncestralCFGPP": "euler_ancestral_cfg_pp"}
    return named or kinds.get(found.node.kind, found.node.kind.removeprefix("Sampler").lower())


def _scheduler_name(graph: Graph, node: Node) -> object:
    """Named, or by the class of a node that makes the sigmas: `KarrasScheduler`, `AlignYourStepsScheduler`."""
    named = graph.value(node, "scheduler")
    if named is None and node.kind.endswith("Scheduler"):
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.kind.removesuffix("Scheduler")).lower()
        return words or None
    return named


def _model(graph: Graph, start: Source | None) -> str | None:
    for node in graph.chain(start, *_MODEL_WAY):
        name = values.file_name(graph.value(node, *_MODEL_NAMES))
        if name is None and node.kind.endswith(("Loader", "LoaderSimple")) and "Lora" not in node.kind:
            name = values.file_name(graph.value(node, "model_name", "model_path"))
        if name:
            return name
    return None


def _loras(graph: Graph, start: Source | None) -> Iterator[RecipeLora]:
    """In the order they are applied in; a LoRA that is switched off, or has no weight, is left out."""
    holders: dict[str, Node] = {}
    for node in reversed(list(graph.chain(start, *_MODEL_WAY))):
        stack = list(graph.chain(graph.at(node, *_STACKS), *_STACKS))
        holders |= {holder.id: holder for holder in (*reversed(stack), node)}
    named: dict[str, RecipeLora] = {}
    for holder in holders.values():
        for lora in _held(graph, holder):
            if lora.weight:
                named.setdefault(lora.name, lora)
    yield from named.values()


def _held(graph: Graph, node: Node) -> Iterator[RecipeLora]:
    """The LoRAs that one node applies: one, or one in each of its slots."""
    weight = graph.value(node, "strength_model", "lora_model_strength", "strength", "lora_wt")
    yield from _lora(graph.value(node, "lora_name"), weight)
    for key, value in node.inputs.items():
        slot = _SLOT.fullmatch(key)
        if slot is None:
            continue
        number = slot[1]
        said = fields.table(value)
        if said and fields.flag(said.get("on", True)):
            yield from _lora(said.get("lora"), said.get("strength"))
        elif not said and graph.value(node, f"switch_{number}") not in ("Off", False):
            names = ("strength_{}", "model_weight_{}", "lora_wt_{}", "model_str_{}", "lora_{}_strength")
            yield from _lora(graph.value(node, key), graph.value(node, *(name.format(number) for name in names)))


def _lora(name: object, weight: object) -> Iterator[RecipeLora]:
    if cleaned := values.file_name(name):
        found = values.number(weight)
        yield RecipeLora(name=cleaned, weight=1.0 if found is None else found)


def _clip_skip(graph: Graph, encoders: Node) -> int | None:
    start = graph.at(encoders, "positive", "conditioning", "cond1")
    for encoder in graph.chain(start, "positive", "conditioning", "conditioning_1", "conditioning_to"):
        for node in (encoder, *graph.chain(graph.at(encoder, "clip"), "clip")):
            layer = values.integer(graph.value(node, "stop_at_clip_layer", "clip_skip"))
            if layer is not None and layer < 0:
                return -layer
    return None


def _size(graph: Graph, drawn: _Pass) -> tuple[int | None, int | None]:
    for node in drawn.before:
        width = values.positive(graph.value(node, "width", "empty_latent_width"))
        height = values.positive(graph.value(node, "height", "empty_latent_height"))
        if width and height:
            return width, height
    return None, None


def _hires(graph: Graph, again: _Pass, first: Recipe) -> RecipeHires | None:
    """The second pass, unless it only goes on where the first stopped (a refiner)."""
    node = again.sampler
    sigmas = _scheduler_node(graph, node)
    scale, upscaler = _enlarged(graph, again, first.width)
    start = values.natural(graph.value(node, "start_at_step"))
    if scale is None and upscaler is None and start:
        return None
    steps = values.positive(graph.value(sigmas, "steps"))
    return RecipeHires(
        scale=scale,
        upscaler=upscaler,
        steps=steps,
        denoising_strength=values.number(graph.value(sigmas, "denoise")),
    )


def _enlarged(graph: Graph, again: _Pass, width: int | None) -> tuple[float | None, str | None]:
    """How many times larger each side gets on the way to a pass, and what enlarges it."""
    scale: float | None = None
    upscaler = None
    for node in again.before:
        target, factor = values.positive(graph.value(node, "width")), values.number(graph.value(node, "scale_by"))
        if (model := graph.at(node, "upscale_model")) is not None:
            name = values.line(graph.value(model.node, "model_name"))
            upscaler = values.file_name(name) or upscaler
            known = _FACTOR.search(name or "")
            factor = float(known[1] or known[2]) if known else None
        elif method := values.line(graph.value(node, "upscale_method")):
            latent = "latent" in node.kind.lower()
            upscaler = upscaler or (f"Latent ({method})" if latent else _METHODS.get(method, method))
        if target and width and scale is None:
            return round(target / width, 6), _upscaler_of(graph, again) or upscaler
        if factor:
            scale = (scale or 1.0) * factor
    return scale, "Latent" if upscaler == "Latent (bilinear)" else upscaler


def _upscaler_of(graph: Graph, again: _Pass) -> str | None:
    for node in again.before:
        if model := graph.at(node, "upscale_model"):
            return values.file_name(graph.value(model.node, "model_name"))
    return None


def _vae(graph: Graph, output: Node | None) -> str | None:
    start = Source(output, 0) if output else None
    for node in graph.upstream(start, _leads_back):
        if loader := graph.at(node, "vae"):
            return values.file_name(graph.value(loader.node, "vae_name"))
    return None


def _others(graph: Graph) -> dict[str, str]:
    """Which classes of nodes there are: what was done besides is theirs."""
    kinds = sorted({node.kind for node in graph.nodes.values()})
    return values.rest({"nodes": ", ".join(kinds)})
