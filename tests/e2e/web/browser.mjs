// Drives a headless Chromium for test_web.py. Each line of standard input is JSON: the body of an async function of
// (page, context, options, faults), or an object of options with which a new context begins, without cookies and with
// one page. Each line of standard output is {"value"} or {"error"}, as JSON.

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

let options = JSON.parse(process.argv[2]);
const browser = await chromium.launch({
  executablePath: options.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
let context, page, faults;

async function begin(wanted) {
  options = wanted;
  await context?.close();
  context = await browser.newContext({
    ignoreHTTPSErrors: true, // the authority of a test's certificates is nobody's
    colorScheme: options.colorScheme ?? "light",
    viewport: options.viewport ?? { width: 1200, height: 850 },
  });
  page = await context.newPage();
  page.setDefaultTimeout(options.timeoutMs);
  const noted = (faults = []);
  page.on("pageerror", (error) => noted.push(String(error)));
  page.on("console", (message) => {
    const refused = /^Failed to load resource: the server responded with a status of 4/; // the page explains those
    if (message.type() === "error" && !refused.test(message.text())) noted.push(message.text());
  });
  page.on("request", (request) => {
    const address = request.url();
    if (!address.startsWith(wanted.url) && !address.startsWith(wanted.receiver) && !address.startsWith("blob:"))
      noted.push(`asked for ${address}`);
  });
}

async function answerTo(line) {
  const asked = JSON.parse(line);
  if (typeof asked === "object") return begin(asked);
  const run = new Function("page", "context", "options", "faults", `return (async () => { ${asked} })()`);
  return run(page, context, options, faults);
}

await begin(options);

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { value: (await answerTo(line)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
