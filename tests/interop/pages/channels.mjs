// The examples with data channels.
import assert from 'node:assert/strict';
import { Example, heard, photograph, shows, text, until } from './harness.mjs';

/** Text in both directions. */
async function converses(page, example) {
  await shows(page, '#state', /^Connected$/);
  await until('two messages', async () => (await heard(page, 'program')) >= 2);
  await page.fill('#text', 'Grüße from the page');
  await page.click('#send');
  await example.line(/'Grüße from the page'/);
}

const quick = ['--http', '127.0.0.1:0', '--interval', '0.3'];

export const channels = {
  async data_channels(open) {
    const example = new Example(...quick);
    const url = await example.url();
    const page = await open(url);
    await converses(page, example);
    // Nonsense is refused and changes nothing; a second page is a second peer.
    for (const body of ['nonsense', '{"type":"offer","sdp":"v=0"}', '{"type":"answer","sdp":""}']) {
      const answer = await fetch(`${url}offer`, { method: 'POST', body });
      assert.equal(answer.status, 400, body);
      assert.match(await answer.text(), /\w/);
    }
    assert.equal((await fetch(`${url}elsewhere`)).status, 404);
    const second = await open(url);
    await converses(second, example);
    // One that leaves does not take the other with it.
    await second.close();
    await example.line(/^Peer .*: connection closed/);
    await converses(page, example);
    await photograph(page, 'data_channels');
  },

  async data_channels_paste(open) {
    const example = new Example(...quick, '--paste');
    const page = await open(await example.url());
    await until('an offer', () => page.inputValue('#offer'));
    await photograph(page, 'data_channels_paste');
    example.write(await page.inputValue('#offer'));
    const [answer] = await example.line(/^[A-Za-z0-9+/=]{100,}$/);
    await page.fill('#answer', answer);
    await page.click('#connect');
    await converses(page, example);
  },

  async data_channels_create(open) {
    const example = new Example(...quick);
    const url = await example.url();
    const page = await open(url);
    await converses(page, example);
    const { status, headers } = await fetch(`${url}offer`);
    assert.equal(status, 200);
    const bad = await fetch(new URL(headers.get('Location'), url), { method: 'POST', body: 'nonsense' });
    assert.equal(bad.status, 400);
    const answer = await fetch(`${url}answer/9.9`, { method: 'POST', body: '{"type":"answer","sdp":"v=0"}' });
    assert.equal(answer.status, 404);
    await photograph(page, 'data_channels_create');
  },

  async data_channels_create_paste(open) {
    const example = new Example(...quick, '--paste');
    const page = await open(await example.url());
    const [offer] = await example.line(/^[A-Za-z0-9+/=]{100,}$/);
    await page.fill('#offer', offer);
    await page.click('#take');
    await until('an answer', () => page.inputValue('#answer'));
    await photograph(page, 'data_channels_create_paste');
    example.write(await page.inputValue('#answer'));
    await converses(page, example);
  },

  async ice_restart(open) {
    const example = new Example(...quick);
    const page = await open(await example.url());
    await shows(page, '#state', /^Connected$/);
    await shows(page, '#remote', /port \d+/);
    const seen = new Set();
    for (let restart = 1; restart <= 3; restart++) {
      const [ufrags] = await until('new credentials', async () => {
        const match = /^(\S+ here, \S+ there)$/.exec(await text(page, '#ufrags'));
        return match && !seen.has(match[0]) && match;
      });
      seen.add(ufrags);
      const lines = parseInt(await text(page, '#lines'));
      await page.click('#restart:enabled');
      await shows(page, '#restarts', new RegExp(`^${restart}$`));
      await until('further lines', async () => parseInt(await text(page, '#lines')) >= lines + 5);
      await shows(page, '#state', /^Connected$/);
    }
    await shows(page, '#lines', /none missing/);
    assert.equal(example.lines.filter((line) => /sent a new offer/.test(line)).length, 3);
    await photograph(page, 'ice_restart');
  },

  async trickle_ice(open) {
    const example = new Example('--http', '127.0.0.1:0');
    const page = await open(await example.url());
    await shows(page, '#state', /^Connected$/);
    // Firefox goes on to call an address peer-reflexive that a check came from before its candidate.
    await shows(page, '#remote', /port \d+ \((host|prflx)\)/);
    for (const who of ['this page', 'program']) {
      await until(`candidates of ${who}`, async () => (await heard(page, who)) >= 2);
    }
    await shows(page, '#lines', /^[2-9]/);
    await example.line(/: was given candidate:/);
    await example.line(/: found no more/);
    await photograph(page, 'trickle_ice');
  },

  async ice_single_port(open) {
    const port = 20000 + (process.pid % 20000);
    const example = new Example(...quick, '--port', String(port));
    const page = await open(await example.url());
    await shows(page, '#state', /^10 of 10 connected$/);
    await until('ten port numbers', async () => {
      const shown = await page.locator('#rows tr td:nth-child(4)').allTextContents();
      return shown.length === 10 && shown.every((p) => p === String(port));
    });
    await shows(page, '#ports', new RegExp(`all to port ${port}`));
    await until('lines on every channel', () => page.evaluate(() => connections.every((c) => c.received >= 3)));
    await photograph(page, 'ice_single_port');
  },

  async ice_tcp(open) {
    const port = 20000 + (process.pid % 20000);
    const example = new Example(...quick, '--port', String(port));
    const page = await open(await example.url());
    await shows(page, '#state', /^10 of 10 connected$/);
    const column = (n) => page.locator(`#rows tr td:nth-child(${n})`).allTextContents();
    await until('ten times TCP, to one port', async () => {
      const [ports, by] = [await column(4), await column(5)];
      return by.length === 10 && by.every((p) => p === 'TCP') && ports.every((p) => p === String(port));
    });
    await example.line(/ by IceTcp$/);
    await until('lines on every channel', () => page.evaluate(() => connections.every((c) => c.received >= 3)));
    await photograph(page, 'ice_tcp');
  },
};
