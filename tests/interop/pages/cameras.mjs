// Cameras behind `looprtc serve`, watched: how soon the first picture is there, how many are decoded, what is heard.
// What is watched stands in CAMERAS: [{ name, video, audio }]. Each one's figures are printed as a line of JSON.
import assert from 'node:assert/strict';
import { SECONDS, shows, sleep, until } from './harness.mjs';

/** So many at a time: more would measure the processor. */
const TOGETHER = 3;

/** How long each is watched, in ms. */
const WATCHED = 5 * SECONDS;

/** In the page: WHEP by hand, and what the browser counts. */
function prepare() {
  const elements = document.createElement('div');
  document.body.append(elements);
  const stats = async (pc) => {
    const found = {};
    (await pc.getStats()).forEach((s) => {
      if (s.type === 'inbound-rtp') found[s.kind] = s;
      if (s.type === 'codec') found[s.id] = s;
    });
    return found;
  };
  const connect = async (name, quality) => {
    const begun = performance.now();
    const pc = new RTCPeerConnection();
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
    const video = document.createElement('video');
    Object.assign(video, { autoplay: true, playsInline: true, width: 160, height: 90 });
    elements.append(video);
    video.srcObject = new MediaStream();
    pc.ontrack = ({ track }) => video.srcObject.addTrack(track);
    const gathered = new Promise((done) => {
      pc.onicecandidate = ({ candidate }) => candidate || done();
    });
    await pc.setLocalDescription();
    await gathered;
    const response = await fetch(`/whep/${name}?quality=${quality}`, {
      method: 'POST',
      headers: { 'content-type': 'application/sdp' },
      body: pc.localDescription.sdp,
    });
    const answer = await response.text();
    if (!response.ok) throw new Error(`${name}: ${response.status} ${answer}`);
    await pc.setRemoteDescription({ type: 'answer', sdp: answer });
    return { pc, video, begun, session: response.headers.get('location') };
  };
  const picture = ({ video, begun }, patience) => new Promise((done) => {
    video.requestVideoFrameCallback(() => done(performance.now() - begun));
    setTimeout(() => done(null), patience);
  });
  const end = async ({ pc, video, session }) => {
    pc.close();
    video.remove();
    await fetch(session, { method: 'DELETE' });
  };
  globalThis.watchCamera = async ({ name, quality, video, audio }, watched) => {
    const first = await connect(name, quality);
    const cold = video ? await picture(first, 15_000) : null;
    if (video && cold === null) {
      await end(first);
      return { name, cold };
    }
    // The jitter buffer settles, and what is sent in a hurry at first is through.
    await new Promise((done) => setTimeout(done, 1500));
    const before = await stats(first.pc);
    const from = Date.now();
    const second = await connect(name, quality);
    const warm = video ? await picture(second, 15_000) : null;
    await end(second);
    await new Promise((done) => setTimeout(done, Math.max(0, from + watched - Date.now())));
    const after = await stats(first.pc);
    const to = Date.now();
    await end(first);
    const grown = (kind, what) => (after[kind]?.[what] ?? 0) - (before[kind]?.[what] ?? 0);
    return {
      name,
      cold,
      warm,
      from,
      to,
      decoded: grown('video', 'framesDecoded'),
      freezes: grown('video', 'freezeCount'),
      frozen: grown('video', 'totalFreezesDuration'),
      keys: grown('video', 'keyFramesDecoded'),
      samples: audio ? grown('audio', 'totalSamplesReceived') - grown('audio', 'concealedSamples') : 0,
      energy: grown('audio', 'totalAudioEnergy'),
      codec: after[after.audio?.codecId]?.mimeType ?? null,
    };
  };
}

export const cameras = {
  /** The server is there already: its URL stands in place of the program. */
  async cameras(open) {
    const cameras = JSON.parse(process.env.CAMERAS);
    const page = await open(process.argv[3]);
    await page.evaluate(prepare);
    const waiting = [...cameras];
    const work = async () => {
      for (let camera; (camera = waiting.shift());) {
        const figures = await page.evaluate(([what, watched]) => watchCamera(what, watched), [camera, WATCHED]);
        console.log(JSON.stringify(figures));
      }
    };
    await Promise.all(Array.from({ length: TOGETHER }, work));
  },

  /** A camera that browsers cannot show: the page says why. STATE is a pattern of what it says. */
  async cameras_state(open) {
    const { name, pattern } = JSON.parse(process.env.CAMERAS);
    const page = await open(`${process.argv[3]}watch/${name}`);
    const state = await until(`the page to say ${pattern}`, async () => {
      const said = `${await page.locator('#state').textContent()}  ${await page.locator('#notes').textContent()}`;
      return new RegExp(pattern).test(said) && said;
    }, 30);
    console.log(state);
    assert(state);
  },
  /** What a camera does wrong stands on its card on the page of cameras. */
  async cameras_quirks(open) {
    const { name, pattern } = JSON.parse(process.env.CAMERAS);
    const page = await open(`${process.argv[3]}admin`);
    const list = page.locator(`#streams li[data-name="${name}"] details.quirks`);
    await until('faults on the card', () => list.isVisible(), 30);
    assert.match(await list.locator('summary').textContent(), /faults? of the camera tolerated/);
    await list.locator('summary').click();
    const items = list.locator('li');
    await until(`the card to say ${pattern}`, async () => (await items.allTextContents()).some((text) => new RegExp(pattern).test(text)), 30);
    assert.match(await items.last().textContent(), /docs\/cameras\.md/);
    // It stays open when figures are fetched again.
    await page.waitForTimeout(6000);
    assert(await items.last().isVisible(), 'the list was closed');
  },

  /** A camera with a loudspeaker, and one without: the first talker is heard, a second one is told so. */
  async camera_talk(open) {
    const { name, mute } = JSON.parse(process.env.CAMERAS);
    const [first, second, other] = [await open(`${process.argv[3]}watch/${name}`), await open(`${process.argv[3]}watch/${name}`),
      await open(`${process.argv[3]}watch/${mute}`)];
    await first.locator('#talk').click();
    await shows(first, '#talk-state', /You are heard at the camera/);
    await shows(second, '#talk-state', /Somebody else is talking to this camera/);
    const refused = second.waitForResponse((response) => response.url().endsWith(`/whip/${name}`));
    await second.locator('#talk').click();
    assert.equal((await refused).status(), 409);
    await shows(second, '#talk', /^Talk$/);
    await shows(second, '#talk-state', /Somebody else is talking to this camera/);
    await sleep(3 * SECONDS);
    await shows(first, '#talk-state', /You are heard at the camera/);
    await first.locator('#talk').click();
    await shows(first, '#talk', /^Talk$/);
    // The camera is free again.
    await until('the camera to be free', async () => {
      const { streams } = await (await fetch(`${process.argv[3]}api/streams`)).json();
      return streams.find((stream) => stream.name === name).talk.state === 'free';
    });
    await second.locator('#talk').click();
    await shows(second, '#talk-state', /You are heard at the camera/);
    await second.locator('#talk').click();
    await other.locator('#talk').click();
    await shows(other, '#talk-state', /no two-way audio/);
    await shows(other, '#talk', /^Talk$/);
    console.log('talked');
  },
};
