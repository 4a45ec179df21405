"""Drives a running lookalike through every operation with the client that openapi-python-client
generated. mypy checks this file and the client."""

import base64
import datetime
import io
import json
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import httpx
from lookalike_client import Client
from lookalike_client.api.images import (
    compare_images,
    count_facets,
    find_duplicates,
    get_content,
    get_image,
    get_thumbnail,
    get_upload,
    list_images,
    remove_image,
    upload_image,
)
from lookalike_client.api.maintenance import (
    confirm_library,
    discard_failures,
    explain_file,
    list_failures,
    preview_failure,
    retry_failures,
    scan_library,
)
from lookalike_client.api.saved_searches import (
    create_saved_search,
    delete_saved_search,
    get_saved_search,
    list_matches,
    list_saved_searches,
)
from lookalike_client.api.search import search, search_by_image, similar_images
from lookalike_client.api.session import get_session, sign_in, sign_out
from lookalike_client.api.status import get_stats, list_libraries
from lookalike_client.models import (
    Band,
    Comparison,
    DuplicateKind,
    DuplicateList,
    FailureCode,
    FailureList,
    FileHistory,
    HitGrouping,
    Image,
    ImageList,
    LibraryList,
    Problem,
    QueryPart,
    Region,
    Removal,
    SavedMatchList,
    SavedQuery,
    SavedSearch,
    SavedSearchList,
    SavedSearchRequest,
    Scanning,
    SearchAnswer,
    SearchByImageFilesBody,
    SearchRequest,
    Selected,
    Selection,
    Session,
    SignIn,
    Stats,
    Upload,
    UploadState,
)
from lookalike_client.types import UNSET, File, Response

url, document_path, picture_path = sys.argv[1:]
picture = Path(picture_path).read_bytes()
called: set[tuple[str, str]] = set()
client = Client(
    base_url=url,
    raise_on_unexpected_status=True,
    httpx_args={"event_hooks": {"request": [lambda request: called.add(identify(request))]}},
)

Answer = TypeVar("Answer")


def identify(request: httpx.Request) -> tuple[str, str]:
    return request.method.lower(), request.url.path


def answer(kind: type[Answer], response: Response[Answer | Problem]) -> Answer:
    """Returns the parsed body of a successful response."""
    assert response.status_code == HTTPStatus.OK, response
    assert isinstance(response.parsed, kind), response
    return response.parsed


def file() -> File:
    return File(payload=io.BytesIO(picture), file_name="query.jpg", mime_type="image/jpeg")


# Status.
stats = answer(Stats, get_stats.sync_detailed(client=client))
assert stats.indexed is not None and stats.indexed > 0 and stats.rollover_error is None, stats
libraries = answer(LibraryList, list_libraries.sync_detailed(client=client)).libraries
library = libraries[0].name

# Images, page by page.
images: list[Image] = []
cursor: str | None = None
while True:
    page = answer(
        ImageList,
        list_images.sync_detailed(
            client=client, library=library, limit=5, cursor=UNSET if cursor is None else cursor
        ),
    )
    images += page.images
    cursor = page.cursor
    if cursor is None:
        break
assert len(images) == stats.indexed, (len(images), stats)
# A picture without a capture time is an image like any other.
assert any(image.taken_at is None for image in images)
assert any(isinstance(image.taken_at, datetime.datetime) for image in images)
for image in images:
    assert image.to_dict() == answer(Image, get_image.sync_detailed(image.id, client=client)).to_dict()
first = images[0]
content = answer(File, get_content.sync_detailed(first.id, client=client))
assert len(content.payload.read()) == first.bytes_
thumbnail = answer(File, get_thumbnail.sync_detailed(first.id, client=client, size=64))
assert thumbnail.payload.read(2) == b"\xff\xd8"

facets = count_facets.sync_detailed(client=client, library=library)
assert facets.status_code == HTTPStatus.OK, facets

groups = answer(
    DuplicateList,
    find_duplicates.sync_detailed(client=client, kind=DuplicateKind.IDENTICAL, library=library),
).groups
assert all(group.images[0].keep and len(group.images) >= 2 for group in groups), groups
comparison = answer(Comparison, compare_images.sync_detailed(client=client, a=first.id, b=images[1].id))
assert comparison.a.id == first.id and not comparison.same_content, comparison

# Searches.
by_file = answer(SearchAnswer, search_by_image.sync_detailed(client=client, body=file(), limit=3))
assert len(by_file.hits) == 3 and by_file.hits[0].score > 0.9, by_file
by_form = answer(
    SearchAnswer,
    search_by_image.sync_detailed(client=client, body=SearchByImageFilesBody(image=file()), limit=3),
)
assert [hit.id for hit in by_form.hits] == [hit.id for hit in by_file.hits]
combined = SearchRequest(
    image=base64.b64encode(picture).decode(),
    positive=[QueryPart(id=first.id, weight=0.5)],
    negative=[QueryPart(id=images[1].id)],
    text=None,
    min_score=-1.0,
    limit=4,
)
assert len(answer(SearchAnswer, search.sync_detailed(client=client, body=combined)).hits) == 4
similar = answer(SearchAnswer, similar_images.sync_detailed(first.id, client=client, limit=2))
assert first.id not in [hit.id for hit in similar.hits]
assert similar.cursor is not None, similar
next_page = answer(
    SearchAnswer,
    similar_images.sync_detailed(first.id, client=client, limit=2, cursor=similar.cursor),
)
assert not {hit.id for hit in next_page.hits} & {hit.id for hit in similar.hits}, next_page
part = SearchRequest(
    id=first.id,
    region=Region(x=0.25, y=0.0, width=0.5, height=1.0),
    group=HitGrouping.NEAR,
    orientations=True,
    relative_score=0.1,
)
assert answer(SearchAnswer, search.sync_detailed(client=client, body=part)).hits

# Saved searches.
to_save = SavedSearchRequest(
    name="copies of the first picture", query=SavedQuery(id=first.id), band=Band.NEAR_DUPLICATE
)
created = create_saved_search.sync_detailed(client=client, body=to_save)
assert created.status_code == HTTPStatus.CREATED, created
saved = created.parsed
assert isinstance(saved, SavedSearch) and saved.webhook is None, saved
assert saved.query[0].id == first.id and saved.min_score is None, saved
every = answer(SavedSearchList, list_saved_searches.sync_detailed(client=client)).saved_searches
assert saved.id in [search.id for search in every], every
assert answer(SavedSearch, get_saved_search.sync_detailed(saved.id, client=client)) == saved
found = answer(SavedMatchList, list_matches.sync_detailed(saved.id, client=client, limit=5))
assert found.matches == [] and found.cursor is None, found
deleted = delete_saved_search.sync_detailed(saved.id, client=client)
assert deleted.status_code == HTTPStatus.NO_CONTENT, deleted
gone = get_saved_search.sync_detailed(saved.id, client=client).parsed
assert isinstance(gone, Problem) and gone.code == "no_such_saved_search", gone

# Failed files.
failures = answer(FailureList, list_failures.sync_detailed(client=client, ignored=True)).failures
truncated = next(failure for failure in failures if failure.preview_url is not None)
history = answer(FileHistory, explain_file.sync_detailed(client=client, id=truncated.id))
assert history.reason is not None and history.steps[0].after_ms is None, history
by_path = explain_file.sync_detailed(client=client, library=library, path=first.path)
assert answer(FileHistory, by_path).visible is True
preview = answer(File, preview_failure.sync_detailed(truncated.id, client=client))
assert preview.payload.read(2) == b"\xff\xd8"
selection = Selection(ids=[truncated.id])
assert answer(Selected, retry_failures.sync_detailed(client=client, body=selection)).not_found == 0
nothing = Selection(code=FailureCode.POISON, library=library)
assert answer(Selected, discard_failures.sync_detailed(client=client, body=nothing)).files == 0

# Libraries.
assert answer(Scanning, scan_library.sync_detailed(library, client=client)).scanning is True
confirmed = confirm_library.sync_detailed(library, client=client)
assert confirmed.status_code in (HTTPStatus.OK, HTTPStatus.CONFLICT), confirmed

# Keys: none is needed on this machine, and an unknown one is refused.
session = answer(Session, get_session.sync_detailed(client=client))
assert session.key_required is False and session.scopes == ["search", "ingest", "admin"], session
unknown_key = sign_in.sync_detailed(client=client, body=SignIn(key="lk_0_0")).parsed
assert isinstance(unknown_key, Problem) and unknown_key.code == "invalid_key", unknown_key
assert sign_out.sync_detailed(client=client).status_code == HTTPStatus.NO_CONTENT

# Events never end, so the client reads the first one only.
with client.get_httpx_client().stream("GET", "/v1/events") as events:
    assert events.status_code == HTTPStatus.OK
    assert next(events.iter_lines()).startswith(("event:", "id:", "data:")), events

# A picture is added to a folder, and moved to the trash.
sent = upload_image.sync_detailed(client=client, body=file(), library=library, folder="added", name="new.jpg")
assert sent.status_code == HTTPStatus.ACCEPTED, sent
upload = sent.parsed
assert isinstance(upload, Upload) and upload.created is True and upload.path == "added/new.jpg", upload
again = upload_image.sync_detailed(client=client, body=file(), library=library, folder="added", name="new.jpg")
repeated = answer(Upload, again)
assert repeated.id == upload.id and repeated.created is False, repeated
deadline = time.monotonic() + 60
while (present := answer(Upload, get_upload.sync_detailed(upload.id, client=client))).state == UploadState.LANDED:
    assert time.monotonic() < deadline, present
    time.sleep(0.1)
assert present.state == UploadState.INDEXED and present.image_id is not None, present
removed = remove_image.sync_detailed(present.image_id, client=client)
assert removed.status_code == HTTPStatus.ACCEPTED, removed
removal = removed.parsed
assert isinstance(removal, Removal) and Path(removal.trash_path).read_bytes() == picture, removal

# Errors have a type, too.
unknown = get_image.sync_detailed("0" * 32, client=client).parsed
assert isinstance(unknown, Problem) and unknown.code == "no_such_image", unknown
refused = list_images.sync_detailed(client=client, limit=5000).parsed
assert isinstance(refused, Problem) and refused.param == "limit", refused


def matches(pattern: str, path: str) -> bool:
    parts, names = path.split("/"), pattern.split("/")
    return len(parts) == len(names) and all(
        name.startswith("{") or name == part for name, part in zip(names, parts, strict=True)
    )


document = json.loads(Path(document_path).read_text())
missed = [
    operation["operationId"]
    for pattern, operations in document["paths"].items()
    for method, operation in operations.items()
    if not any(method == used and matches(pattern, path) for used, path in called)
]
assert not missed, f"add these operations to {__file__}: {missed}"
print(f"{len(called)} addresses called")
