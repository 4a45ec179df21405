// Requests to the API.

// A refused or failed request, with the service's own message.
export class Problem extends Error {
  constructor(body) {
    super(body.detail || body.title);
    this.title = body.title;
    this.code = body.code;
    this.requestId = body.request_id;
  }
}

export async function request(url, options = {}) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "Cannot reach lookalike", code: "unreachable",
      detail: "Is it still running? This page reconnects automatically." });
  }
  const id = response.headers.get("x-request-id");
  let body;
  try {
    body = await response.json();
  } catch {
    body = { title: "The response cannot be read", detail: `The service responded with status ${response.status}.`, request_id: id };
    if (response.ok) throw new Problem(body);
  }
  if (!response.ok) throw new Problem(body);
  return body;
}

export function post(url, body) {
  const json = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  return request(url, { method: "POST", ...json });
}
