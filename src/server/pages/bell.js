// Announces a call: by sound, and by a notification while the page is in the background.

/** Duration of a ring and interval between rings, in seconds. */
const [RING, PERIOD] = [0.9, 3];

export class Bell {
  #sound = null;
  #timer;
  #notification = null;

  /** Prepares audio output. Browsers require a click before it. */
  wake() {
    this.#sound ??= window.AudioContext ? new AudioContext() : null;
    this.#sound?.resume().catch(() => {});
  }

  /** Returns whether the user has not been asked about notifications yet. */
  get canAsk() {
    return window.isSecureContext && window.Notification?.permission === 'default';
  }

  async ask() {
    await Notification.requestPermission();
  }

  ring(from) {
    this.stop();
    this.wake();
    this.#play();
    this.#timer = setInterval(() => this.#play(), PERIOD * 1000);
    if (!document.hidden || window.Notification?.permission !== 'granted') return;
    try {
      this.#notification = new Notification(`${from} is calling`, { tag: 'looprtc-call', requireInteraction: true });
      this.#notification.onclick = () => window.focus();
    } catch (error) {
      // Chrome on Android shows no notifications without a service worker.
      console.warn('a notification', error);
    }
  }

  stop() {
    clearInterval(this.#timer);
    this.#notification?.close();
    this.#notification = null;
    this.#sound?.suspend().catch(() => {});
  }

  /** Two tones, like a telephone. */
  #play() {
    const sound = this.#sound;
    if (!sound || sound.state === 'closed') return;
    sound.resume().catch(() => {});
    const from = sound.currentTime;
    const gain = sound.createGain();
    gain.connect(sound.destination);
    gain.gain.setValueAtTime(0, from);
    gain.gain.linearRampToValueAtTime(0.15, from + 0.05);
    gain.gain.setValueAtTime(0.15, from + RING - 0.1);
    gain.gain.linearRampToValueAtTime(0, from + RING);
    for (const frequency of [440, 480]) {
      const note = sound.createOscillator();
      note.frequency.value = frequency;
      note.connect(gain);
      note.start(from);
      note.stop(from + RING);
    }
  }
}
