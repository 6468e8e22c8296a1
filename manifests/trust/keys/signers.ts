// Who signs: a key in memory, a key file, or another program (an HSM, a KMS, a person's token). All asynchronous, one interface.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import nacl from 'tweetnacl';
import { readFileBounded } from '#manifests/platform/files';
import { runOrThrow } from '#manifests/platform/process';
import { fault } from '../faults.ts';
import { FORM_LIMITS } from '../limits.ts';
import { keyIdOf, type TufKey, tufKeyOf, verifyOne } from '../verify/keys.ts';
import { readKeyFile } from './file.ts';
import type { SigningKeyPair } from './pairs.ts';

export interface Signer {
  readonly keyId: string;
  readonly key: TufKey;
  /** The signature over `message`, raw bytes in the form the key's scheme wants. */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** Signs with a key pair in memory (Ed25519, tweetnacl). */
export function memorySigner(pair: SigningKeyPair): Signer {
  const key = tufKeyOf(pair.publicKey);
  return {
    keyId: keyIdOf(key),
    key,
    sign: (message) => Promise.resolve(nacl.sign.detached(Uint8Array.from(message), pair.secretKey)),
  };
}

/** Signs with a key file. @throws trust.key-file, trust.passphrase */
export async function fileSigner(path: string, passphrase?: () => Promise<string> | string): Promise<Signer> {
  const stored = await readKeyFile(path, passphrase);
  if (stored.kind !== 'sign') throw fault('key-file', `${path} holds a box key, which cannot sign`, { where: path });
  return memorySigner(stored);
}

export interface CommandSignerOptions {
  readonly key: TufKey;
  readonly command: string;
  /**
   * Arguments. `{in}` stands for a file with the message, `{out}` for the file the program writes the raw signature to.
   * `{sha256}` stands for a file with the message's SHA-256, for tokens that hash nothing themselves. Without `{in}` and
   * `{sha256}` the message goes to standard input; without `{out}` the signature is read from standard output as hex.
   * Arguments are seen by other users of the host: hand a PIN over through `env`, as in `--pin env:PIN`.
   */
  readonly args: readonly string[];
  /** A person may have to touch a token: at most this long. Milliseconds. */
  readonly timeoutMs?: number;
  /** The whole environment of the program; ours when absent. */
  readonly env?: Readonly<Record<string, string>>;
}

const SIGN_TIMEOUT_MS = 120_000;

/** Signs with another program. What it gives must verify under `key`. @throws trust.signer */
export function commandSigner(options: CommandSignerOptions): Signer {
  const { key, command, args } = options;
  return {
    keyId: keyIdOf(key),
    key,
    sign: async (message) => {
      const folder = mkdtempSync(join(tmpdir(), 'patchferry-sign-')); // 0700
      try {
        const input = join(folder, 'message');
        const output = join(folder, 'signature');
        const digest = join(folder, 'sha256');
        const byFile = args.some((arg) => arg.includes('{in}') || arg.includes('{sha256}'));
        if (byFile) {
          writeFileSync(input, message, { mode: 0o600 });
          writeFileSync(digest, createHash('sha256').update(message).digest(), { mode: 0o600 });
        }
        const ran = await runOrThrow(
          command,
          args.map((arg) => arg.replaceAll('{in}', input).replaceAll('{sha256}', digest).replaceAll('{out}', output)),
          { timeoutMs: options.timeoutMs ?? SIGN_TIMEOUT_MS, env: options.env, ...(byFile ? {} : { input: message }) },
        ).catch((cause: unknown) => {
          // Said anew without the arguments, which may name a token and more.
          throw fault('signer', (cause as Error).message, { where: command, cause });
        });
        const hex = args.some((arg) => arg.includes('{out}'))
          ? Buffer.from(readFileBounded(output, FORM_LIMITS.signatureDigits / 2) ?? []).toString('hex')
          : ran.stdout.trim().toLowerCase();
        if (!verifyOne(key, message, hex)) throw fault('signer', `${command} gave no signature of its key`, { where: command });
        return Uint8Array.from(Buffer.from(hex, 'hex'));
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
  };
}
