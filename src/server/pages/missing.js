// What a browser gets for an address that there is not.
import { Line, offered } from './common.js';

document.getElementById('path').textContent = location.pathname;
new Line(document.getElementById('server'));
await offered();
