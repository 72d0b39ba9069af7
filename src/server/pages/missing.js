// The page for an unknown address.
import { Line, offered } from './common.js';

document.getElementById('path').textContent = location.pathname;
new Line(document.getElementById('server'));
await offered();
