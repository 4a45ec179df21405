"""What schemathesis needs besides the document to test the API.

The document cannot describe the bytes of a picture, and OpenAPI 3.0 cannot express rules between
parameters. So requests that the document allows get real pictures and ids here, and the rules that it
states in words only.
"""

import base64
import json
import os
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.openapi.checks import RejectedPositiveData

URL = os.environ["LOOKALIKE_URL"]
PICTURES = [path.read_bytes() for path in sorted(Path(os.environ["LOOKALIKE_PICTURES"]).iterdir())]

# Refusals of requests that the document allows: the operations, the codes, and a part of `param`.
REFUSALS_OF_CONTENT = [
    # The bytes are no picture, or one that lookalike cannot decode.
    (
        {"search", "searchByImage", "createSavedSearch", "uploadImage"},
        {"not_an_image", "unsupported_format", "unsupported_feature", "too_many_pixels",
         "too_much_memory", "truncated", "corrupt", "too_slow", "decoder_panic", "empty"},
        "",
    ),
    # The base64 is no base64: `format: byte` does not restrict what generators write.
    ({"search", "createSavedSearch"}, {"invalid_parameter"}, "image"),
    # The region of a picture is too small, or has no area after rounding.
    (
        {"search", "searchByImage", "similarImages", "createSavedSearch"},
        {"invalid_parameter"},
        "region",
    ),
    # Several parts cannot be turned.
    ({"search"}, {"invalid_parameter"}, "orientations"),
    # A cursor is only accepted with the search that it continues.
    ({"search", "searchByImage", "similarImages"}, {"invalid_parameter"}, "cursor"),
    # Parts of a folder and names are limited in bytes, and generators may name a file as a folder.
    ({"uploadImage"}, {"invalid_parameter"}, "folder"),
    ({"uploadImage"}, {"invalid_parameter"}, "name"),
    # The settings of this test permit no deletions.
    ({"removeImage"}, {"deletions_off"}, ""),
    # The key is unknown.
    ({"signIn"}, {"invalid_key"}, ""),
    # A picture is named as positive and negative.
    ({"search", "createSavedSearch"}, {"cancels_out"}, ""),
    # Generators write null for fields that may be left out, also where a rule demands a value.
    ({"createSavedSearch"}, {"invalid_parameter"}, "min_score"),
    # Bands hold for queries of one picture, and the settings list no host of webhooks.
    ({"createSavedSearch"}, {"invalid_parameter"}, "band"),
    ({"createSavedSearch"}, {"invalid_parameter"}, "webhook.url"),
    # Conditions of a filter that no image can meet together, such as a range without values.
    (
        {"search", "searchByImage", "similarImages", "listImages", "countFacets",
         "createSavedSearch", "findDuplicates"},
        {"invalid_parameter"},
        "filter",
    ),
]


def read(path: str) -> Any:
    with urllib.request.urlopen(URL + path) as response:
        return json.load(response)


IDS = [image["id"] for image in read("/v1/images?limit=100")["images"]]
FAILED_IDS = [failure["id"] for failure in read("/v1/failures?limit=100&ignored=true")["failures"]]


def upload_picture() -> str:
    """Adds a picture, and returns the id of the upload."""
    request = urllib.request.Request(
        URL + "/v1/images?folder=uploads", data=PICTURES[0], headers={"Content-Type": "image/jpeg"}
    )
    with urllib.request.urlopen(request) as response:
        return str(json.load(response)["id"])


UPLOAD_IDS = [upload_picture()]

pictures = st.sampled_from(PICTURES)
schemathesis.openapi.format("byte", pictures.map(lambda picture: base64.b64encode(picture).decode()))
schemathesis.openapi.format("binary", pictures)
for media_type in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, pictures)


def pick(values: list[str], seed: object) -> str:
    return values[number_of(seed) % len(values)]


def number_of(value: object) -> int:
    """The same number in each run, unlike `hash`."""
    return zlib.crc32(repr(value).encode())


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Lets most requests that the document allows reach real files and rows."""
    # An invented key is refused before anything else.
    if case.headers:
        case.headers.pop("Authorization", None)
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    operation = case.operation.definition.raw["operationId"]
    if "id" in (case.path_parameters or {}):
        ids = FAILED_IDS if operation == "previewFailure" else IDS
        if operation in ("getSavedSearch", "deleteSavedSearch", "listMatches"):
            ids = [search["id"] for search in read("/v1/saved-searches")["saved_searches"]]
        if operation == "getUpload":
            ids = UPLOAD_IDS
        # Some requests keep an unknown id.
        if number_of(case.path_parameters["id"]) % 4 and ids:
            case.path_parameters["id"] = pick(ids, case.path_parameters["id"])
    if operation == "explainFile":
        select_one_file(case)
    query = case.body
    if operation == "createSavedSearch" and isinstance(query, dict):
        query = query.get("query")
    if operation in ("search", "createSavedSearch") and isinstance(query, dict):
        for at, part in enumerate([query, *(query.get("positive") or [])]):
            if isinstance(part, dict) and isinstance(part.get("id"), str):
                part["id"] = pick(IDS, at)


def select_one_file(case: Any) -> None:
    """A file is selected by its id, or by its library and path."""
    query = case.query
    if "id" in query:
        query.pop("path", None)
        query["id"] = pick(IDS + FAILED_IDS, query["id"])
        query.pop("library", None)
    elif "path" in query:
        query.setdefault("library", "photos")
    else:
        query["id"] = pick(IDS + FAILED_IDS, query)
        query.pop("library", None)


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Drops refusals for a reason that the document states in words only."""
    # An address of more than 64 KiB.
    if response is not None and response.status_code in (414, 431):
        return False
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem = response.json()
    operation = case.operation.definition.raw["operationId"]
    return not any(
        operation in operations
        and problem["code"] in codes
        and (not param or param in problem.get("param", ""))
        for operations, codes, param in REFUSALS_OF_CONTENT
    )


@schemathesis.check
def problem_code_is_listed(ctx: Any, response: Any, case: Any) -> None:
    """Every error has a code that the document lists for the operation and the status."""
    if response.status_code < 400 or response.status_code == 405:
        return
    # The HTTP server refuses an address or headers that are too long before lookalike sees them.
    if response.status_code in (414, 431) and not response.content:
        return
    problem = response.json()
    assert problem["status"] == response.status_code, problem
    # An identifier with a slash or none at all leads to no operation.
    if problem["code"] == "no_such_route":
        return
    listed = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    examples = listed.get("content", {}).get("application/problem+json", {}).get("examples", {})
    assert problem["code"] in examples, f"{problem['code']} is not listed: {sorted(examples)}"
