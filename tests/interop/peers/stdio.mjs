// Carries the messages of a peer over stdin and stdout, one JSON object a line.
import { createInterface } from 'node:readline';
import { writeSync } from 'node:fs';
import { webcrypto } from 'node:crypto';

globalThis.crypto ??= webcrypto; // Debian's Node 18 does not have it there by itself

const DEFAULT_MAX_SECONDS = 120;

/** Parses `--role offer|answer [--no-echo] [--max-seconds n]` and what `extra` names besides. */
export function parseArgs(extra = {}) {
  const args = { role: undefined, echo: true, maxSeconds: DEFAULT_MAX_SECONDS, ...extra };
  const argv = process.argv.slice(2);
  while (argv.length > 0) {
    const arg = argv.shift();
    if (arg === '--role') args.role = argv.shift();
    else if (arg === '--no-echo') args.echo = false;
    else if (arg === '--max-seconds') args.maxSeconds = Number(argv.shift());
    else {
      const name = arg.replace(/^--/, '');
      if (!(name in extra)) usage(`unknown argument ${arg}`);
      args[name] = typeof extra[name] === 'boolean' ? true : argv.shift();
    }
  }
  if (args.role !== 'offer' && args.role !== 'answer') usage('--role offer|answer is required');
  return args;
}

function usage(message) {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

/** Writes one message. Synchronous, so that nothing is lost when the process exits right after. */
export function emit(message) {
  const line = Buffer.from(`${JSON.stringify(message)}\n`);
  let at = 0;
  while (at < line.length) {
    try {
      at += writeSync(1, line, at);
    } catch (e) {
      if (e.code === 'EPIPE') process.exit(0);
      if (e.code !== 'EAGAIN') throw e;
    }
  }
}

/**
 * Reads messages and hands them to `handle` in order, until stdin ends; then `stop` (a browser must be
 * closed) and exit. A peer that nobody ends leaves by itself after `maxSeconds`.
 */
export function serve(handle, { maxSeconds, stop = async () => {} }) {
  let stopping = false;
  let last = Promise.resolve();
  const leave = async (code) => {
    if (stopping) return;
    stopping = true;
    setTimeout(() => process.exit(code), 3000).unref();
    // What was asked last may still be under way: a close, above all.
    await Promise.race([last, new Promise((resolve) => { setTimeout(resolve, 1000); })]);
    await stop().catch(() => {});
    process.exit(code);
  };
  setTimeout(() => {
    emit({ type: 'error', message: `nobody ended this peer within ${maxSeconds} s` });
    leave(3);
  }, maxSeconds * 1000).unref();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => leave(1));

  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    if (line.trim() === '') return;
    try {
      last = Promise.resolve(handle(JSON.parse(line))).catch(() => {});
    } catch (e) {
      emit({ type: 'error', message: `bad line: ${e.message}` });
    }
  });
  lines.on('close', () => leave(0));
  process.on('uncaughtException', (e) => {
    emit({ type: 'error', message: `uncaught: ${e?.stack ?? e}` });
  });
  process.on('unhandledRejection', (e) => {
    emit({ type: 'error', message: `unhandled: ${e?.stack ?? e}` });
  });
}
