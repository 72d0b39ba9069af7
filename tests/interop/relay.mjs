// Two peers in one page of headless Chromium that meet through a TURN server and nothing else
// (`iceTransportPolicy: 'relay'`): 100 messages over a data channel and back again.
//
//   node relay.mjs URLS USERNAME PASSWORD          several URLs with commas between
//
// Exit code 77: Chromium or playwright-core is not there.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';

const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
let chromium;
try {
  // `require` looks into NODE_PATH, `import` does not.
  ({ chromium } = createRequire(import.meta.url)('playwright-core'));
} catch {
  unavailable('playwright-core is not installed (tests/setup does it)');
}
if (!existsSync(executablePath)) unavailable(`${executablePath} is not there (tests/setup installs it)`);

function unavailable(why) {
  console.error(why);
  process.exit(77);
}

setTimeout(() => {
  console.error('took longer than 90 s');
  process.exit(1);
}, 90_000).unref();

const [urls, username, credential] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  headless: true,
  timeout: 60_000,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
try {
  const page = await browser.newPage();
  const found = await page.evaluate(meet, { urls: urls.split(','), username, credential });
  console.log(`${found.messages} messages there and back, ${found.local} to ${found.remote} by ${found.protocol}, ` +
    `open after ${found.milliseconds} ms`);
  if (found.local !== 'relay' || found.remote !== 'relay') throw new Error('not relayed on both sides');
} finally {
  await browser.close();
}

// In the page.
async function meet(server) {
  const config = { iceServers: [server], iceTransportPolicy: 'relay' };
  const [a, b] = [new RTCPeerConnection(config), new RTCPeerConnection(config)];
  const errors = [];
  for (const [from, to] of [[a, b], [b, a]]) {
    from.onicecandidate = ({ candidate }) => to.addIceCandidate(candidate);
    from.onicecandidateerror = (e) => errors.push(`${e.url}: ${e.errorCode} ${e.errorText}`);
  }
  const start = performance.now();
  const channel = a.createDataChannel('data');
  b.ondatachannel = (event) => {
    event.channel.onmessage = ({ data }) => event.channel.send(data);
  };
  await a.setLocalDescription();
  await b.setRemoteDescription(a.localDescription);
  await b.setLocalDescription();
  await a.setRemoteDescription(b.localDescription);
  await new Promise((resolve, reject) => {
    channel.onopen = resolve;
    setTimeout(() => reject(new Error(`not connected: ${errors.join('; ')}`)), 20_000);
  });
  const milliseconds = Math.round(performance.now() - start);
  let messages = 0;
  await new Promise((resolve, reject) => {
    channel.onmessage = ({ data }) => {
      if (data !== `message ${messages}`) reject(new Error(`${data} came back, not message ${messages}`));
      messages += 1;
      if (messages === 100) resolve();
    };
    for (let n = 0; n < 100; n += 1) channel.send(`message ${n}`);
  });
  const report = await a.getStats();
  const transport = [...report.values()].find((s) => s.type === 'transport');
  const pair = report.get(transport.selectedCandidatePairId);
  const local = report.get(pair.localCandidateId);
  const remote = report.get(pair.remoteCandidateId);
  a.close();
  b.close();
  return { messages, milliseconds, local: local.candidateType, remote: remote.candidateType, protocol: local.relayProtocol };
}
