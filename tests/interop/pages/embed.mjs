// The player in pages of other origins: docs/embed/module.html and docs/embed/iframe.html, as they stand there.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Example, photograph, text, until } from './harness.mjs';

const TOKEN = 'show-me-the-pictures';

/** Serves the documented pages, with this server's address and a token in them; gives the origin. */
async function site() {
  const pages = { url: '', token: TOKEN };
  const server = createServer((request, answer) => {
    if (!/^\/(module|iframe)\.html$/.test(request.url)) return answer.writeHead(404).end();
    const html = readFileSync(new URL(`../../../docs/embed${request.url}`, import.meta.url), 'utf8');
    for (const documented of ['http://localhost:8080', 'show-me']) assert(html.includes(documented), documented);
    const page = html.replaceAll('http://localhost:8080', pages.url).replaceAll('show-me', pages.token);
    answer.setHeader('Content-Type', 'text/html').end(page);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { pages, origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

const player = (frame) => frame.evaluate(() => {
  const element = document.querySelector('looprtc-player');
  return element?.video && { state: element.state, at: element.video.currentTime, words: element.veil.textContent };
}).catch(() => null);

/** Pictures are shown, and go on. */
async function plays(frame) {
  const shown = await until('the player to be live', async () => {
    const now = await player(frame);
    return now?.state === 'live' && now.at > 0 && now;
  });
  await until('the player to go on', async () => (await player(frame)).at > shown.at + 0.5);
}

const says = (frame, state, words) => until(`the player to be ${state}: ${words}`, async () => {
  const now = await player(frame);
  return now?.state === state && words.test(now.words);
});

export const embed = {
  async embedded(open) {
    const [friend, stranger] = [await site(), await site()];
    const looprtc = new Example('serve', '--listen', '127.0.0.1:0', '--token', TOKEN, '--allow-origin', friend.origin, 'cam=whip:');
    const url = await looprtc.url();
    friend.pages.url = url;
    stranger.pages.url = url;

    // The module: whoever has the token may embed it.
    let page = await open(`${stranger.origin}/module.html`);
    await plays(page);
    assert.match(await text(page, '#state'), /^live: /);
    await photograph(page, 'embed-module');
    // Another stream by its attribute, one without a publisher, and none.
    const show = (name, value) => page.evaluate(([n, v]) => document.querySelector('looprtc-player').setAttribute(n, v), [name, value]);
    await show('stream', 'cam');
    await says(page, 'waiting', /waiting for its publisher/i);
    await show('stream', 'none');
    await says(page, 'failed', /no stream|none/i);
    await show('stream', 'testcard');
    await plays(page);
    await show('token', 'a-guess-that-is-wrong');
    await says(page, 'refused', /not the token/);
    await show('token', '');
    // The stranger may not even ask without one: its browser says nothing of why.
    await says(page, 'failed', /does not allow this page/);

    // The iframe: for pages of the origins that the server allows.
    page = await open(`${friend.origin}/iframe.html`);
    const frame = await until('the frame', () => page.frames().find((f) => f.url().includes('/embed/testcard')));
    await plays(frame);
    await photograph(page, 'embed-iframe');
    page = await open(`${friend.origin}/module.html`);
    await page.evaluate(() => document.querySelector('looprtc-player').setAttribute('token', ''));
    await says(page, 'refused', /needs a token/);

    const strange = await open('about:blank');
    const said = [];
    strange.on('console', (message) => said.push(message.text()));
    await strange.goto(`${stranger.origin}/iframe.html`);
    await until('the browser to refuse the frame', () => said.some((line) => line.includes('frame-ancestors')));
    for (const inner of strange.frames()) assert(!(await player(inner)));

    // Its own address, for a person.
    page = await open(`${url}/embed/testcard#token=${TOKEN}`);
    await plays(page);
    friend.close();
    stranger.close();
  },

  /** Without a token at all: open to whoever comes, and to pages of the origins that are allowed. */
  async embedded_without_a_token(open) {
    const friend = await site();
    friend.pages.token = '';
    const looprtc = new Example('serve', '--listen', '127.0.0.1:0', '--open', '--allow-origin', friend.origin);
    friend.pages.url = await looprtc.url();
    await plays(await open(`${friend.origin}/module.html`));
    const page = await open(`${friend.origin}/iframe.html`);
    await plays(await until('the frame', () => page.frames().find((f) => f.url().includes('/embed/testcard'))));
    friend.close();
  },
};
