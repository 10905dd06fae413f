/** What AsyncAPI's own parser has to say of each of the documents that are named: one JSON object, by name. */
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const said = {};
for (const name of process.argv.slice(2)) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(name, "utf8"));
  said[name] = {
    operations: document?.operations().all().map((it) => it.id()) ?? [],
    faults: diagnostics.map((it) => `${it.code}: ${it.path.join(".")}: ${it.message}`),
  };
}
console.log(JSON.stringify(said));
