// Chromium at a door: pages, requests on connections that are kept, a WebSocket.
//
//   node door.mjs URL...
//
// Exit code 77: Chromium or playwright-core is not there.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';

const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
function unavailable(why) {
  console.error(why);
  process.exit(77);
}
let chromium;
try {
  ({ chromium } = createRequire(import.meta.url)('playwright-core'));
} catch {
  unavailable('playwright-core is not installed (tests/setup does it)');
}
if (!existsSync(executablePath)) unavailable(`${executablePath} is not there (tests/setup installs it)`);
setTimeout(() => {
  console.error('took longer than 100 s');
  process.exit(1);
}, 100_000).unref();

/** In the page. */
async function visit() {
  const echo = async (body) => (await fetch('/echo', { method: 'POST', body })).text();
  const echoed = [];
  for (let number = 0; number < 20; number += 1) echoed.push(await echo(`number ${number}`));
  const atOnce = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((n) => echo('x'.repeat(n * 10_000))));
  const head = await fetch('/large?100000', { method: 'HEAD' });

  const socket = new WebSocket('/ws'.replace(/^/, location.origin.replace('http', 'ws')));
  const messages = [];
  const texts = ['a', 'äöü €', 'x'.repeat(100_000)];
  const closed = await new Promise((done, fail) => {
    socket.onopen = () => texts.forEach((text) => socket.send(text));
    socket.onmessage = ({ data }) => {
      messages.push(data);
      if (messages.length === texts.length) socket.send('close');
    };
    socket.onerror = () => fail(new Error('the WebSocket failed'));
    socket.onclose = ({ code, reason, wasClean }) => done({ code, reason, wasClean });
  });
  return {
    echoed: echoed.every((text, number) => text === `number ${number}`),
    atOnce: atOnce.map((text) => text.length),
    length: head.headers.get('content-length'),
    messages: messages.every((text, number) => text === texts[number]),
    closed,
    secure: window.isSecureContext && Boolean(navigator.mediaDevices),
  };
}

const browser = await chromium.launch({
  executablePath,
  headless: true,
  timeout: 60_000,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
let code = 0;
try {
  for (const url of process.argv.slice(2)) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    await page.goto(url);
    assert.match(await page.textContent('body'), url.startsWith('https') ? /GET \/ \? 0 secure/ : /GET \/ \? 0 plain/);
    assert.deepEqual(await page.evaluate(visit), {
      echoed: true,
      atOnce: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((n) => n * 10_000),
      length: '100000',
      messages: true,
      closed: { code: 4000, reason: 'as you wish', wasClean: true },
      secure: true,
    });
    await context.close();
  }
  console.log('good');
} catch (error) {
  console.error(error);
  code = 1;
}
await browser.close();
process.exit(code);
