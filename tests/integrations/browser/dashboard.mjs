// The dashboard in a real Chromium: each page in each state of the account, by mouse, by keyboard and without JavaScript, with
// axe's rules of accessibility on each.
//
//   WORKER, TOKEN   the worker's address, and its HTTP_API_TOKEN
//   SIMULATOR       the simulated Teamleader's
//   ADMIN, DATABASE a URL of PostgreSQL, and the worker's database, which is made to be away
//   AMQP_URL, AMQP_PREFIX   the broker, and the names of this worker's exchanges
//   SHOTS           where screenshots go
//   CHROMIUM        the browser

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const { WORKER: worker, TOKEN: token, SIMULATOR: simulator, ADMIN: admin, DATABASE: database, SHOTS: shots, CHROMIUM: executablePath } = process.env;
const { AMQP_URL: broker, AMQP_PREFIX: prefix } = process.env;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: DESKTOP });
const page = await context.newPage();
const complaints = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));
const failed = [];
page.on("requestfailed", (request) => failed.push(`${request.url().replace(/\?.*/, "")}: ${request.failure()?.errorText}`));

/** What axe has against the page as it is. */
async function judge(name, of = page) {
  await of.evaluate(AXE);
  const { violations } = await of.evaluate(() => axe.run());
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`), [], `axe on ${name}`);
  judged.add(name);
}
const judged = new Set();

/** Pictures of the page as it is, light on a desktop and dark on a phone; axe judges both. */
async function shoot(name) {
  for (const [width, viewport, colorScheme] of [["phone", PHONE, "dark"], ["desktop", DESKTOP, "light"]]) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(overflow <= 0, `${name} is ${overflow} pixels too wide on a ${width}`);
    await page.screenshot({ path: `${shots}/${name}-${width}.png`, fullPage: true });
    await judge(`${name}, ${width}`);
  }
}

const sql = (statement, url = admin) =>
  execFileSync("psql", ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", `--dbname=${url}`, `--command=${statement}`]).toString().trim();
const inCopy = (statement) => sql(statement, admin.replace(/[^/]*$/, database));

/** Waits until the page has been refreshed once more, after what is on its way already. */
async function refreshed() {
  for (let times = 0; times < 2; times++) {
    await page.waitForResponse((answer) => answer.request().resourceType() === "fetch");
  }
}

/** Waits for the end of the run whose page this is. */
const ended = (status) => page.locator("h1 .pill", { hasText: status }).waitFor({ timeout: 120_000 });

/** Whether the worker's database can be used. */
function setDatabase(isThere) {
  sql(`alter database ${database} allow_connections ${isThere}`);
  if (!isThere) sql(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${database}'`);
}

async function simulate(path, body) {
  const answer = await fetch(`${simulator}/_simulator/${path}`, { method: body ? "POST" : "DELETE", body: body && JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.text()}`);
}

async function step(name, work) {
  await work();
  console.log(`ok ${name}`);
}

try {
  await step("a browser that is not logged in is sent to log in", async () => {
    await page.goto(`${worker}/dashboard`);
    assert.equal(new URL(page.url()).pathname, "/dashboard/login");
  });
  await step("a wrong token is refused", async () => {
    await page.getByLabel("Token").fill("another");
    const answered = page.waitForResponse((answer) => answer.request().method() === "POST");
    await page.getByRole("button", { name: "Log in" }).click();
    assert.equal((await answered).status(), 401);
    await page.getByText("That is not the token").waitFor();
    // The browser says so itself of any 401.
    complaints.length = 0;
    await shoot("login");
  });
  await step("the token logs in, by a cookie that scripts cannot read", async () => {
    await page.getByLabel("Token").fill(token);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { name: "Resources" }).waitFor();
    const cookies = await context.cookies();
    assert.ok(cookies.length > 0 && cookies.every((cookie) => cookie.httpOnly && cookie.sameSite === "Strict"), JSON.stringify(cookies));
    assert.equal(await page.evaluate(() => document.cookie), "");
    await page.getByText("Nothing was copied yet").waitFor();
    await shoot("empty");
  });
  await step("the account is connected through Teamleader's login", async () => {
    await page.getByRole("link", { name: "Connect to Teamleader" }).last().click();
    await page.getByText("code accepted").waitFor();
    await shoot("authorized");
    await page.getByRole("link", { name: "To the dashboard" }).click();
    await page.getByText("authorized", { exact: true }).waitFor();
  });
  await step("a sync is asked for, and its page watched to the end without loading it again", async () => {
    await page.getByRole("button", { name: "Sync everything" }).click();
    await page.evaluate(() => (window.same = true));
    await ended("completed");
    assert.equal(await page.evaluate(() => window.same), true);
    const contacts = page.locator("tr", { has: page.getByRole("link", { name: "contacts", exact: true }) });
    await contacts.locator("svg.bar").waitFor();
    await page.reload();
    await page.getByRole("region", { name: "Log lines" }).getByText("Listed 400 contacts").first().waitFor();
    await shoot("run");
  });
  await step("the overview shows it, with plots that are drawn", async () => {
    await page.goto(`${worker}/dashboard`);
    await page.getByRole("region", { name: "Resources" }).getByRole("link", { name: "contacts", exact: true }).waitFor();
    await page.getByRole("region", { name: "Workers" }).getByText("active", { exact: true }).waitFor();
    const drawn = await page.evaluate(() =>
      [...document.querySelectorAll("svg :is(rect, polygon, polyline)")].map((shape) => [shape.getBBox().width, shape.childElementCount]));
    assert.ok(drawn.length > 5 && drawn.every(([width, children]) => width > 0 && children === 0), JSON.stringify(drawn));
    await shoot("full");
  });
  await step("focus, selection and what is open stay when the page is refreshed", async () => {
    await page.getByText("The same as a table").click();
    await page.locator("#content a", { hasText: "incremental" }).or(page.locator("#content td a", { hasText: "full" })).first().focus();
    const focused = await page.evaluate(() => document.activeElement.href);
    await page.evaluate(() => getSelection().selectAllChildren(document.querySelector("#content h2")));
    await refreshed();
    const now = await page.evaluate(() => [document.activeElement.href, getSelection().toString(), document.querySelectorAll("details[open]").length]);
    assert.deepEqual(now, [focused, "Now", 1]);
  });
  await step("the keyboard leads everywhere", async () => {
    await page.goto(`${worker}/dashboard`);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "content", "the first link skips the navigation");
    const reach = async (name) => {
      for (let times = 0; times < 200; times++) {
        await page.keyboard.press("Tab");
        if (await page.evaluate((name) => document.activeElement.textContent.trim() === name, name)) return;
      }
      assert.fail(`${name} cannot be reached`);
    };
    await reach("contacts");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: "contacts" }).waitFor();
    await shoot("resource");
    await reach("Audit a sample");
    await page.keyboard.press("Enter");
    await ended("completed");
    await shoot("audit");
    await reach("Run again");
    await page.keyboard.press("Enter");
    await ended("completed");
  });
  await step("a run that is under way says how far it is, and is cancelled", async () => {
    await simulate("faults", { kind: "latency", milliseconds: 2_000, endpoint: "contacts.info" });
    await simulate("changes", { resource: "contacts", kind: "update", count: 400 });
    await page.goto(`${worker}/dashboard`);
    await page.getByRole("button", { name: "Sync what changed" }).click();
    await page.waitForFunction(() => document.querySelector("progress")?.value > 20, null, { timeout: 60_000 });
    await shoot("running");
    await page.goto(`${worker}/dashboard`);
    await page.locator("progress").first().waitFor();
    await shoot("overview-running");
    await page.getByRole("button", { name: "Cancel" }).click();
    await ended("cancelled");
    await simulate("faults");
  });
  await step("what failed is named, with what to do", async () => {
    await simulate("faults", { kind: "forbidden", endpoint: "companies.info" });
    await simulate("faults", { kind: "forbidden", endpoint: "events.list" });
    await simulate("changes", { resource: "companies", kind: "update", count: 3 });
    await page.goto(`${worker}/dashboard`);
    await page.getByRole("button", { name: "Sync everything" }).click();
    await ended("partial");
    await page.getByText("once the integration has the scope").first().waitFor();
    await shoot("partial");
    await page.goto(`${worker}/dashboard`);
    await page.getByText("companies failed").waitFor();
    await shoot("overview-failed");
    await simulate("faults");
  });
  await step("deletions that are held are allowed after a question", async () => {
    await simulate("changes", { resource: "companies", kind: "delete", count: 60 });
    await page.goto(`${worker}/dashboard/resources/companies`);
    await page.getByRole("button", { name: "Sync everything" }).click();
    await ended("failed");
    await page.goto(`${worker}/dashboard/resources/companies`);
    await page.getByText("are missing from Teamleader and were not marked deleted").waitFor();
    await shoot("held");
    await page.getByText("They are rightly deleted", { exact: true }).click();
    await page.getByRole("button", { name: "mark what is missing deleted" }).click();
    await ended("completed");
    await page.goto(`${worker}/dashboard/resources/companies`);
    await page.getByRole("heading", { level: 1, name: "companies" }).waitFor();
    assert.equal(await page.getByText("were not marked deleted").count(), 0);
  });
  await step("runs are filtered, and turned page by page", async () => {
    await page.getByRole("link", { name: "Runs", exact: true }).click();
    await shoot("runs");
    await page.getByLabel("Status").selectOption("partial");
    await page.getByRole("button", { name: "Filter" }).click();
    await page.locator("tbody tr").first().waitFor();
    assert.deepEqual(await page.locator("tbody tr .pill").allTextContents(), ["partial"]);
    inCopy(`insert into teamleader2db.sync_run (account, id, request, status, started_at, finished_at)
      select 'default', gen_random_uuid(), '{"mode": "incremental"}', 'completed', now() - interval '1 day' * n, now() - interval '1 day' * n + interval '1 minute'
      from generate_series(1, 40) n`);
    await page.goto(`${worker}/dashboard/runs`);
    const first = await page.locator("tbody tr").count();
    await page.getByRole("button", { name: "Older" }).click();
    await page.getByRole("button", { name: "Newest" }).waitFor();
    assert.equal(first, 25);
    assert.ok((await page.locator("tbody tr").count()) > 10);
  });
  await step("a record is found by its id", async () => {
    const id = inCopy("select id from teamleader.contacts where deleted_at is null limit 1");
    await page.getByRole("link", { name: "Records", exact: true }).click();
    await page.getByLabel("Id in Teamleader").fill("nonsense");
    await page.keyboard.press("Enter");
    await page.getByText("That is no id").waitFor();
    await page.getByLabel("Id in Teamleader").fill(id);
    await page.keyboard.press("Enter");
    await page.locator("pre", { hasText: `"id": "${id}"` }).waitFor();
    await shoot("record");
  });
  await step("a dead letter is shown, and dropped", async () => {
    execFileSync("amqp-publish", [`--url=${broker}`, `--exchange=${prefix}.requests`, "--routing-key=default", '--body={"mode": "all of it"}']);
    await page.goto(`${worker}/dashboard/queue`);
    for (let times = 0; times < 60 && (await page.getByText("Drop", { exact: true }).count()) === 0; times++) {
      await page.waitForTimeout(500);
      await page.reload();
    }
    await shoot("queue");
    await page.getByText("Drop", { exact: true }).click();
    await page.getByRole("button", { name: "Drop it for good" }).click();
    await page.getByText("None.", { exact: true }).waitFor();
  });
  await step("what cannot be done is said on the dashboard", async () => {
    assert.deepEqual(complaints, []);
    await page.goto(`${worker}/dashboard`);
    await page.evaluate(() => document.querySelectorAll("[name=form_token]").forEach((field) => (field.value = "old")));
    await page.getByRole("button", { name: "Sync what changed" }).click();
    await page.getByText("This was not done").waitFor();
    await page.getByRole("link", { name: "To the dashboard" }).click();
    // The browser says so itself of any 403.
    complaints.length = 0;
    for (const [path, status] of [["runs/7", 404], ["runs/7d6a6d3e-3d65-4b0f-8a58-3a7c5f1b9d10", 200], ["resources/nothing", 404]]) {
      assert.equal((await page.goto(`${worker}/dashboard/${path}`)).status(), status);
      await judge(path);
    }
    complaints.length = 0;
  });
  await step("an error of a proxy leaves what is shown, as old, until the next refresh", async () => {
    await page.goto(`${worker}/dashboard`);
    const isFetch = (route) => route.request().resourceType() === "fetch";
    await page.route("**/dashboard", (route) =>
      isFetch(route) ? route.fulfill({ status: 502, contentType: "text/html", body: "<body><h1>Bad Gateway</h1></body>" }) : route.continue());
    await page.locator("body.stale").waitFor({ timeout: 15_000 });
    await page.getByRole("heading", { name: "Resources" }).waitFor();
    await page.unroute("**/dashboard");
    await page.locator("body:not(.stale)").waitFor({ timeout: 15_000 });
    // The browser says so itself of any 502.
    complaints.length = 0;
  });
  await step("while Teamleader is down, it says so", async () => {
    await simulate("faults", { kind: "server_error", status: 503, times: 1_000_000 });
    await page.goto(`${worker}/dashboard`);
    await page.getByRole("button", { name: "Sync what changed" }).click();
    await page.locator("#state", { hasText: "waits for Teamleader" }).waitFor({ timeout: 90_000 });
    await shoot("waiting");
    await simulate("faults");
    await page.getByRole("button", { name: "Cancel" }).click();
    await ended("cancelled");
  });
  await step("without its database it says so, and comes back by itself", async () => {
    assert.deepEqual(complaints, []);
    setDatabase(false);
    await page.goto(`${worker}/dashboard`);
    await page.getByText("database", { exact: false }).first().waitFor();
    await shoot("broken");
    setDatabase(true);
    await page.getByRole("heading", { name: "Resources" }).waitFor({ timeout: 60_000 });
    // The browser says so itself of any 503.
    complaints.length = 0;
  });
  await step("it works without JavaScript", async () => {
    const plain = await browser.newContext({ javaScriptEnabled: false, storageState: await context.storageState() });
    const bare = await plain.newPage();
    await bare.goto(`${worker}/dashboard`);
    await bare.getByRole("button", { name: "Sync what changed" }).click();
    await bare.getByRole("link", { name: "Overview" }).click();
    await bare.getByText("The same as a table").click();
    assert.ok(await bare.locator("details[open] table").isVisible());
    await bare.getByRole("link", { name: "Runs", exact: true }).click();
    await bare.locator("tbody a").first().click();
    await bare.getByRole("heading", { name: "Log" }).waitFor();
    await plain.close();
  });
  await step("Swagger UI is there, without the network", async () => {
    const foreign = [];
    page.on("request", (request) => !request.url().startsWith(worker) && !request.url().startsWith("data:") && foreign.push(request.url()));
    await page.goto(`${worker}/`);
    await page.locator(".opblock-summary-path", { hasText: "/sync/teamleader" }).first().waitFor();
    assert.deepEqual(foreign, []);
  });
  await step("a page of another site cannot send the form", async () => {
    const page_of_another_site = `<form method="post" action="${worker}/dashboard/sync">
      <input name="form_token" value="x"><button name="ask" value="full">Win</button></form>`;
    const site = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(page_of_another_site));
    await new Promise((listening) => site.listen(0, "localhost", listening));
    const forged = await context.newPage();
    await forged.goto(`http://localhost:${site.address().port}/`);
    await forged.getByRole("button", { name: "Win" }).click();
    await forged.getByText("a page of another site may not do this").waitFor();
    await forged.close();
    site.close();
    site.closeAllConnections();
  });
  await step("logging out ends it, for a copy of the cookie as well", async () => {
    await page.goto(`${worker}/dashboard`);
    const copied = await context.cookies();
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Token").waitFor();
    await context.addCookies(copied);
    await page.goto(`${worker}/dashboard`);
    assert.equal(new URL(page.url()).pathname, "/dashboard/login");
  });
  await step("an authorization asks for the login, and goes on after it", async () => {
    await page.goto(`${worker}/sync/authorize`);
    assert.equal(new URL(page.url()).pathname, "/dashboard/login");
    await page.getByLabel("Token").fill(token);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByText("code accepted").waitFor();
  });
  assert.deepEqual(complaints, [], "the browser complained");
  console.log(`Chromium ${browser.version()}: all steps passed; axe judged ${judged.size} pages`);
} catch (error) {
  console.error([...complaints, ...failed].join("\n"));
  await page.screenshot({ path: `${shots}/failure.png`, fullPage: true });
  throw error;
} finally {
  await browser.close();
}
