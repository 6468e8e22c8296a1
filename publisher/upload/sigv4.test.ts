// The signatures that AWS publishes in its description of the method, for the same requests.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_SHA256, encodedPath, encodedQuery, type S3Request, signedHeaders } from './sigv4.ts';

const credentials = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};
const at = Date.parse('2013-05-24T00:00:00Z');
const host = 'examplebucket.s3.amazonaws.com';
const signatureOf = (request: Omit<S3Request, 'host'>) =>
  /Signature=([0-9a-f]{64})$/.exec(
    signedHeaders({ host, ...request }, credentials, 'us-east-1', at)['authorization'] ?? '',
  )?.[1];

test('the four examples of the description: GET with a range, PUT, GET of a subresource, a listing', () => {
  assert.equal(
    signatureOf({ method: 'GET', path: '/test.txt', headers: { range: 'bytes=0-9' }, bodySha256: EMPTY_SHA256 }),
    'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  );
  assert.equal(
    signatureOf({
      method: 'PUT',
      path: '/test$file.text',
      headers: { date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY' },
      bodySha256: '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
    }),
    '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
  );
  assert.equal(
    signatureOf({ method: 'GET', path: '/', query: { lifecycle: '' }, bodySha256: EMPTY_SHA256 }),
    'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
  );
  assert.equal(
    signatureOf({ method: 'GET', path: '/', query: { prefix: 'J', 'max-keys': '2' }, bodySha256: EMPTY_SHA256 }),
    '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
  );
});

test('names are encoded byte by byte, slashes of a path stay', () => {
  assert.equal(encodedPath("/a b/c+d/(e)!*'~é"), '/a%20b/c%2Bd/%28e%29%21%2A%27~%C3%A9');
  assert.equal(encodedQuery({ b: '1 2', a: '/' }), 'a=%2F&b=1%202');
});
