// Drives a headless Chromium for test_web.py. Each line of standard input is the body of an async function of
// (page, context, options), as JSON; each line of standard output is {"value"} or {"error"}, as JSON.

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const options = JSON.parse(process.argv[2]);
const browser = await chromium.launch({
  executablePath: options.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const context = await browser.newContext({
  ignoreHTTPSErrors: true, // the authority of a test's certificates is nobody's
  colorScheme: options.colorScheme ?? "light",
  viewport: options.viewport ?? { width: 1200, height: 850 },
});
const page = await context.newPage();
page.setDefaultTimeout(options.timeoutMs);
const faults = [];
page.on("pageerror", (error) => faults.push(String(error)));
page.on("console", (message) => {
  const refused = /^Failed to load resource: the server responded with a status of 4/; // the page explains those
  if (message.type() === "error" && !refused.test(message.text())) faults.push(message.text());
});
page.on("request", (request) => {
  const address = request.url();
  if (!address.startsWith(options.url) && !address.startsWith(options.receiver) && !address.startsWith("blob:"))
    faults.push(`asked for ${address}`);
});

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const run = new Function("page", "context", "options", "faults", `return (async () => { ${JSON.parse(line)} })()`);
    answer = { value: (await run(page, context, options, faults)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
