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
