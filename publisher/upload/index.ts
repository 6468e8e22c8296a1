// The published tree into S3-compatible object storage.
export { readCredentials } from './credentials.ts';
export { openS3, parsePlace } from './s3.ts';
export { upload } from './upload.ts';
