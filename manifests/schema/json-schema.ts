// JSON Schemas of the kinds people write, for editors (completion, hints). What a schema cannot say (exactly one of, an order of
// dates) is checked by `policy check` alone.
import { z } from 'zod';
import { AUTHORED_KINDS, type AuthoredKind } from './authored.ts';

/** Of what is written, before defaults are filled in. */
export function authoredJsonSchema(kind: AuthoredKind): object {
  return z.toJSONSchema(AUTHORED_KINDS[kind], { io: 'input', target: 'draft-2020-12' });
}
