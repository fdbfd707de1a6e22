// The rooms page in a real browser: it renders, sends, receives, scrolls back and keeps drafts, without a word on the console.
//
// MILLRACE_BASE_URL names a server in development mode; without it one is started (SERVER_BIN, else the debug build).

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import puppeteer from 'puppeteer-core';

let base = process.env.MILLRACE_BASE_URL;
let server;
let dataDir;
let browser;
const complaints = [];

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

async function startServer() {
  const port = await freePort();
  dataDir = mkdtempSync(join(tmpdir(), 'millrace-e2e-'));
  const program = process.env.SERVER_BIN || new URL('../../../target/debug/millrace', import.meta.url).pathname;
  const listen = `127.0.0.1:${port}`;
  server = spawn(program, ['serve', '--listen', listen, '--data-dir', dataDir], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  await new Promise((resolve, reject) => {
    const read = (chunk) => {
      log += chunk;
      if (log.includes('Millrace is ready')) resolve();
    };
    server.stdout.on('data', read);
    server.stderr.on('data', read);
    server.once('exit', (code) => reject(new Error(`the server ended with ${code}:\n${log}`)));
  });
  base = `http://${listen}`;
}

before(async () => {
  if (!base) await startServer();
  browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
}, { timeout: 120_000 });

after(async () => {
  await browser?.close();
  if (server) {
    const gone = new Promise((resolve) => server.once('exit', resolve));
    server.kill('SIGTERM');
    await gone;
    rmSync(dataDir, { recursive: true, force: true });
  }
});

// A page of somebody in a room, in a browser profile of its own. Whatever it complains about fails the test.
async function open(user, room) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(`${user}: ${message.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(`${user}: ${error.message}`));
  page.on('requestfailed', (request) => complaints.push(`${user}: ${request.url()} ${request.failure()?.errorText}`));
  page.on('response', (response) => {
    if (response.status() >= 400) complaints.push(`${user}: ${response.status()} ${response.url()}`);
  });
  await page.goto(`${base}/demo/rooms/?user=${user}&room=${room}`);
  await page.waitForSelector('#state.live');
  return page;
}

const texts = (page) => page.$$eval('#messages article p', (all) => all.map((one) => one.textContent));
const waitForText = (page, selector, text) => page.waitForFunction(
  (selector, text) => [...document.querySelectorAll(selector)].some((one) => one.textContent.includes(text)), {}, selector, text,
);

test('two people talk in a room', { timeout: 120_000 }, async () => {
  const room = `e2e-${Date.now().toString(36)}`;
  const session = await (await fetch(`${base}/demo/session.json?user=ada`)).json();
  for (let n = 0; n < 45; n += 1) {
    const said = await fetch(`${base}/api/rooms/${room}/messages/`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${session.token}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ text: `message ${n}` }),
    });
    assert.equal(said.status, 201);
  }

  const ada = await open('ada', room);
  const grace = await open('grace', room);
  assert.deepEqual(await texts(ada), Array.from({ length: 20 }, (_, n) => `message ${n + 25}`));
  await waitForText(ada, '#people', 'grace');

  // Scrolling back brings older messages, page by page, until there are none.
  for (const first of [5, 0]) {
    await ada.$eval('#messages', (list) => { list.scrollTop = 0; });
    await ada.waitForFunction((text) => document.querySelector('#messages article p').textContent === text, {}, `message ${first}`);
    await ada.$eval('#messages', (list) => { list.scrollTop = list.scrollHeight; });
  }
  assert.equal((await texts(ada)).length, 45);

  // Typing is seen, what is sent is heard, once.
  await ada.type('#text', 'hello ');
  await waitForText(grace, '#typing', 'ada');
  await ada.type('#text', 'grace');
  await ada.keyboard.press('Enter');
  await waitForText(grace, '#messages article p', 'hello grace');
  await grace.type('#text', 'hello ada');
  await grace.keyboard.press('Enter');
  await waitForText(ada, '#messages article p', 'hello ada');
  for (const page of [ada, grace]) {
    assert.deepEqual((await texts(page)).slice(-2), ['hello grace', 'hello ada']);
  }

  // What was begun is still there after a reload, and not for others.
  const saved = grace.waitForResponse((response) => response.url().includes('/draft/') && response.request().method() === 'POST');
  await grace.type('#text', 'to be continued');
  await saved;
  await grace.reload();
  await grace.waitForSelector('#state.live');
  assert.match(await grace.$eval('#text', (input) => input.value), /^to be/);
  assert.equal(await ada.$eval('#text', (input) => input.value), '');

  assert.deepEqual(complaints, []);
});
