// The list of cameras for who may change them: add, edit, remove.
import { at, h265, keepFocus, Line, offered, sentence, signInToAdmin, stateOf, watched } from './common.js';
import { request } from './network.js';

const $ = (id) => document.getElementById(id);
const form = $('form');
let config = await offered();

/** The name of the camera that is edited; `null` when one is added. */
let edited = null;
/** The element that opened the form. */
let opener = null;

/** Time limit of changes, in ms: the server answers once they are on its disk. */
const PATIENCE = 15_000;
/** The same of a search: cameras may be slow to tell their streams. */
const SEARCH_PATIENCE = 150_000;
/** Interval at which faults of cameras are asked for, in ms. */
const QUIRKS_EVERY = 5000;

// ---- The list ----

function list(streams) {
  const ul = $('streams');
  ul.ariaBusy = 'false';
  $('nothing').hidden = streams.length > 0;
  const cards = new Map([...ul.children].map((li) => [li.dataset.name, li]));
  const names = new Set(streams.map(({ name }) => name));
  for (const [name, li] of cards) if (!names.has(name)) li.remove();
  streams.forEach((stream, index) => {
    let li = cards.get(stream.name);
    if (!li) {
      li = card(stream.name);
      ul.insertBefore(li, ul.children[index] ?? null);
    }
    fill(li, stream);
  });
  if ([...cards.keys()].some((name) => !names.has(name))) keepFocus($('title'));
}

function card(name) {
  const li = document.createElement('li');
  li.className = 'card';
  li.dataset.name = name;
  li.innerHTML = `<h3 tabindex="-1"></h3><p class="state"></p><p class="fine about"></p><p class="fine hint"></p>
    <details class="figures quirks" hidden><summary></summary><ul class="fine"></ul></details>
    <div class="row"><a class="button">Watch</a><button type="button" class="edit">Edit</button><button type="button" class="quiet remove">Remove</button></div>`;
  li.querySelector('h3').textContent = name;
  const link = li.querySelector('a');
  link.href = at(`watch/${encodeURIComponent(name)}`);
  for (const button of li.querySelectorAll('a, button')) button.setAttribute('aria-label', `${button.textContent} ${name}`);
  li.querySelector('.edit').onclick = ({ currentTarget }) => edit(name, currentTarget);
  li.querySelector('.remove').onclick = ({ currentTarget }) => remove(name, currentTarget);
  return li;
}

function fill(li, stream) {
  const put = (selector, words) => {
    const element = li.querySelector(selector);
    if (element.textContent !== words) element.textContent = words;
    element.hidden = words === '';
  };
  put('.state', stateOf(stream));
  li.querySelector('.state').dataset.state = stream.state;
  put('.about', watched(stream));
  const hints = [...stream.notes];
  if (stream.codecs.includes('H265') && !stream.sub) hints.push(h265('Its video'));
  if (stream.sub?.state === 'failed') hints.push(sentence(`the second stream is ${stateOf(stream.sub).toLowerCase()}`));
  if (!stream.editable) hints.push('Built in, or of the server\'s configuration: it is changed there.');
  put('.hint', hints.join(' '));
  putQuirks(li.querySelector('.quirks'), stream);
  const mayChange = stream.editable && config.rights.admin;
  for (const button of li.querySelectorAll('button')) button.hidden = !mayChange;
}

/** What is known of the faults of cameras, by their names: news of the streams is for everybody, and does not have them. */
const known = new Map();

/** Shows which faults of a camera are tolerated. An open list stays open. */
function putQuirks(details, stream) {
  if (stream.quirks) known.set(stream.name, [...stream.quirks, ...(stream.sub?.quirks ?? []).map((quirk) => ({ ...quirk, of: 'second stream, ' }))]);
  const quirks = known.get(stream.name) ?? [];
  details.hidden = quirks.length === 0;
  const words = quirks.map(({ number, name, about, count, of = '' }) => `${of}${number} ${name}: ${about} (${count}\u00a0×)`);
  if (details.dataset.words === words.join('\n')) return;
  details.dataset.words = words.join('\n');
  details.querySelector('summary').textContent = `${quirks.length === 1 ? '1 fault' : `${quirks.length} faults`} of the camera tolerated`;
  details.querySelector('ul').replaceChildren(...[...words, 'What looprtc does about each: docs/cameras.md.'].map((text) => {
    const item = document.createElement('li');
    item.textContent = text;
    return item;
  }));
}

// ---- The form ----

const FIELDS = ['name', 'url', 'user', 'password', 'sub', 'transport', 'audio', 'always', 'insecure'];
const CHOICES = ['audio', 'always', 'insecure'];

/** The kind of a URL, as far as it is typed: rtsp, rtsps, whep, rtp or whip. */
const kindOf = (url) => /^\s*(rtsps?|whep|whip|rtp):/i.exec(url)?.[1].toLowerCase() ?? 'rtsp';

/** Shows the fields that this kind of URL has. */
function fit() {
  const kind = kindOf($('url').value);
  for (const element of form.querySelectorAll('[data-for]')) {
    const kinds = element.dataset.for.split(' ');
    element.hidden = !kinds.includes(kind) && !(kind === 'rtsps' && kinds.includes('rtsp'));
  }
  $('password-label').textContent = kind === 'whep' ? 'Token' : 'Password';
  $('address').textContent = at(`watch/${$('name').value.trim() || 'NAME'}`);
}

/** Moves user name and password of a pasted URL into their fields, where the password is not shown. */
function split() {
  for (const id of ['url', 'sub']) {
    const found = /^\s*(rtsps?:\/\/)([^/@]*(?:@[^/@]*)*)@([^@]*)$/i.exec($(id).value);
    if (!found) continue;
    const [, scheme, login, place] = found;
    const [, user, password] = /^([^:]*):?(.*)$/s.exec(login);
    const plain = (text) => {
      try {
        return decodeURIComponent(text);
      } catch {
        return text;
      }
    };
    if (id === 'sub' && $('user').value) continue;
    $('user').value = plain(user);
    if (password) $('password').value = plain(password);
    $(id).value = scheme + place;
  }
  fit();
}

function show({ name = null, camera = {} }, from) {
  [edited, opener] = [name, from];
  clear();
  form.reset();
  for (const id of ['url', 'user', 'sub', 'transport']) if (camera[id]) $(id).value = camera[id];
  for (const id of CHOICES) if (camera[id] !== undefined) $(id).checked = camera[id];
  $('name').value = name ?? '';
  $('name').readOnly = name !== null;
  $('password').placeholder = camera.hasPassword ? 'unchanged' : '';
  $('more').open = Boolean(camera.sub || camera.always || camera.insecure || camera.audio === false)
    || (camera.transport ?? 'auto') !== 'auto';
  $('editor-title').textContent = name === null ? 'Add a camera' : `Edit ${name}`;
  $('save').textContent = name === null ? 'Add' : 'Save';
  fit();
  $('editor').hidden = false;
  $('editor').scrollIntoView({ block: 'nearest' });
  $(name === null ? 'name' : 'url').focus();
}

function close(next) {
  $('editor').hidden = true;
  form.reset();
  const target = next ?? opener;
  if (target?.isConnected) target.focus();
  else $('title').focus();
}

/** Takes back what was said of a field. */
function right(id) {
  $(`${id}-error`).textContent = '';
  $(id).removeAttribute('aria-invalid');
}

function clear() {
  FIELDS.forEach(right);
  $('form-error').textContent = '';
}

/** Shows what is wrong with which field; the rest below the form. The first of them gets the focus. */
function complain(errors, rest) {
  const known = errors.filter(({ field }) => FIELDS.includes(field));
  for (const { field, detail } of known) {
    $(`${field}-error`).textContent = sentence(detail);
    $(field).setAttribute('aria-invalid', 'true');
  }
  const other = errors.filter((error) => !known.includes(error)).map(({ detail }) => sentence(detail));
  $('form-error').textContent = [...other, ...(errors.length === 0 ? [sentence(rest)] : [])].join(' ');
  const first = FIELDS.find((id) => known.some(({ field }) => field === id));
  if (!first) return;
  const hidden = $(first).closest('[hidden]');
  if (hidden) $('form-error').textContent = $(`${first}-error`).textContent;
  $(first).closest('details')?.setAttribute('open', '');
  $(first).focus();
}

/** What is sent: only the fields that this kind of URL has, and the password only if there is a new one. */
function settings() {
  const camera = {};
  for (const id of FIELDS) {
    if ($(id).closest('[hidden]')) continue;
    camera[id] = CHOICES.includes(id) ? $(id).checked : $(id).value;
    if (!['password', 'user'].includes(id) && typeof camera[id] === 'string') camera[id] = camera[id].trim();
  }
  if (!camera.password) delete camera.password;
  return camera;
}

/** Asks the server for a change. Returns its answer, or words on why there is none. */
async function change(method, path, camera) {
  const options = { method };
  if (camera) Object.assign(options, { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(camera) });
  try {
    const response = await request(at(path), options, PATIENCE);
    if (response.ok) return {};
    const { title, detail, errors = [] } = await response.json().catch(() => ({}));
    return { words: detail || title || `status ${response.status}`, errors };
  } catch (error) {
    return { words: error.message, errors: [] };
  }
}

form.onsubmit = async (event) => {
  event.preventDefault();
  split();
  clear();
  const camera = settings();
  if (edited === null && !camera.name) {
    return complain([{ field: 'name', detail: 'is missing; for example yard' }]);
  }
  const name = edited ?? camera.name;
  $('save').disabled = true;
  const { words, errors } = edited === null
    ? await change('POST', 'api/streams', camera)
    : await change('PUT', `api/streams/${encodeURIComponent(name)}`, camera);
  $('save').disabled = false;
  if (words) return complain(errors, words);
  await reload();
  $('said').textContent = edited === null ? `${name} was added.` : `${name} was saved.`;
  close(heading(name));
};

const heading = (name) => [...$('streams').children].find((li) => li.dataset.name === name)?.querySelector('h3');

async function edit(name, from) {
  const response = await request(at(`api/streams/${encodeURIComponent(name)}`)).catch(() => null);
  const { camera } = (await response?.json().catch(() => null)) ?? {};
  if (camera) show({ name, camera }, from);
  else location.reload();
}

function remove(name, from) {
  const dialog = document.createElement('dialog');
  dialog.id = 'removal';
  dialog.setAttribute('aria-labelledby', 'removal-title');
  dialog.innerHTML = `<form><h2 id="removal-title"></h2><p>Its settings and its password are deleted, and viewers are disconnected.</p>
    <p class="bad" role="alert"></p>
    <div class="row"><button type="button" class="danger">Remove</button><button type="button" class="quiet" autofocus>Cancel</button></div></form>`;
  dialog.querySelector('h2').textContent = `Remove ${name}?`;
  document.body.append(dialog);
  const [yes, no] = dialog.querySelectorAll('button');
  yes.onclick = async () => {
    yes.disabled = true;
    const { words } = await change('DELETE', `api/streams/${encodeURIComponent(name)}`);
    yes.disabled = false;
    if (words) {
      dialog.querySelector('[role=alert]').textContent = sentence(words);
      return;
    }
    if (edited === name) $('editor').hidden = true;
    await reload();
    $('said').textContent = `${name} was removed.`;
    dialog.close();
  };
  no.onclick = () => dialog.close();
  dialog.onclose = () => {
    dialog.remove();
    (from.isConnected ? from : $('add')).focus();
  };
  dialog.showModal();
}

async function reload() {
  const response = await request(at('api/streams')).catch(() => null);
  if (response?.ok) list((await response.json()).streams);
}

// ---- The search ----

/** Searches, and returns the cameras, or words on why there are none. */
async function search(user, password) {
  const body = JSON.stringify(user ? { user, password } : {});
  const options = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body };
  try {
    const response = await request(at('api/discover'), options, SEARCH_PATIENCE);
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return { devices: answer.devices };
    return { words: answer.detail || `status ${response.status}` };
  } catch (error) {
    return { words: error.message };
  }
}

/** A camera that was found: what it is, and a button for each of its streams. */
function foundCard(device, user, password) {
  const li = document.createElement('li');
  li.className = 'card';
  li.innerHTML = '<h3></h3><p class="fine"></p><div class="stack"></div>';
  const title = device.name || device.model || device.address;
  li.querySelector('h3').textContent = title;
  const about = [device.manufacturer, device.model, device.address].filter((word) => word && word !== title);
  li.querySelector('p').textContent = [about.join(', '), device.problem && sentence(device.problem)].filter(Boolean).join(' – ');
  const usable = device.streams.filter(({ uri }) => uri);
  usable.forEach((stream, index) => {
    const size = stream.width && `${stream.width} × ${stream.height}`;
    const words = [stream.profile, stream.encoding, size, stream.audio && `audio ${stream.audio}`].filter(Boolean).join(', ');
    const row = document.createElement('div');
    row.className = 'row between';
    row.innerHTML = '<p></p><button type="button">Use</button>';
    row.querySelector('p').textContent = words;
    const button = row.querySelector('button');
    button.setAttribute('aria-label', `Use ${words} of ${title}`);
    // The second stream is, as a rule, the small one.
    const sub = index === 0 ? usable[1]?.uri : undefined;
    button.onclick = () => {
      const url = stream.uri;
      show({ camera: { url, sub, user } }, button);
      $('name').value = title.toLowerCase().replace(/[^a-z0-9._-]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 64);
      $('password').value = password;
      fit();
      if (url.includes('***')) complain([{ field: 'url', detail: 'has the password in it: put it in the place of ***' }], '');
    };
    li.querySelector('.stack').append(row);
  });
  return li;
}

$('search').onsubmit = async (event) => {
  event.preventDefault();
  const [user, password] = [$('find-user').value, $('find-password').value];
  $('find').disabled = true;
  $('find-said').textContent = 'Searching…';
  const { devices = [], words } = await search(user, password);
  $('find').disabled = false;
  const count = devices.length === 1 ? 'One camera has answered.' : `${devices.length} cameras have answered.`;
  $('find-said').textContent = words ? sentence(words) : devices.length === 0 ? 'No camera has answered.' : count;
  $('found').hidden = devices.length === 0;
  $('found').replaceChildren(...devices.map((device) => foundCard(device, user, password)));
};
$('look').onclick = () => {
  $('finder').hidden = false;
  $('find-user').focus();
};
$('find-close').onclick = () => {
  $('finder').hidden = true;
  $('search').reset();
  $('find-said').textContent = '';
  $('found').replaceChildren();
  $('look').focus();
};

// ---- Who may ----

function rights() {
  const { admin } = config.rights;
  $('locked').hidden = admin || !config.adminNeedsToken;
  $('closed').hidden = admin || config.adminNeedsToken;
  $('unkept').hidden = !admin || config.keepsCameras;
  $('add').hidden = $('look').hidden = !admin;
}

$('unlock').onclick = async () => {
  config = (await signInToAdmin()) ?? config;
  rights();
  await reload();
  keepFocus($('add'));
};
$('add').onclick = ({ currentTarget }) => show({}, currentTarget);
$('cancel').onclick = () => close();
$('url').oninput = $('name').oninput = fit;
form.oninput = ({ target }) => target.id && right(target.id);
$('url').onchange = $('sub').onchange = split;
form.onkeydown = ({ key }) => {
  if (key === 'Escape') close();
};

rights();
await reload();
const line = new Line($('server'));
line.addEventListener('news', ({ detail }) => list(detail.streams));
// Faults are met at any time, and are no news for everybody.
setInterval(() => {
  if (config.rights.details && !document.hidden) reload();
}, QUIRKS_EVERY);
