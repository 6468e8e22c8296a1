// What lies in the waivers folder beside the authored YAML: approvers' signatures, and what became of owners' requests.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { defineFaults, EXIT } from '#manifests/errors';
import { readFileBounded, removeTemporaries, writeFileAtomic } from '#manifests/platform/files';
import {
  agentId,
  approval,
  canonicalJson,
  document,
  line,
  list,
  moment,
  signedWaiver,
  type WaiverAnswer,
  waiverAnswer,
} from '#manifests/schema';

const fault = defineFaults('waiver', {
  damaged: { exit: EXIT.handsNeeded, next: 'Take the file back from a backup, or remove it: approvers then sign anew.' },
});

const WAIVER_FILE_LIMITS = { fileBytes: 1024 * 1024, files: 10_000, approvals: 20 } as const;

/** `approvals/NAME.json`. */
const approvals = document('waiver-approvals', 1, {
  /** Host whose owner asked for it: part of what is signed. */
  requestedBy: agentId.nullable(),
  /** The request it came from. */
  request: waiverAnswer.shape.request.nullable(),
  approvals: list(approval, WAIVER_FILE_LIMITS.approvals),
});
export type Approvals = Pick<z.infer<typeof approvals>, 'requestedBy' | 'request' | 'approvals'>;

/** `revoked/NAME.json`: ended before its time. */
const revoked = document('waiver-revoked', 1, { at: moment, reason: line(500), waiver: signedWaiver });
export type RevokedWaiver = z.infer<typeof revoked>;

/** `requests/ID.json`: the answer to a request. */
const answered = z.strictObject({
  schema: z.literal('patchferry/waiver-answer'),
  schemaVersion: z.literal(1),
  ...waiverAnswer.shape,
});

const NO_APPROVALS: Approvals = { requestedBy: null, request: null, approvals: [] };

export const waiverFile = (folder: string, waiver: string) => join(folder, `${waiver}.yaml`);

/** Signatures given so far; none when nobody has signed. @throws waiver.damaged */
export function readApprovals(folder: string, waiver: string): Approvals {
  const file = join(folder, 'approvals', `${waiver}.json`);
  return readJson(file, approvals) ?? NO_APPROVALS;
}

export function writeApprovals(folder: string, waiver: string, value: Approvals): void {
  write(join(folder, 'approvals'), `${waiver}.json`, { schema: 'patchferry/waiver-approvals', schemaVersion: 1, ...value });
}

/** Answers given to requests, by request id. @throws waiver.damaged */
export function readAnswers(folder: string): WaiverAnswer[] {
  return namesIn(join(folder, 'requests')).flatMap((file) => {
    const read = readJson(file, answered);
    if (read === undefined) return [];
    const { schema: _schema, schemaVersion: _version, ...answer } = read;
    return [answer];
  });
}

export function writeAnswer(folder: string, answer: WaiverAnswer): void {
  write(join(folder, 'requests'), `${answer.request}.json`, {
    schema: 'patchferry/waiver-answer',
    schemaVersion: 1,
    ...answer,
  });
}

/** @throws waiver.damaged */
export function readRevoked(folder: string): RevokedWaiver[] {
  return namesIn(join(folder, 'revoked')).flatMap((file) => readJson(file, revoked) ?? []);
}

/** Keeps what was revoked, then takes it out: killed in between, the next publish still carries it and it is revoked again. */
export function revokeFile(folder: string, value: Omit<RevokedWaiver, 'schema' | 'schemaVersion'>): void {
  const { name: waiver } = value.waiver;
  write(join(folder, 'revoked'), `${waiver}.json`, { schema: 'patchferry/waiver-revoked', schemaVersion: 1, ...value });
  fs.rmSync(waiverFile(folder, waiver), { force: true });
  fs.rmSync(join(folder, 'approvals', `${waiver}.json`), { force: true });
}

/** A waiver that comes back under the name of one that was revoked is a new one. */
export function forgetRevoked(folder: string, waiver: string): void {
  fs.rmSync(join(folder, 'revoked', `${waiver}.json`), { force: true });
}

function namesIn(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder)
    .filter((file) => file.endsWith('.json') && !file.startsWith('.'))
    .toSorted()
    .slice(0, WAIVER_FILE_LIMITS.files)
    .map((file) => join(folder, file));
}

function readJson<S extends z.ZodType>(file: string, schema: S): z.infer<S> | undefined {
  const bytes = readFileBounded(file, WAIVER_FILE_LIMITS.fileBytes);
  if (bytes === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw fault('damaged', `${file} is damaged`, { where: file, cause });
  }
}

function write(folder: string, file: string, value: object): void {
  fs.mkdirSync(folder, { recursive: true });
  removeTemporaries(folder);
  writeFileAtomic(join(folder, file), `${canonicalJson(value)}\n`);
}
