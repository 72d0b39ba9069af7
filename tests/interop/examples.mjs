// Runs an example that has a page, loads the page in headless Chromium, and checks what it shows.
//
//   node examples.mjs SCENARIO BINARY
//
// Exit code 77: Chromium or playwright-core is not there. With SCREENSHOTS=DIR the page is photographed,
// light on a desk and dark on a phone. Chromium runs as it comes: host addresses are hidden behind mDNS
// names, which the library cannot resolve; it is the browser that reaches us.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { access } from './pages/access.mjs';
import { channels } from './pages/channels.mjs';
import { running, SECONDS, Unavailable } from './pages/harness.mjs';
import { media } from './pages/media.mjs';
import { play } from './pages/play.mjs';
import { rates } from './pages/rates.mjs';
import { rooms } from './pages/rooms.mjs';
import { rtp } from './pages/rtp.mjs';
import { save } from './pages/save.mjs';
import { scenarios as serve } from './pages/serve.mjs';
import { streams } from './pages/streams.mjs';

const scenarios = {
  ...access,
  ...channels,
  ...media,
  ...play,
  ...rates,
  ...rooms,
  ...rtp,
  ...save,
  ...serve,
  ...streams,
};
const scenario = process.argv[2];
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

const end = (code) => process.exit(code);
process.on('exit', () => running.forEach((child) => child.kill()));
setTimeout(() => {
  console.error('took longer than 150 s');
  end(1);
}, 150 * SECONDS).unref();

const browser = await chromium.launch({
  executablePath,
  headless: true,
  timeout: 60 * SECONDS,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
    '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'],
});
/** `file` is written over what the server has at that URL: a page of that origin which the server does not know. */
async function open(url, { init, file } = {}) {
  const page = await browser.newPage();
  if (init) await page.addInitScript(init);
  page.on('pageerror', (error) => {
    console.error(`the page: ${error.stack}`);
    end(1);
  });
  await page.goto(url);
  if (file) await page.setContent(readFileSync(file, 'utf8'));
  return page;
}
try {
  await scenarios[scenario](open);
  console.log(`${scenario}: good`);
  end(0);
} catch (error) {
  if (error instanceof Unavailable) unavailable(error.message);
  console.error(error);
  end(1);
}
