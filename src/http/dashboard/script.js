// Refreshes the page while it is visible, in place: what has not changed stays, with focus, selection and what is open.
// Without it, users load the page again.
"use strict";

const EVERY = 5000;

/** What of an element the user has changed, and a refresh leaves: whether a list is open, and what a field holds. */
function keepsTheUsers(attribute, node) {
  const own = { DETAILS: ["open"], INPUT: ["value", "checked"], SELECT: ["value"], OPTION: ["selected"] };
  return !own[node.tagName]?.includes(attribute);
}

async function refresh() {
  const body = document.body;
  if (document.hidden || !("refreshes" in body.dataset)) {
    return;
  }
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
    if (answer.redirected) {
      location.assign(answer.url);
      return;
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    // An error of a proxy or of a process that starts: what is shown stays, as old, and is refreshed again.
    const isPage = fresh.querySelector("main#content") && (answer.ok || "refreshes" in fresh.body.dataset);
    if (!isPage) {
      body.classList.add("stale");
      return;
    }
    Idiomorph.morph(body, fresh.body, {
      ignoreActiveValue: true,
      callbacks: { beforeAttributeUpdated: keepsTheUsers },
    });
    body.classList.remove("stale");
  } catch {
    body.classList.add("stale");
  }
}

setInterval(refresh, EVERY);
document.addEventListener("visibilitychange", refresh);
