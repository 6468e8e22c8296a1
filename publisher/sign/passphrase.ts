// The passphrase of the keys at rest: asked on the terminal without echo, or read from a file that only its owner may read.
import * as fs from 'node:fs';
import { defineFaults, EXIT } from '#manifests/errors';
import { readFileBounded } from '#manifests/platform/files';

const fault = defineFaults('passphrase', {
  'no-terminal': { exit: EXIT.usage, next: 'Run it at a terminal, or give --passphrase-file FILE (0600).' },
  'open-file': { exit: EXIT.usage, next: 'Make the file readable for its owner only: chmod 600 FILE.' },
  missing: { exit: EXIT.usage, next: 'Name an existing file with the passphrase on its first line.' },
  weak: { exit: EXIT.usage, next: 'Take a longer one; several words are easy to keep and hard to guess.' },
  differs: { exit: EXIT.usage, next: 'Run the command again; nothing was written.' },
  stopped: { exit: EXIT.usage, next: 'Run the command again; nothing was written.' },
});

const PASSPHRASE_LIMITS = {
  /** Characters a new passphrase needs. */
  least: 8,
  /** Characters read at a terminal or from a file. */
  most: 1_024,
} as const;

/** What is needed of a terminal; `process.stdin` is one. */
export interface Terminal {
  readonly isTTY?: boolean | undefined;
  setRawMode?(on: boolean): unknown;
  on(event: 'data', listener: (data: Buffer | string) => void): unknown;
  off(event: 'data', listener: (data: Buffer | string) => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

export interface PassphraseSource {
  /** The passphrase of existing keys. Asked at most once. */
  existing(): Promise<string>;
  /** A passphrase for new keys: asked twice, at least eight characters. */
  fresh(): Promise<string>;
}

export interface PassphraseOptions {
  readonly file?: string | undefined;
  readonly input?: Terminal | undefined;
  /** Where questions are written; never to stdout, which belongs to reports. */
  readonly ask?: ((text: string) => void) | undefined;
}

/** Where passphrases come from for one command. Nothing is asked before a key needs it. */
export function passphraseSource(options: PassphraseOptions): PassphraseSource {
  const input: Terminal = options.input ?? process.stdin;
  const ask = options.ask ?? ((text) => void process.stderr.write(text));
  let known: string | undefined;
  const read = (question: string) =>
    options.file === undefined ? readHidden(question, input, ask) : Promise.resolve(readPassphraseFile(options.file));
  return {
    async existing() {
      known ??= await read('Passphrase of the keys: ');
      return known;
    },
    async fresh() {
      const first = await read('New passphrase for the keys: ');
      if (first.length < PASSPHRASE_LIMITS.least) {
        throw fault('weak', `the passphrase has ${first.length} characters, at least ${PASSPHRASE_LIMITS.least} are needed`);
      }
      if (options.file === undefined && (await readHidden('The same again: ', input, ask)) !== first) {
        throw fault('differs', 'the two passphrases differ');
      }
      known = first;
      return first;
    },
  };
}

/** The first line of a file that nobody else may read. @throws passphrase.missing, passphrase.open-file */
export function readPassphraseFile(file: string): string {
  const facts = fs.statSync(file, { throwIfNoEntry: false });
  if (facts === undefined) throw fault('missing', `there is no passphrase file ${file}`, { where: file });
  if (process.platform !== 'win32' && facts.isFile() && (facts.mode & 0o077) !== 0) {
    throw fault('open-file', `others may read ${file} (mode ${(facts.mode & 0o777).toString(8)})`, { where: file });
  }
  const bytes = readFileBounded(file, 4 * PASSPHRASE_LIMITS.most) ?? new Uint8Array();
  const first = Buffer.from(bytes).toString('utf8').split(/\r?\n/, 1)[0] ?? '';
  if (first === '') throw fault('missing', `the first line of ${file} is empty`, { where: file });
  return first;
}

/** Asks at a terminal; what is typed is not shown. @throws passphrase.no-terminal, passphrase.stopped on Ctrl-C or Ctrl-D */
export function readHidden(question: string, input: Terminal, ask: (text: string) => void): Promise<string> {
  if (input.isTTY !== true || input.setRawMode === undefined) {
    return Promise.reject(fault('no-terminal', 'a passphrase is needed and there is no terminal to ask at'));
  }
  return new Promise((resolve, reject) => {
    let typed = '';
    const decoder = new TextDecoder(); // a character may arrive in two pieces
    const end = (finish: () => void) => {
      input.off('data', onData);
      input.setRawMode?.(false);
      input.pause();
      ask('\n');
      finish();
    };
    const onData = (data: Buffer | string) => {
      for (const character of typeof data === 'string' ? data : decoder.decode(data, { stream: true })) {
        if (character === '\r' || character === '\n') return end(() => resolve(typed));
        if (character === '\u0003' || character === '\u0004')
          return end(() => reject(fault('stopped', 'no passphrase was given')));
        if (character === '\u007f' || character === '\b') typed = typed.replace(/.$/su, '');
        else if (character === '\u0015') typed = '';
        else if (character >= ' ' && typed.length < PASSPHRASE_LIMITS.most) typed += character;
      }
    };
    input.setRawMode?.(true); // before the question, so that a fast typist is not echoed
    ask(question);
    input.on('data', onData);
    input.resume();
  });
}
