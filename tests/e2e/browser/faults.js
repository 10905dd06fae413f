/** What shuts somebody out of a page, as axe-core sees it. */
import { createRequire } from "node:module";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
/** Of the rules of WCAG 2.2 up to AA, and of axe's own. */
const SERIOUS = new Set(["serious", "critical"]);

/** Rule and elements, for each that is broken. The page's context must bypass its policy, or axe is not let in. */
export async function faults(page) {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.addScriptTag({ path: axe });
  const { violations } = await page.evaluate(() => axe.run());
  return violations.filter((it) => SERIOUS.has(it.impact)).map((it) => [it.id, it.nodes.map((node) => node.html)]);
}
