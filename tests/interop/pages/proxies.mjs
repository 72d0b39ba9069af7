// `looprtc serve` behind real reverse proxies, as docs/proxies.md has them, and used by pages of other origins.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createPage } from 'node:http';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Example, photograph, running, text, Unavailable, until } from './harness.mjs';

const root = new URL('../../../', import.meta.url).pathname;
const media = join(root, 'tests/data/media');

async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}

/** A snippet of the documentation, with what differs here put in its place; each of it has to be there. */
function snippet(language, replacements) {
  const page = readFileSync(join(root, 'docs/proxies.md'), 'utf8');
  let found = page.split(`\`\`\`${language}\n`)[1].split('```')[0];
  for (const [from, to] of replacements) {
    assert(found.includes(from), `${from} in the snippet for ${language}`);
    found = found.replaceAll(from, to);
  }
  return found;
}

/** A directory with a certificate for localhost. */
async function directory() {
  const dir = mkdtempSync(join(tmpdir(), 'looprtc-proxy-'));
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
  await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
    '-nodes', '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE',
    '-keyout', join(dir, 'key.pem'), '-out', join(dir, 'cert.pem')]);
  return dir;
}

const proxies = {
  nginx: {
    program: '/usr/sbin/nginx',
    start(dir, port, upstream) {
      const server = snippet('nginx', [
        ['443', `127.0.0.1:${port}`], ['media.example.org;', 'localhost;'], ['127.0.0.1:8080', upstream],
        ['/etc/ssl/media.example.org.pem', join(dir, 'cert.pem')], ['/etc/ssl/media.example.org.key', join(dir, 'key.pem')],
      ]);
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${dir}/${name};`);
      writeFileSync(join(dir, 'nginx.conf'), `daemon off; worker_processes 1; pid ${dir}/pid; error_log stderr error;
        events { worker_connections 512; } http { access_log off; ${temporary.join(' ')} ${server} }`);
      return ['-e', 'stderr', '-p', dir, '-c', join(dir, 'nginx.conf')];
    },
  },
  caddy: {
    program: '/usr/bin/caddy',
    start(dir, port, upstream) {
      const server = snippet('caddyfile', [
        ['media.example.org {', `https://localhost:${port} {\n\tbind 127.0.0.1\n\ttls ${dir}/cert.pem ${dir}/key.pem`],
        ['127.0.0.1:8080', upstream],
      ]);
      writeFileSync(join(dir, 'Caddyfile'), `{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n
        storage file_system ${dir}/storage\n\tlog {\n\t\tlevel ERROR\n\t}\n}\n${server}`);
      return ['run', '--config', join(dir, 'Caddyfile'), '--adapter', 'caddyfile'];
    },
  },
};

/** A looprtc and a proxy before it. */
async function behind(name) {
  const { program, start } = proxies[name];
  if (!existsSync(program)) throw new Unavailable(`${program} is not there (tests/setup installs it)`);
  const dir = await directory();
  const looprtc = new Example('serve', '--listen', '127.0.0.1:0', '--trusted-proxy', '127.0.0.1', '--token', 'see-what-there-is',
    '--publish-token', 'show-what-you-have', 'cam=whip:');
  const upstream = new URL(await looprtc.url());
  const port = await freePort();
  const proxy = spawn(program, start(dir, port, `127.0.0.1:${upstream.port}`),
    { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, HOME: dir } });
  running.push(proxy);
  const url = `https://localhost:${port}/cam/`;
  await until(`${name} to answer`, async () => {
    assert.equal(proxy.exitCode, null, `${name} has ended`);
    return (await ask(url, 'healthz').catch(() => null))?.status === 204;
  });
  return { url, dir };
}

/** A request through the proxy, from an address of this machine. */
function ask(url, path, { method = 'GET', from = '127.0.0.1', headers = {}, body } = {}) {
  return new Promise((done, failed) => {
    const target = new URL(path, url);
    target.hostname = '127.0.0.1';
    const sent = request(target, { method, localAddress: from, headers: { Host: new URL(url).host, ...headers },
      rejectUnauthorized: false, agent: false }, (answer) => {
      let text = '';
      answer.on('data', (data) => { text += data; });
      answer.on('end', () => done({ status: answer.statusCode, headers: answer.headers, text }));
    });
    sent.on('error', failed);
    sent.end(body);
  });
}

const state = (page) => page.locator('#state').first().getAttribute('data-state').catch(() => null);
const plays = (page) => until('pictures', async () => {
  const frames = await page.evaluate(() => document.querySelector('video')?.getVideoPlaybackQuality().totalVideoFrames ?? 0);
  return frames > 10;
});

async function scenario(open, name) {
  const { url, dir } = await behind(name);
  // A page, below the prefix: the token, the list, the player, a room's socket.
  const page = await open(url, { insecure: true });
  await page.locator('#sign-in input').fill('show-what-you-have');
  await page.locator('#sign-in button[type=submit]').click();
  await page.locator('#streams li[data-name=testcard] button').click();
  await plays(page);
  assert.equal(await page.evaluate(() => location.pathname), '/cam/watch/testcard');
  await until('the server to be reachable by WebSocket', async () => /Online/.test(await text(page, '#server')));
  await photograph(page, `proxies-${name}`);
  const [cookie] = await page.context().cookies();
  assert.deepEqual([cookie.path, cookie.secure, cookie.httpOnly, cookie.sameSite], ['/cam/', true, true, 'Strict']);

  // WHIP and WHEP, by our own programs: session, media and its end.
  const trust = { SSL_CERT_FILE: join(dir, 'cert.pem') };
  const publisher = new Example({ env: trust }, 'publish', '--loop', join(media, 'vp8.ivf'), new URL('whip/cam', url).href,
    '--token', 'show-what-you-have');
  const streams = async () => JSON.parse((await ask(url, 'api/streams',
    { headers: { Authorization: 'Bearer see-what-there-is' } })).text).streams;
  await until('the publisher to be live', async () => (await streams()).find((s) => s.name === 'cam')?.state === 'live');
  await page.goto(new URL('watch/cam', url).href);
  await plays(page);
  const recorder = new Example({ env: trust }, 'record', '--seconds', '2', new URL('whep/cam', url).href, join(dir, 'taken'),
    '--token', 'see-what-there-is');
  const [code] = await once(recorder.child, 'exit');
  assert.equal(code, 0, 'recording by WHEP');
  publisher.child.kill('SIGINT');
  // By DELETE, whose address is below the prefix: a publisher that is only gone is missed after seconds.
  await until('the publisher to have left', async () => (await streams()).find((s) => s.name === 'cam').state === 'waiting', 3);
  const created = await ask(url, 'whep/testcard', { method: 'OPTIONS', headers: { Origin: 'https://other.example' } });
  assert.equal(created.headers['access-control-allow-origin'], '*');

  // Limits are each client's own, and forged addresses are nobody's.
  const guess = (from, headers = {}) => ask(url, 'api/streams', { from, headers: { Authorization: 'Bearer guess', ...headers } });
  for (let n = 0; n < 20; n += 1) assert.equal((await guess('127.0.0.2')).status, 401);
  assert.equal((await guess('127.0.0.2')).status, 429);
  assert.equal((await guess('127.0.0.2', { 'X-Forwarded-For': '192.0.2.1' })).status, 429);
  assert.equal((await guess('127.0.0.3')).status, 401);
  assert.equal((await guess('127.0.0.3', { Forwarded: 'for=127.0.0.2' })).status, 401);
}

export const scenariosBehindProxies = {
  behind_nginx: (open) => scenario(open, 'nginx'),
  behind_caddy: (open) => scenario(open, 'caddy'),

  /** WHIP and WHEP by a page of another origin, which a browser lets read what CORS allows, and nothing else. */
  async other_origin(open) {
    const looprtc = new Example('serve', '--listen', '127.0.0.1:0', '--token', 'see-what-there-is', '--publish-token',
      'show-what-you-have', 'cam=whip:');
    const server = await looprtc.url();
    const elsewhere = createPage((_, answer) => answer.setHeader('Content-Type', 'text/html').end('<!doctype html><title>elsewhere</title>'));
    elsewhere.listen(0, '127.0.0.1');
    await once(elsewhere, 'listening');
    const page = await open(`http://127.0.0.1:${elsewhere.address().port}/`);
    const result = await page.evaluate(async (server) => {
      const seen = {};
      const read = async (path, settings) => {
        const answer = await fetch(new URL(path, server), settings);
        return { status: answer.status, text: await answer.text(), retry: answer.headers.get('Retry-After') };
      };
      const bearer = (token) => ({ Authorization: `Bearer ${token}` });
      const sdp = { 'Content-Type': 'application/sdp' };
      // Whatever is wrong can be read.
      seen.none = await read('whep/testcard', { method: 'POST', headers: sdp, body: 'v=0' });
      seen.wrong = await read('whep/testcard', { method: 'POST', headers: { ...sdp, ...bearer('guess') }, body: 'v=0' });
      seen.unknown = await read('whep/none', { method: 'POST', headers: { ...sdp, ...bearer('see-what-there-is') }, body: 'v=0' });
      seen.gone = await read('whip/cam/0123', { method: 'DELETE', headers: bearer('show-what-you-have') });
      seen.large = await read('whep/testcard', { method: 'POST', headers: { ...sdp, ...bearer('see-what-there-is') }, body: 'x'.repeat(300 * 1024) });
      for (let n = 0; n < 25; n += 1) {
        seen.many = await read('whep/testcard', { method: 'POST', headers: { ...sdp, ...bearer('guess') }, body: 'v=0' });
      }
      // A session from its beginning to its end.
      const session = async (kind, path, token) => {
        const pc = new RTCPeerConnection();
        if (kind === 'whip') {
          const canvas = document.createElement('canvas');
          const pen = canvas.getContext('2d');
          setInterval(() => pen.fillRect(Math.random() * 200, Math.random() * 100, 9, 9), 40);
          canvas.captureStream(25).getTracks().forEach((track) => pc.addTransceiver(track, { direction: 'sendonly' }));
        } else {
          pc.addTransceiver('video', { direction: 'recvonly' });
        }
        await pc.setLocalDescription();
        const answer = await fetch(new URL(path, server), { method: 'POST', headers: { ...sdp, ...bearer(token) }, body: pc.localDescription.sdp });
        const location = new URL(answer.headers.get('Location'), answer.url).href;
        const etag = answer.headers.get('ETag');
        await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
        const gathered = pc.localDescription.sdp.split('\r\n');
        const [ufrag, pwd] = ['a=ice-ufrag:', 'a=ice-pwd:'].map((name) => gathered.find((line) => line.startsWith(name)));
        const patched = await fetch(location, {
          method: 'PATCH',
          headers: { ...bearer(token), 'If-Match': etag, 'Content-Type': 'application/trickle-ice-sdpfrag' },
          body: `${ufrag}\r\n${pwd}\r\na=end-of-candidates\r\n`,
        });
        const stale = await fetch(location, {
          method: 'PATCH',
          headers: { ...bearer(token), 'If-Match': '"none"', 'Content-Type': 'application/trickle-ice-sdpfrag' },
          body: `${ufrag}\r\n${pwd}\r\na=end-of-candidates\r\n`,
        });
        for (let n = 0; n < 200 && pc.connectionState !== 'connected'; n += 1) await new Promise((done) => setTimeout(done, 50));
        const deleted = await fetch(location, { method: 'DELETE', headers: bearer(token) });
        return [answer.status, patched.status, stale.status, pc.connectionState, deleted.status];
      };
      seen.whip = await session('whip', 'whip/cam', 'show-what-you-have');
      seen.whep = await session('whep', 'whep/testcard', 'see-what-there-is');
      // Not without the token, though the server is on this machine.
      seen.config = await read('api/config').catch((error) => String(error));
      return seen;
    }, server);
    elsewhere.close();
    const statuses = ({ none, wrong, unknown, gone, large, many }) => [none, wrong, unknown, gone, large, many].map(({ status }) => status);
    assert.deepEqual(statuses(result), [403, 401, 422, 404, 413, 429]);
    assert.match(result.unknown.text, /m=video/);
    assert.match(result.many.retry, /^\d+$/);
    assert.deepEqual(result.whip, [201, 204, 412, 'connected', 200]);
    assert.deepEqual(result.whep, [201, 204, 412, 'connected', 200]);
    assert.match(result.config, /Failed to fetch/);
  },
};
