// Asks for an API key where the service requires one.

import { onKeyRequired, post } from "./client.js";
import { $ } from "./dom.js";

let pending = null;
let onSignedIn = () => {};
let isDeclined = false;

// Several requests may fail at once: they share one question. Who closes it is not asked again before
// the page is loaded again.
async function askForKey() {
  if (isDeclined) return false;
  pending ??= new Promise((resolve) => {
    $("sign-in").addEventListener("close", () => {
      pending = null;
      isDeclined = $("sign-in").returnValue !== "done";
      resolve(!isDeclined);
    }, { once: true });
    $("sign-in").returnValue = "";
    $("sign-in-error").textContent = "";
    $("sign-in").showModal();
    $("sign-in-key").focus();
  });
  return pending;
}

async function signIn(event) {
  event.preventDefault();
  try {
    await post("/v1/session", { key: $("sign-in-key").value.trim() });
    onSignedIn();
    $("sign-in-key").value = "";
    $("sign-in").close("done");
  } catch (error) {
    $("sign-in-error").textContent = error.message;
    $("sign-in-key").select();
  }
}

// `signedIn` is called after each sign-in: another key permits other pictures.
export function startSignIn(signedIn) {
  onSignedIn = signedIn;
  $("sign-in-form").addEventListener("submit", signIn);
  onKeyRequired(askForKey);
}
