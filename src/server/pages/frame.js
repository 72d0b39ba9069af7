// The page in an iframe: a player that fills it. The token comes in the fragment, which is not sent to the server.
import '../embed.js';

const player = document.createElement('looprtc-player');
const name = location.pathname.split('/').pop();
try {
  player.setAttribute('stream', decodeURIComponent(name));
} catch {
  player.setAttribute('stream', name);
}
const token = new URLSearchParams(location.hash.slice(1)).get('token');
if (token) player.setAttribute('token', token);
document.title = `${player.getAttribute('stream')} – looprtc`;
document.getElementById('main').replaceChildren(player);
