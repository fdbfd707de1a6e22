// A real Firefox that takes its pushes from our push service, on a page with a service worker.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import puppeteer from "puppeteer-core";

export function findFirefox() {
  const places = [process.env.FIREFOX, "/usr/bin/firefox-esr", "/usr/bin/firefox", "/Applications/Firefox.app/Contents/MacOS/firefox"];
  const found = places.find((place) => place && existsSync(place));
  if (!found) throw new Error("there is no Firefox: install firefox-esr, or set FIREFOX to its path");
  return found;
}

/** Opens the page. `said` holds the pushes that its service worker was given. */
export async function openFirefox(pushServicePort) {
  const executablePath = findFirefox();
  const types = { html: "text/html", js: "text/javascript" };
  const server = createServer(async (request, response) => {
    const name = request.url === "/sw.js" ? "sw.js" : "index.html";
    const file = await readFile(new URL(`page/${name}`, import.meta.url));
    response.writeHead(200, { "content-type": types[name.split(".")[1]] }).end(file);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath,
    headless: true,
    extraPrefsFirefox: {
      // Without a desktop there is no system to show notifications.
      "alerts.useSystemBackend": false,
      // Switched off by default in a browser that is driven.
      "dom.push.connection.enabled": true,
      "dom.push.serverURL": `ws://localhost:${pushServicePort}/`,
      "dom.push.testing.allowInsecureServerURL": true,
      "dom.push.testing.ignorePermission": true,
      "permissions.default.desktop-notification": 1,
    },
  });
  const page = await browser.newPage();
  await page.goto(`http://localhost:${server.address().port}/`);
  return {
    page,
    close: async () => {
      await browser.close();
      server.closeAllConnections();
      server.close();
    },
  };
}
