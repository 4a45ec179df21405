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

// The path of this page, which a proxy may have moved.
const ROOT = new URL(".", document.baseURI).pathname;

let askForKey = async () => false;

// Sets what to do when the service requires a key: it resolves to whether the person signed in.
export function onKeyRequired(ask) {
  askForKey = ask;
}

// The address of an operation; `path` starts with /v1. Parameters that are null are left out.
export function apiUrl(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined)).toString();
  return `${ROOT}${path.slice(1)}${query && `?${query}`}`;
}

// If the service requires a key, asks for it and sends the request again.
export async function request(path, options = {}) {
  const { parameters, ...rest } = options;
  const url = apiUrl(path, parameters);
  const response = await send(url, rest);
  const signedIn = response.status === 401 && path !== "/v1/session" && await askForKey();
  return readBody(signedIn ? await send(url, rest) : response);
}

async function send(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "Cannot reach lookalike", code: "unreachable",
      detail: "Is it still running? This page reconnects automatically." });
  }
}

async function readBody(response) {
  if (response.status === 204) return undefined;
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

export function post(path, body, options = {}) {
  const json = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  return request(path, { method: "POST", ...json, ...options });
}

// Whether an older service, or one with other settings, does not have the operation.
export const isMissing = (error) => error.code === "no_such_route";

// Whether the key does not permit the operation.
export const isForbidden = (error) => error.code === "insufficient_scope";
