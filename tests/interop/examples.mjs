// Runs an example that has a page, loads the page in a headless browser, and checks what it shows.
//
//   node examples.mjs SCENARIO BINARY [chromium|firefox]
//
// Exit code 77: the browser, or what drives it, is not there. With SCREENSHOTS=DIR the page is photographed,
// light on a desk and dark on a phone. Chromium runs as it comes: host addresses are hidden behind mDNS
// names, which the library cannot resolve; it is the browser that reaches us.
import { access } from './pages/access.mjs';
import { admin } from './pages/admin.mjs';
import { launch } from './pages/browsers.mjs';
import { cameras } from './pages/cameras.mjs';
import { channels } from './pages/channels.mjs';
import { clock } from './pages/clock.mjs';
import { embed } from './pages/embed.mjs';
import { running, SECONDS, Unavailable } from './pages/harness.mjs';
import { media } from './pages/media.mjs';
import { network } from './pages/network.mjs';
import { play } from './pages/play.mjs';
import { scenariosBehindProxies } from './pages/proxies.mjs';
import { rates } from './pages/rates.mjs';
import { rooms } from './pages/rooms.mjs';
import { rtp } from './pages/rtp.mjs';
import { save } from './pages/save.mjs';
import { scenarios as serve } from './pages/serve.mjs';
import { streams } from './pages/streams.mjs';

const scenarios = {
  ...access,
  ...admin,
  ...cameras,
  ...channels,
  ...clock,
  ...embed,
  ...media,
  ...network,
  ...play,
  ...rates,
  ...rooms,
  ...rtp,
  ...save,
  ...scenariosBehindProxies,
  ...serve,
  ...streams,
};
const scenario = process.argv[2];
const browser = process.argv[4] ?? 'chromium';

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

try {
  const open = await launch(browser, (error) => {
    console.error(`the page: ${error.stack || `${error.name}: ${error.message}`}`);
    end(1);
  }, scenarios[scenario]);
  await scenarios[scenario](open, browser);
  console.log(`${scenario} in ${browser}: good`);
  end(0);
} catch (error) {
  if (error instanceof Unavailable) unavailable(error.message);
  console.error(error);
  end(1);
}
