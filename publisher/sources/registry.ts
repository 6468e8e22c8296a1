// Which kind of source is implemented where: one folder and one line each (registry.test.ts holds that they agree).
import type { SourceKind, SourceKindImplementation } from './api.ts';
import { apt } from './apt/sync.ts';
import { folder } from './folder/sync.ts';
import { rpm } from './rpm/sync.ts';

export const sourceKinds: Readonly<Record<SourceKind, SourceKindImplementation>> = { apt, rpm, folder };
