// The page of cameras, as who may change them uses it.
import assert from 'node:assert/strict';
import { Example, photograph, shows, text, Unavailable, until } from './harness.mjs';

const serve = async (...args) => {
  const server = new Example('serve', '--listen', '127.0.0.1:0', ...args);
  return (await server.url()).replace(/\/$/, '');
};

const card = (page, name) => page.locator(`#streams li[data-name="${name}"]`);
const hasFocus = (page, selector) =>
  until(`the focus to be at ${selector}`, () => page.evaluate((wanted) => document.activeElement?.matches(wanted), selector), 10);

export const admin = {
  /** Added, edited and removed by keyboard alone; what is wrong stands beside its field. */
  async serve_admin(open) {
    const far = await serve();
    const url = await serve('cam=whip:');
    const page = await open(url);
    await page.locator('#bar a[href$="/admin"]').click();
    await card(page, 'cam').waitFor();
    assert.equal(await card(page, 'cam').locator('button:visible').count(), 0, 'a stream of the configuration has buttons');
    assert(await page.locator('#unkept').isVisible(), 'it does not say that nothing is kept');
    await page.locator('#add').focus();
    await page.keyboard.press('Enter');
    await hasFocus(page, '#name');
    await page.keyboard.press('Enter');
    await shows(page, '#name-error', /is missing/i);
    await hasFocus(page, '#name');
    await page.keyboard.type('front door');
    await page.keyboard.press('Tab');
    await hasFocus(page, '#url');
    await page.keyboard.type('/etc/passwd');
    await page.keyboard.press('Enter');
    await shows(page, '#name-error', /' ' in the name/);
    assert.equal(await page.locator('#name').getAttribute('aria-invalid'), 'true');
    await page.locator('#name').fill('door');
    await page.keyboard.press('Enter');
    await shows(page, '#url-error', /Begin it with rtsp:.*files, pipes and the standard input can be named in the configuration only/);
    await hasFocus(page, '#url');
    await photograph(page, 'admin-invalid');
    // User name and password of a URL go into their fields.
    await page.locator('#url').fill('rtsp://ann:p%40ss@192.0.2.7/stream1');
    await page.keyboard.press('Tab');
    assert.equal(await page.locator('#url').inputValue(), 'rtsp://192.0.2.7/stream1');
    assert.equal(await page.locator('#user').inputValue(), 'ann');
    assert.equal(await page.locator('#password').inputValue(), 'p@ss');
    await photograph(page, 'admin-form');
    await page.locator('#user').fill('');
    await page.locator('#password').fill('');
    await page.locator('#url').fill(`whep:${far}/whep/testcard`);
    await page.keyboard.press('Enter');
    await card(page, 'door').waitFor();
    await hasFocus(page, 'li[data-name=door] h3');
    assert(!(await page.locator('#editor').isVisible()));
    await until('the camera to be live', async () => /Live/.test(await text(page, 'li[data-name=door] .state')), 30);
    await photograph(page, 'admin-live');
    // A wrong address, and what the server says of it.
    await card(page, 'door').locator('.edit').focus();
    await page.keyboard.press('Enter');
    await hasFocus(page, '#url');
    assert.equal(await page.locator('#name').getAttribute('readonly'), '');
    await page.locator('#url').fill(`whep:${far}/whep/nothing`);
    await page.keyboard.press('Enter');
    await until('the camera to be unavailable', async () => /Unavailable/.test(await text(page, 'li[data-name=door] .state')), 30);
    await photograph(page, 'admin-away');
    await page.keyboard.press('Escape');
    await card(page, 'door').locator('.remove').focus();
    await page.keyboard.press('Enter');
    await hasFocus(page, '#removal .quiet');
    await photograph(page, 'admin-remove');
    await page.keyboard.press('Escape');
    await hasFocus(page, 'li[data-name=door] .remove');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('Enter');
    await until('the camera to be gone', async () => (await card(page, 'door').count()) === 0);
    await hasFocus(page, '#add');
  },

  /** A search, with answers of cameras as the server gives them: their streams go into the form. */
  async serve_admin_search(open) {
    const page = await open(`${await serve()}/admin`);
    const stream = { profile: 'main', encoding: 'H264', width: 1920, height: 1080, frame_rate: 25, audio: 'AAC', snapshot: null };
    const camera = { service: '', name: 'Front door', location: null, manufacturer: 'Acme', model: 'C-1', problem: null };
    const devices = [
      { ...camera, address: '192.0.2.7', streams: [
        { ...stream, uri: 'rtsp://192.0.2.7:554/1' }, { ...stream, profile: 'sub', width: 640, height: 360, uri: 'rtsp://192.0.2.7:554/2' }] },
      { ...camera, address: '192.0.2.8', name: null, model: '<b>x</b>', problem: 'it asks for a user and a password', streams: [] },
    ];
    let asked;
    await page.route('**/api/discover', async (route) => {
      asked = route.request().postDataJSON();
      await route.fulfill({ json: { devices } });
    });
    await page.locator('#look').focus();
    await page.keyboard.press('Enter');
    await hasFocus(page, '#find-user');
    await page.keyboard.type('ann');
    await page.keyboard.press('Tab');
    await page.keyboard.type('p@ss');
    await page.keyboard.press('Enter');
    await shows(page, '#find-said', /2 cameras have answered/);
    assert.deepEqual(asked, { user: 'ann', password: 'p@ss' });
    await shows(page, '#found', /Front door[^]*main, H264, 1920 × 1080, audio AAC[^]*<b>x<\/b>[^]*asks for a user/);
    await photograph(page, 'admin-found');
    await page.locator('#found button').first().click();
    await hasFocus(page, '#name');
    assert.equal(await page.locator('#name').inputValue(), 'front-door');
    assert.equal(await page.locator('#url').inputValue(), 'rtsp://192.0.2.7:554/1');
    assert.equal(await page.locator('#sub').inputValue(), 'rtsp://192.0.2.7:554/2');
    assert.equal(await page.locator('#user').inputValue(), 'ann');
    assert.equal(await page.locator('#password').inputValue(), 'p@ss');
    await page.locator('#find-close').click();
    await hasFocus(page, '#look');
    // The server itself says why there is none.
    await page.unroute('**/api/discover');
    await page.route('**/api/discover', (route) => route.continue({ postData: JSON.stringify({ interface: 'no-such-0' }) }));
    await page.locator('#look').click();
    await page.locator('#find').click();
    await shows(page, '#find-said', /No interface no-such-0/i);
  },

  /** A browser that cannot play H.265 is told so, and what would help; so is whoever looks after the cameras. */
  async serve_h265(open) {
    const clip = new URL('../../data/media/plain.h265', import.meta.url).pathname;
    const url = await serve(`cam=${clip}`);
    const page = await open(`${url}/watch/cam`);
    const knows = await page.evaluate(() => RTCRtpReceiver.getCapabilities('video').codecs.some(({ mimeType }) => /h265/i.test(mimeType)));
    if (knows) throw new Unavailable('this browser knows H.265');
    await shows(page, '#state', /cannot play this stream. Its video is H\.265.*set the camera, or a second stream of it, to H\.264/);
    await photograph(page, 'watch-h265');
    await page.goto(`${url}/admin`);
    await shows(page, 'li[data-name=cam] .hint', /H\.265/);
  },

  /** With tokens: the one for viewers is not enough, and the page asks for the other. */
  async serve_admin_token(open) {
    const url = await serve('--token', 'see', '--admin-token', 'change-them');
    const page = await open(`${url}/admin#token=see`);
    await page.locator('#unlock').waitFor();
    assert.equal(await page.locator('#add:visible').count(), 0);
    await page.locator('#unlock').click();
    await page.locator('#sign-in input').fill('see');
    await page.keyboard.press('Enter');
    await shows(page, '#sign-in [role=alert]', /does not change cameras/);
    await page.locator('#sign-in input').fill('change-them');
    await page.keyboard.press('Enter');
    await hasFocus(page, '#add');
    await page.locator('#add').click();
    await page.locator('#name').fill('door');
    await page.locator('#url').fill('whip:');
    await page.keyboard.press('Enter');
    await shows(page, 'li[data-name=door] .state', /Waiting for its publisher/);
    // Nobody may where there is no token for it.
    const open_ = await open(`${await serve('--open')}/admin`);
    await open_.locator('#closed').waitFor();
    assert.equal(await open_.locator('button:visible').count(), 0);
  },
};
