// Shared by the pages of the examples: states in words, a log, and the exchange of descriptions.

const WORDS = {
  new: 'Not connected yet',
  connecting: 'Finding a path …',
  connected: 'Connected',
  disconnected: 'The program is silent; waiting for it',
  failed: 'The connection is lost',
  closed: 'Closed',
};

/** Shows a connection state in `element`; with `text`, in other words. */
function showState(element, state, text) {
  element.dataset.state = state;
  element.textContent = text ?? WORDS[state] ?? state;
}

/** Puts a line on top of the log, and lets go of the oldest. */
function logLine(list, who, text) {
  const line = document.createElement('li');
  for (const [tag, kind, content] of [
    ['time', 'when', new Date().toLocaleTimeString('en-GB')],
    ['span', 'who', who],
    ['span', 'text', text],
  ]) {
    const part = document.createElement(tag);
    part.className = kind;
    part.textContent = content;
    line.append(part);
  }
  list.prepend(line);
  while (list.children.length > 200) list.lastChild.remove();
}

/** Waits until the local description has all its candidates, at most two seconds. */
async function gathered(pc) {
  if (pc.iceGatheringState !== 'complete') {
    await new Promise((done) => {
      setTimeout(done, 2000);
      pc.addEventListener('icegatheringstatechange', () => pc.iceGatheringState === 'complete' && done());
    });
  }
  return pc.localDescription;
}

/** Sends this to the program; gives its answer, and where to go on. */
async function ask(path, body) {
  let response;
  try {
    response = await fetch(path, body === undefined ? undefined : {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error('The program does not answer. Is it running?');
  }
  if (!response.ok) throw new Error(`The program refused: ${await response.text()}`);
  return { description: await response.json(), location: response.headers.get('Location') };
}

/** Offers this connection to the program, and takes its answer. */
async function connect(pc, path = '/offer') {
  await pc.setLocalDescription();
  const { description } = await ask(path, await gathered(pc));
  await pc.setRemoteDescription(description);
}

/** What the browser counts of the tracks it receives; of one of them, if it is given. */
async function inbound(pc, track) {
  const all = [...(await pc.getStats(track)).values()];
  return all.filter(({ type }) => type === 'inbound-rtp');
}

/** The same of a video track, in words. */
async function figures(pc, track) {
  const [{ frameWidth, frameHeight, framesDecoded = 0, freezeCount = 0 } = {}] = await inbound(pc, track);
  if (!frameWidth) return 'Nothing yet';
  return `${frameWidth} × ${frameHeight}, ${framesDecoded} frames, ${freezeCount} freezes`;
}

/** A session description as text to be pasted, and back. */
const toBase64 = (description) => btoa(JSON.stringify(description));
const fromBase64 = (text) => JSON.parse(atob(text.trim()));

const $ = (id) => document.getElementById(id);
