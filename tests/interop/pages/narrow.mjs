// A path between the page and the program that carries no more than it is told to, and queues what comes
// faster: a UDP relay of our own, put between them by writing its port into the program's answer.
import { createSocket } from 'node:dgram';

/** What waits for longer than this is dropped, as in a router with a short queue. */
const QUEUE_MS = 150;

export class NarrowPath {
  kbit = Infinity;
  dropped = 0;
  #sockets = [];
  #free = 0; // when the path has sent all that waits, by performance.now()

  /** Replaces the candidates of the program's answer by a relay's. */
  async attach(page) {
    await page.route('**/offer', async (route) => {
      // The program must not know another way to the page.
      const offer = route.request().postDataJSON();
      offer.sdp = offer.sdp.split('\r\n').filter((line) => !line.startsWith('a=candidate')).join('\r\n');
      const response = await route.fetch({ postData: JSON.stringify(offer) });
      const answer = await response.json();
      const lines = answer.sdp.split('\r\n');
      const candidate = lines.find((line) => /^a=candidate:.* udp .* 127\.0\.0\.1 \d+ /i.test(line))
        ?? lines.find((line) => /^a=candidate:.* udp .* \d+\.\d+\.\d+\.\d+ \d+ /i.test(line));
      const [, address, port] = /(\d+\.\d+\.\d+\.\d+) (\d+) typ/.exec(candidate);
      const relay = await this.#relay(address, Number(port));
      answer.sdp = lines.filter((line) => !line.startsWith('a=candidate') || line === candidate)
        .map((line) => (line === candidate ? line.replace(`${address} ${port}`, `${address} ${relay}`) : line)).join('\r\n');
      await route.fulfill({ response, json: answer });
    });
  }

  /** The same for a page of a room, whose server offers, and says its candidates one by one. */
  async attachRoom(page) {
    const relays = new Map();
    const without = (description) => ({ ...description, sdp: description.sdp.replaceAll(/^a=(candidate|end-of-candidates).*\r\n/gm, '') });
    const narrowed = async (candidate) => {
      const end = / udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host/i.exec(candidate.candidate);
      if (!end) return null;
      const [at, address, port] = end;
      if (!relays.has(`${address} ${port}`)) relays.set(`${address} ${port}`, await this.#relay(address, Number(port)));
      const through = at.replace(`${address} ${port}`, `${address} ${relays.get(`${address} ${port}`)}`);
      return { ...candidate, candidate: candidate.candidate.replace(at, through) };
    };
    await page.routeWebSocket(/./, (ws) => {
      const server = ws.connectToServer();
      let order = Promise.resolve(); // opening a relay takes a moment
      server.onMessage((text) => {
        if (text === 'pong') return ws.send(text);
        order = order.then(async () => {
          const { event, data, ...rest } = JSON.parse(text);
          const value = typeof data === 'string' && data && JSON.parse(data);
          const changed = event === 'offer' ? without(value) : event === 'candidate' ? await narrowed(value) : value;
          if (changed === value) ws.send(text);
          else if (changed) ws.send(JSON.stringify({ event, data: JSON.stringify(changed), ...rest }));
        });
      });
      ws.onMessage((text) => {
        if (text === 'ping') return server.send(text);
        const { event, data, ...rest } = JSON.parse(text);
        if (event === 'candidate') return;
        server.send(event === 'answer' ? JSON.stringify({ event, data: JSON.stringify(without(JSON.parse(data))), ...rest }) : text);
      });
    });
  }

  async #relay(address, port) {
    const [near, far] = [createSocket('udp4'), createSocket('udp4')];
    this.#sockets.push(near, far);
    await Promise.all([near, far].map((socket) => new Promise((done) => socket.bind(0, address, done))));
    let page;
    near.on('message', (data, from) => {
      page = from;
      far.send(data, port, address);
    });
    far.on('message', (data) => this.#carry(data.length, () => page && near.send(data, page.port, page.address)));
    return near.address().port;
  }

  /** From the program to the page, when it is its turn. */
  #carry(bytes, send) {
    const now = performance.now();
    this.#free = Math.max(this.#free, now) + (bytes + 28) * 8 / this.kbit;
    const wait = this.#free - now;
    if (wait <= 1) send();
    else if (wait <= QUEUE_MS) setTimeout(send, wait);
    else {
      this.#free -= (bytes + 28) * 8 / this.kbit;
      this.dropped += 1;
    }
  }

  close() {
    this.#sockets.forEach((socket) => socket.close());
  }
}
