// docs/asyncapi.yaml by AsyncAPI's own parser: nothing may be wrong with it, and nothing is to be warned of.
//
//   node asyncapi.mjs FILE

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { Parser } from "@asyncapi/parser";

const [, , file] = process.argv;
const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"), { source: pathToFileURL(file).pathname });
// Hints of style, such as a newer minor version of AsyncAPI, are no more than that: severity 2 and 3.
const wrong = diagnostics.filter(({ severity }) => severity < 2);
for (const { code, message, path } of diagnostics) {
  console.log(`${code} at ${path.join("/")}: ${message}`);
}
if (wrong.length > 0 || !document) {
  process.exit(1);
}
console.log(`AsyncAPI ${document.version()}: ${document.channels().all().length} channels, ${document.operations().all().length} operations, ${document.allMessages().all().length} messages`);
