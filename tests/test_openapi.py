"""The description of the HTTP API that the server itself gives."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from conftest import Server
from fastapi import APIRouter
from fastapi.routing import APIRoute
from wire import wire_types

import tensors.server
from tensors.types.base import Page
from tensors.types.generation import MAX_SEED, MAX_STEPS, GenerateRequest

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def page(fake_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fake_server.url, trust_env=False) as http:
        yield http


@pytest.fixture(scope="module")
def document(page: httpx.Client) -> dict[str, Any]:
    response = page.get("/openapi.json")
    assert response.status_code == 200
    return response.json()


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(m, path): operation for path, item in document["paths"].items() for m, operation in item.items()}


def references(node: Any) -> Iterator[str]:
    """Every `$ref` below a node."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from [value] if key == "$ref" else references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_documentation_page_needs_nothing_from_elsewhere(page: httpx.Client) -> None:
    response = page.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in response.text
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)""", response.text)
    assert loaded
    for address in loaded:
        assert address.startswith("/"), address
        assert page.get(address).status_code == 200, address


def routers() -> Iterator[APIRouter]:
    """Every router there is, whether the application includes it or not."""
    for module in pkgutil.iter_modules(tensors.server.__path__, "tensors.server."):
        found = getattr(importlib.import_module(module.name), "router", None)
        if isinstance(found, APIRouter):
            yield found


def test_every_route_is_described(document: dict[str, Any]) -> None:
    routes = [route for router in routers() for route in router.routes if isinstance(route, APIRoute)]
    there = {(method.lower(), route.path_format) for route in routes for method in route.methods}
    assert len(there) >= 12
    assert all(path.startswith("/api/") for _, path in there)
    assert set(operations(document)) == there


def test_the_description_holds_together(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.")
    assert document["info"]["title"] == "tsr"
    for reference in references(document):
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert isinstance(node, dict), reference
    described = operations(document)
    names = [operation["operationId"] for operation in described.values()]
    assert len(set(names)) == len(names)
    for (method, path), operation in described.items():
        assert method in METHODS
        assert operation["description"].endswith("."), path
        assert operation["tags"], path
        in_path = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path)), path
        assert all(response["description"] for response in operation["responses"].values())


def test_errors_are_described_as_they_are_sent(document: dict[str, Any], page: httpx.Client) -> None:
    described = operations(document)
    for operation in described.values():
        assert set(operation["responses"]) <= {"200", "202", "204", "default"}
        (content,) = operation["responses"]["default"]["content"].values()
        assert content["schema"] == {"$ref": "#/components/schemas/Error"}
    schema = document["components"]["schemas"]["Error"]
    sent = page.post("/api/generate", json={"prompt": ""}).json()
    assert set(sent) == set(schema["required"]) == set(schema["properties"])
    inner = schema["properties"]["error"]
    assert set(inner["required"]) <= set(sent["error"]) <= set(inner["properties"])


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("get", "/api/health", "Health"),
        ("get", "/api/status", "Status"),
        ("get", "/api/version", "Version"),
        ("get", "/api/jobs", "Page_Job_"),
        ("get", "/api/images", "Page_Image_"),
        ("post", "/api/generate", "Generated"),
    ],
)
def test_answers_are_described_with_their_fields(document: dict[str, Any], method: str, path: str, name: str) -> None:
    content = operations(document)[method, path]["responses"]["200"]["content"]["application/json"]
    assert content["schema"] == {"$ref": f"#/components/schemas/{name}"}
    kind = Page if name.startswith("Page") else wire_types()[name]
    assert list(document["components"]["schemas"][name]["properties"]) == list(kind.__slots__)


def test_the_body_of_generate_has_every_field_with_its_bounds(document: dict[str, Any]) -> None:
    operation = operations(document)["post", "/api/generate"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/GenerateBody")
    body = document["components"]["schemas"]["GenerateBody"]
    fields = body["properties"]
    assert list(fields) == [*GenerateRequest.__slots__, "wait", "return_base64"]
    assert body["required"] == ["prompt"]
    assert body["additionalProperties"] is False
    assert all(field["description"] for field in fields.values())

    def bounds(name: str) -> dict[str, Any]:
        options = fields[name].get("anyOf", [fields[name]])
        return {key: value for option in options for key, value in option.items() if key.startswith(("m", "M"))}

    assert bounds("prompt") == {"minLength": 1, "maxLength": 20_000}
    assert bounds("width") == bounds("height") == {"minimum": 64, "maximum": 4096, "multipleOf": 8}
    assert bounds("steps") == {"minimum": 1, "maximum": MAX_STEPS}
    assert bounds("seed") == {"minimum": -1, "maximum": MAX_SEED}
    assert bounds("batch_size") == {"minimum": 1, "maximum": 256}
    assert bounds("cfg_scale") == {"minimum": 0, "maximum": 50}
    assert bounds("strength") == {"minimum": 0, "maximum": 1}
    assert (fields["wait"]["default"], fields["return_base64"]["default"]) == (True, False)
