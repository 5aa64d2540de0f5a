// Reloads the page while it is visible. Without it, users reload it themselves.
"use strict";

const EVERY = 5000;

async function refresh() {
  const page = document.querySelector("main");
  // Not while a user is in a form or opens a list.
  if (document.hidden || page.contains(document.activeElement) && document.activeElement.matches("button, input")) {
    return;
  }
  const open = new Set([...page.querySelectorAll("details[open]")].map((details) => details.dataset.key));
  try {
    const answer = await fetch("/dashboard", { headers: { accept: "text/html" }, cache: "no-store" });
    if (answer.redirected) {
      location.assign(answer.url);
      return;
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    for (const details of fresh.querySelectorAll("details")) {
      details.open = open.has(details.dataset.key);
    }
    page.replaceWith(fresh);
    document.body.classList.remove("stale");
  } catch {
    document.body.classList.add("stale");
  }
}

setInterval(refresh, EVERY);
document.addEventListener("visibilitychange", refresh);
