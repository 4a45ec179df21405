// Drives a running lookalike through every operation with openapi-fetch and the types that
// openapi-typescript generated.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, operations, paths } from "./schema.js";

type Schemas = components["schemas"];
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

// What may be null is null in the types, and closed sets are unions. These lines compile only if so.
const hitTakenAt: Equal<Schemas["Hit"]["taken_at"], string | null> = true;
const bandOfHit: Equal<Schemas["Hit"]["band"], Schemas["Band"] | null> = true;
const imageCamera: Equal<Schemas["Image"]["camera"], string | null> = true;
const nextCursor: Equal<Schemas["FailureList"]["cursor"], string | null> = true;
const statsCount: Equal<Schemas["Stats"]["indexed"], number | null> = true;
const policy: Equal<Schemas["Reason"]["retry_policy"], "permanent" | "transient" | "rule"> = true;
const requestedId: Equal<Schemas["SearchRequest"]["id"], string | null | undefined> = true;
void [hitTakenAt, bandOfHit, imageCamera, nextCursor, statsCount, policy, requestedId];

const [url, documentPath, picturePath] = process.argv.slice(2) as [string, string, string];
const picture = readFileSync(picturePath);
const client = createClient<paths>({ baseUrl: url });
const called = new Set<string>();
client.use({
  onRequest({ request, schemaPath }) {
    called.add(`${request.method.toLowerCase()} ${schemaPath}`);
  },
});

/** Returns the body of a successful response. */
function answer<Body>(result: { data?: Body; error?: unknown; response: Response }): Body {
  assert.equal(result.response.status, 200, JSON.stringify(result.error));
  assert.ok(result.data !== undefined);
  return result.data;
}

function first<Item>(items: Item[]): Item {
  const item = items[0];
  assert.ok(item !== undefined);
  return item;
}

// Status.
const stats = answer(await client.GET("/v1/stats"));
assert.ok(stats.indexed !== null && stats.indexed > 0 && stats.rollover_error === null);
const library = first(answer(await client.GET("/v1/libraries")).libraries).name;

// Images, page by page.
const images: Schemas["Image"][] = [];
let cursor: string | null = null;
do {
  const query: NonNullable<operations["listImages"]["parameters"]["query"]> = { library, limit: 5 };
  if (cursor !== null) query.cursor = cursor;
  const page: Schemas["ImageList"] = answer(await client.GET("/v1/images", { params: { query } }));
  images.push(...page.images);
  cursor = page.cursor;
} while (cursor !== null);
assert.equal(images.length, stats.indexed);
assert.ok(images.some((image) => image.taken_at === null));
assert.ok(images.some((image) => image.taken_at !== null));
for (const image of images) {
  const params = { path: { id: image.id } };
  assert.deepEqual(answer(await client.GET("/v1/images/{id}", { params })), image);
}
const image = first(images);
const path = { id: image.id };
const content: Blob = answer(
  await client.GET("/v1/images/{id}/content", { params: { path }, parseAs: "blob" }),
);
assert.equal(content.size, image.bytes);
const thumbnail: Blob = answer(
  await client.GET("/v1/images/{id}/thumbnail", {
    params: { path, query: { size: 64 } },
    parseAs: "blob",
  }),
);
assert.equal(thumbnail.type, "image/jpeg");

const facets = answer(await client.GET("/v1/facets", { params: { query: { library } } }));
assert.equal(facets.images, images.length);

const duplicates = answer(
  await client.GET("/v1/duplicates", { params: { query: { kind: "identical", library } } }),
);
assert.ok(duplicates.groups.every((group) => first(group.images).keep && group.images.length > 1));
const second = images[1];
assert.ok(second !== undefined);
const comparison = answer(
  await client.GET("/v1/compare", { params: { query: { a: image.id, b: second.id } } }),
);
assert.ok(comparison.a.id === image.id && !comparison.same_content);

// Searches.
const byFile = answer(
  await client.POST("/v1/search/image", {
    params: { query: { limit: 3 } },
    body: "a picture",
    bodySerializer: () => picture,
    headers: { "Content-Type": "application/octet-stream" },
  }),
);
assert.ok(byFile.hits.length === 3 && first(byFile.hits).score > 0.9);
const byForm = answer(
  await client.POST("/v1/search/image", {
    params: { query: { limit: 3 } },
    body: { image: "a picture" },
    bodySerializer: () => {
      const form = new FormData();
      form.set("image", new Blob([picture]), "query.jpg");
      return form;
    },
  }),
);
assert.deepEqual(byForm.hits.map((hit) => hit.id), byFile.hits.map((hit) => hit.id));
const combined: Schemas["SearchRequest"] = {
  image: picture.toString("base64"),
  positive: [{ id: image.id, weight: 0.5 }],
  negative: [{ id: images[1]?.id ?? null }],
  text: null,
  min_score: -1,
  limit: 4,
};
assert.equal(answer(await client.POST("/v1/search", { body: combined })).hits.length, 4);
const similar = answer(
  await client.GET("/v1/images/{id}/similar", { params: { path, query: { limit: 2 } } }),
);
assert.ok(similar.hits.every((hit) => hit.id !== image.id));
assert.ok(similar.cursor !== null);
const nextPage = answer(
  await client.GET("/v1/images/{id}/similar", {
    params: { path, query: { limit: 2, cursor: similar.cursor } },
  }),
);
const firstIds = similar.hits.map((hit) => hit.id);
assert.ok(nextPage.hits.every((hit) => !firstIds.includes(hit.id)));
const part: Schemas["SearchRequest"] = {
  id: image.id,
  region: { x: 0.25, y: 0, width: 0.5, height: 1 },
  group: "near",
  orientations: true,
  relative_score: 0.1,
};
const folded = answer(await client.POST("/v1/search", { body: part })).hits;
assert.ok(folded.every((hit) => hit.folded === null || hit.folded.count > 0));

// Saved searches.
const created = await client.POST("/v1/saved-searches", {
  body: { name: "copies", query: { id: image.id }, band: "near_duplicate" },
});
assert.equal(created.response.status, 201, JSON.stringify(created.error));
const saved = created.data;
assert.ok(saved !== undefined && saved.webhook === null && first(saved.query).id === image.id);
const every = answer(await client.GET("/v1/saved-searches")).saved_searches;
assert.ok(every.some((search) => search.id === saved.id));
const savedPath = { params: { path: { id: saved.id } } };
assert.deepEqual(answer(await client.GET("/v1/saved-searches/{id}", savedPath)), saved);
const found = answer(await client.GET("/v1/saved-searches/{id}/matches", savedPath));
assert.ok(found.matches.length === 0 && found.cursor === null);
const deleted = await client.DELETE("/v1/saved-searches/{id}", savedPath);
assert.equal(deleted.response.status, 204);
const gone = await client.GET("/v1/saved-searches/{id}", savedPath);
assert.equal(gone.error?.code, "no_such_saved_search");

// Failed files.
const listed = answer(await client.GET("/v1/failures", { params: { query: { ignored: true } } }));
const truncated = listed.failures.find((failure) => failure.preview_url !== null);
assert.ok(truncated !== undefined);
const history = answer(await client.GET("/v1/why", { params: { query: { id: truncated.id } } }));
assert.ok(history.reason !== null && first(history.steps).after_ms === null);
const byPath = await client.GET("/v1/why", { params: { query: { library, path: image.path } } });
assert.equal(answer(byPath).visible, true);
const preview: Blob = answer(
  await client.GET("/v1/failures/{id}/preview", {
    params: { path: { id: truncated.id } },
    parseAs: "blob",
  }),
);
assert.equal(preview.type, "image/jpeg");
const retried = await client.POST("/v1/failures/retry", { body: { ids: [truncated.id] } });
assert.equal(answer(retried).not_found, 0);
const discarded = await client.POST("/v1/failures/discard", { body: { code: "poison", library } });
assert.equal(answer(discarded).files, 0);

// Libraries.
const name = { params: { path: { name: library } } };
assert.equal(answer(await client.POST("/v1/libraries/{name}/scan", name)).scanning, true);
const confirmed = await client.POST("/v1/libraries/{name}/confirm", name);
assert.ok([200, 409].includes(confirmed.response.status));

// Keys: none is needed on this machine, and an unknown one is refused.
const session = answer(await client.GET("/v1/session"));
assert.ok(!session.key_required && session.scopes.length === 3);
const unknownKey = await client.POST("/v1/session", { body: { key: "lk_0_0" } });
assert.equal(unknownKey.error?.code, "invalid_key");
assert.equal((await client.DELETE("/v1/session")).response.status, 204);

// Events never end, so the client reads the first ones only.
const events = answer(await client.GET("/v1/events", { parseAs: "stream" }));
assert.ok(events !== null);
const reader = (events as unknown as ReadableStream<Uint8Array>).getReader();
assert.ok(!(await reader.read()).done);
await reader.cancel();

// A picture is added to a folder, and moved to the trash.
const send = () =>
  client.POST("/v1/images", {
    params: { query: { library, folder: "added", name: "new.jpg" } },
    body: "a picture",
    bodySerializer: () => picture,
    headers: { "Content-Type": "application/octet-stream" },
  });
const sent = await send();
assert.equal(sent.response.status, 202, JSON.stringify(sent.error));
const upload = sent.data;
assert.ok(upload !== undefined && upload.created === true && upload.path === "added/new.jpg");
const repeated = answer(await send());
assert.ok(repeated.id === upload.id && repeated.created === false);
const uploadPath = { params: { path: { id: upload.id } } };
let present = answer(await client.GET("/v1/uploads/{id}", uploadPath));
for (const deadline = Date.now() + 60_000; present.state === "landed"; ) {
  assert.ok(Date.now() < deadline, JSON.stringify(present));
  await new Promise((resolve) => setTimeout(resolve, 100));
  present = answer(await client.GET("/v1/uploads/{id}", uploadPath));
}
assert.ok(present.state === "indexed" && present.image_id !== null);
const removed = await client.DELETE("/v1/images/{id}", { params: { path: { id: present.image_id } } });
assert.equal(removed.response.status, 202, JSON.stringify(removed.error));
const removal = removed.data;
assert.ok(removal !== undefined && readFileSync(removal.trash_path).equals(picture));

// Errors have a type, too.
const unknown = await client.GET("/v1/images/{id}", { params: { path: { id: "0".repeat(32) } } });
assert.equal(unknown.error?.code, "no_such_image");
const refused = await client.GET("/v1/images", { params: { query: { limit: 5000 } } });
assert.equal(refused.error?.param, "limit");

const document = JSON.parse(readFileSync(documentPath, "utf8")) as { paths: Record<string, object> };
const missed = Object.entries(document.paths)
  .flatMap(([pattern, methods]) => Object.keys(methods).map((method) => `${method} ${pattern}`))
  .filter((operation) => !called.has(operation));
assert.deepEqual(missed, [], "add these operations to drive.ts");
console.log(`${called.size} operations called`);
