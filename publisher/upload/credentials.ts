// Credentials of an object store: from a file of their own that nobody else may read, never from arguments or the environment.
import * as fs from 'node:fs';
import { readFileBounded } from '#manifests/platform/files';
import { fault, UPLOAD_LIMITS } from './faults.ts';
import type { S3Credentials } from './sigv4.ts';

/** Reads `aws_access_key_id`, `aws_secret_access_key` and `aws_session_token`, one a line as `name = value`. @throws upload.credentials */
export function readCredentials(file: string): S3Credentials {
  const facts = fs.statSync(file, { throwIfNoEntry: false });
  if (facts === undefined) throw fault('credentials', `there is no ${file}`, { where: file });
  if (process.platform !== 'win32' && (facts.mode & 0o077) !== 0)
    throw fault('credentials', `${file} can be read by others than its owner`, { where: file });
  const text = Buffer.from(readFileBounded(file, UPLOAD_LIMITS.credentialsBytes) ?? []).toString('utf8');
  const values = new Map(
    text.split('\n').flatMap((line) => {
      const match = /^\s*(aws_[a-z_]+)\s*=\s*(\S+)\s*$/.exec(line);
      return match === null ? [] : [[match[1] ?? '', match[2] ?? ''] as const];
    }),
  );
  const accessKeyId = values.get('aws_access_key_id');
  const secretAccessKey = values.get('aws_secret_access_key');
  if (accessKeyId === undefined || secretAccessKey === undefined)
    throw fault('credentials', `${file} names no key and secret`, { where: file });
  return { accessKeyId, secretAccessKey, sessionToken: values.get('aws_session_token') };
}
