// Where the server is, and its words as sentences: for the pages, and for players in pages of other origins.

const base = new URL('..', import.meta.url);

/** The address of a path of this server, wherever the page that asks comes from: `url('api/config')`. */
export const url = (path) => new URL(path, base).href;

/** The header that shows a token; nothing without one. */
export const authorization = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

/** Why a response is no success, in the server's words where it gives some (RFC 9457). */
export async function problem(response) {
  try {
    const { title, detail } = await response.json();
    return detail || title || `status ${response.status}`;
  } catch {
    return `status ${response.status}`;
  }
}

/** What to say when ICE found no path. */
export function noPath(iceServers) {
  const relay = (iceServers ?? []).some(({ urls }) => [urls].flat().some((url) => url.startsWith('turn')));
  return relay
    ? 'No network path to the server, not even through its TURN server.'
    : 'No network path to the server. A firewall may be in the way: the server needs its UDP port open, or a TURN server (--turn).';
}

/** What to say of a stream whose video many browsers cannot play: "Its video", "The video of this stream". */
export const h265 = (what) => `${what} is H.265. Safari plays it, and Chrome and Edge where the machine decodes it in hardware; `
  + 'for other browsers set the camera, or a second stream of it, to H.264.';
