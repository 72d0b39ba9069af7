// The server's statistics, as `looprtc stats` shows them in a terminal.
import { at, Line, offered, problem, sentence } from './common.js';

const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const number = (value, unit, digits = 0) => (Number.isFinite(value) ? `${value.toFixed(digits)} ${unit}` : '–');
const bitrate = (bits) => (bits >= 1e6 ? number(bits / 1e6, 'Mbit/s', 2) : number(bits / 1e3, 'kbit/s'));
const codecs = (list) => (list ?? []).map((codec) => (codec === 'opus' ? 'Opus' : codec)).join(', ');

function time(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds / 60) % 60)} min`;
}

/** Fills an element with a table: column names, and rows of texts, the first of which is the row's name. */
function table(id, columns, rows, none) {
  const place = $(id);
  if (rows.length === 0) {
    for (const name of ['class', 'tabindex', 'role', 'aria-labelledby']) place.removeAttribute(name);
    place.textContent = none;
    return;
  }
  const made = document.createElement('table');
  const line = (cells, first) => {
    const row = document.createElement('tr');
    cells.forEach((text, index) => {
      const cell = document.createElement(first || index === 0 ? 'th' : 'td');
      if (cell.tagName === 'TH') cell.scope = first ? 'col' : 'row';
      cell.textContent = text;
      row.append(cell);
    });
    return row;
  };
  made.append(line(columns, true), ...rows.map((row) => line(row, false)));
  made.setAttribute('aria-labelledby', `${id}-title`);
  place.className = 'wide';
  // Wider than a phone: scrollable, also by keyboard.
  place.tabIndex = 0;
  place.setAttribute('role', 'group');
  place.setAttribute('aria-labelledby', `${id}-title`);
  place.replaceChildren(made);
}

function show({ version, uptime, door, streams, viewers, rooms, publishers, failures = [] }) {
  $('summary').textContent = `looprtc ${version}, running for ${time(uptime)} · ${door?.connections ?? 0} connections, `
    + `${publishers ?? 0} publishers`;
  table('streams', ['Stream', 'State', 'Viewers', 'Bitrate', 'Codecs'],
    streams.map((s) => [s.name, s.state, String(s.viewers), bitrate(s.bitrate), codecs(s.codecs)]), 'There are no streams.');
  table('viewers', ['Viewer', 'Stream', 'Since', 'Bitrate', 'Round trip', 'Loss', 'Jitter'],
    viewers.map((v) => [v.client ?? '–', v.stream, time(v.seconds), bitrate((v.bytes * 8) / Math.max(v.seconds, 1)),
      number(v.roundTripMs, 'ms', 1), number(v.lossPercent, '%', 1), number(v.jitterMs, 'ms', 1)]), 'Nobody is watching.');
  $('failures').closest('section').hidden = failures.length === 0;
  $('failures').replaceChildren(...failures.map(({ role, stream, client, secondsAgo, why }) => {
    const line = document.createElement('li');
    const session = document.createElement('b');
    session.textContent = `${role} of ${stream}`;
    line.append(session, `${client ? ` (${client})` : ''}, ${time(secondsAgo)} ago: ${why}`);
    return line;
  }));
  table('rooms', ['Room', 'People'], rooms.map((r) => [r.name ?? '–', String(r.participants)]), 'All rooms are empty.');
}

await offered();
new Line($('server'));
for (;;) {
  try {
    const response = await fetch(at('api/stats'), { signal: AbortSignal.timeout(5000) });
    $('trouble').hidden = response.ok;
    if (response.ok) show(await response.json());
    else $('trouble').textContent = sentence(await problem(response));
  } catch (error) {
    // The live connection reports whether the server is reachable.
    console.warn('asking for statistics', error);
  }
  await pause(document.hidden ? 5000 : 1000);
}
