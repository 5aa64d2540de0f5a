// The dashboard in a real Chromium: log in, connect through the simulator's OAuth, ask for a sync, watch it finish.
//
//   WORKER, TOKEN   the worker's address, and its HTTP_API_TOKEN
//   SIMULATOR       the simulated Teamleader's
//   ADMIN, DATABASE a URL of PostgreSQL, and the worker's database, which is made to be away
//   SHOTS           where screenshots go
//   CHROMIUM        the browser

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const { WORKER: worker, TOKEN: token, SIMULATOR: simulator, ADMIN: admin, DATABASE: database, SHOTS: shots, CHROMIUM: executablePath } = process.env;
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

/** Pictures of the page as it is, at both widths, light and dark. */
async function shoot(name) {
  for (const [width, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(overflow <= 0, `${name} is ${overflow} pixels too wide on a ${width}`);
      await page.screenshot({ path: `${shots}/${name}-${width}-${colorScheme}.png`, fullPage: true });
      await page.screenshot({ path: `${shots}/${name}-${width}-${colorScheme}-top.png` });
    }
  }
  await page.setViewportSize(DESKTOP);
}

/** Whether the worker's database can be used. */
function setDatabase(isThere) {
  const cut = `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${database}'`;
  const statements = [`alter database ${database} allow_connections ${isThere}`, ...(isThere ? [] : [cut])];
  execFileSync("psql", ["--no-psqlrc", "--quiet", "--output=/dev/null", `--dbname=${admin}`, ...statements.map((sql) => `--command=${sql}`)]);
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
    await page.getByRole("link", { name: "To the dashboard" }).click();
    await page.getByText("authorized", { exact: true }).waitFor();
  });
  await step("a sync is asked for and watched to its end, without loading the page again", async () => {
    await page.getByRole("button", { name: "Sync everything" }).click();
    await page.evaluate(() => (window.same = true));
    await page.locator(".run .pill", { hasText: "completed" }).first().waitFor({ timeout: 120_000 });
    assert.equal(await page.evaluate(() => window.same), true);
    await page.locator("section", { has: page.getByRole("heading", { name: "Resources" }) }).locator("tr", { hasText: "contacts" }).waitFor();
    await shoot("full");
  });
  await step("a run opens, stays open when the page is refreshed, and shows its resources", async () => {
    await page.locator(".run summary").first().click();
    await page.locator("h2").first().click();
    await page.waitForResponse((answer) => answer.url().endsWith("/dashboard"));
    await page.locator(".run[open] td", { hasText: "contacts" }).waitFor();
    await shoot("run");
  });
  await step("a run that is under way tells how far it is, and when it will be done", async () => {
    await simulate("faults", { kind: "latency", milliseconds: 250, endpoint: "contacts.info" });
    await simulate("changes", { resource: "contacts", kind: "update", count: 400 });
    await page.getByRole("button", { name: "Sync what changed" }).click();
    await page.locator("progress").first().waitFor();
    await page.waitForFunction(() => document.querySelector("progress")?.value > 20);
    await shoot("running");
    await simulate("faults");
    await page.locator("progress").waitFor({ state: "detached" });
  });
  await step("what failed is told, with what to do", async () => {
    await simulate("faults", { kind: "forbidden", endpoint: "companies.info" });
    await simulate("faults", { kind: "forbidden", endpoint: "events.list" });
    await simulate("changes", { resource: "companies", kind: "update", count: 3 });
    await page.getByRole("button", { name: "Sync everything" }).click();
    await page.locator(".run .pill", { hasText: "partial" }).first().waitFor({ timeout: 120_000 });
    await page.getByText("does the integration lack a scope").first().waitFor();
    await shoot("partial");
    await simulate("faults");
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
    await bare.getByRole("heading", { name: "Runs" }).waitFor();
    await bare.locator(".run summary").first().click();
    assert.ok(await bare.locator(".run[open] table").isVisible());
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
      <input name="form_token" value="x"><button name="mode" value="full">Win</button></form>`;
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
  console.log(`Chromium ${browser.version()}: all steps passed`);
} catch (error) {
  console.error([...complaints, ...failed].join("\n"));
  await page.screenshot({ path: `${shots}/failure.png`, fullPage: true });
  throw error;
} finally {
  await browser.close();
}
