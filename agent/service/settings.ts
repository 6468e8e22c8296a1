// Settings of an agent: agent.yaml, environment, flags, checked once. Everything behind the command line sees only these.
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { readSettings } from '#manifests/platform/settings';
import { labels, line, lineFields, name, proxySettings, reachablePlace, tlsFiles } from '#manifests/schema';
import { readEnrolment } from '../outbox/index.ts';
import { RELAY_CHOICES } from '../poll/index.ts';

const DEFAULT_CONFIG = '/etc/patchferry/agent.yaml';
const path = z.string().min(1).max(1_024);

const agentSettings = z.strictObject({
  /** In the order in which they are asked: `http(s)://…`, or a folder that holds a repository. */
  relays: z.array(reachablePlace).max(20).default([]),
  /** Whether a relay that was measured to be much faster goes before those that stand before it in the list. */
  relayChoice: z.enum(RELAY_CHOICES).default('measured'),
  /** The only CAs accepted of relays, and this host's own certificate towards them; the system's CAs otherwise. */
  relayTls: tlsFiles.default({}),
  /** A proxy on the way to relays. */
  proxy: proxySettings.optional(),
  /** How fast and when this host's line may be used; whether its bytes cost money, and what then. */
  line: z
    .strictObject({
      ...lineFields,
      metered: z.enum(['auto', 'yes', 'no']).default('auto'),
      onMetered: z.enum(['window', 'wait', 'as-usual']).default('window'),
    })
    .default({ zone: 'UTC', profile: [], metered: 'auto', onMetered: 'window' }),
  /** The root that was handed over by other means. Needed until the first enrolment has stored it. */
  rootFile: path.optional(),
  stateDir: path.default('/var/lib/patchferry/agent'),
  cacheDir: path.default('/var/cache/patchferry/agent'),
  /** What people call this host; its host name unless set. */
  title: line(255).optional(),
  labels: labels.default({}),
  /** In place of the host's own zone, for windows in host time: an IANA name. */
  zone: z
    .string()
    .regex(/^(?:UTC|[A-Za-z_]+(?:\/[A-Za-z0-9_+-]+){1,2})$/, { error: 'must be UTC or an IANA zone such as Europe/Berlin' })
    .optional(),
  /** Where components of the format `archive` live. */
  archiveRoot: path.default('/opt/patchferry/components'),
  /** The host's keyring for a vendor repository, by the repository's name in the catalog. */
  keyrings: z.record(name, path).default({}),
  /** In place of the group's interval. */
  pollMinutes: z.int().min(1).max(10_080).optional(),
  logLevel: z.enum(['silent', 'error', 'warn', 'info', 'debug']).default('info'),
  /** What may be kept to take runs back with; the rules are in run/keeping.ts. */
  waysBack: z
    .strictObject({
      keep: z.int().min(1).max(50).default(3),
      days: z.int().min(1).max(365).default(30),
      maxPercent: z.int().min(1).max(90).default(10),
      freePercent: z.int().min(0).max(90).default(5),
    })
    .prefault({}),
  /** Whether this agent may reboot the host when the group says `if-needed` and the window has time for it. */
  allowReboot: z.boolean().default(false),
  testing: z.strictObject({ failPoints: z.boolean().default(false) }).default({ failPoints: false }),
});

export type AgentSettings = z.infer<typeof agentSettings>;

/** Flags beat environment (`PATCHFERRY_…`), environment beats the file. @throws settings.* */
export function loadSettings(flags: Readonly<Record<string, unknown>>, env: NodeJS.ProcessEnv): AgentSettings {
  const config = typeof flags['config'] === 'string' ? flags['config'] : env['PATCHFERRY_CONFIG'];
  const settings = readSettings({
    schema: agentSettings,
    files: [config ?? { path: DEFAULT_CONFIG, optional: true }],
    env,
    envPrefix: 'PATCHFERRY_',
    flags,
  });
  const stateDir = resolve(settings.stateDir);
  const enrolled = settings.relays.length === 0 ? (readEnrolment(stateDir)?.relays ?? []) : settings.relays;
  return {
    ...settings,
    stateDir,
    cacheDir: resolve(settings.cacheDir),
    archiveRoot: resolve(settings.archiveRoot),
    relays: [...enrolled],
    ...(settings.rootFile === undefined ? {} : { rootFile: resolve(settings.rootFile) }),
  };
}

/** Where each thing lies in the state and cache folders. */
export function placesOf({ stateDir, cacheDir }: Pick<AgentSettings, 'stateDir' | 'cacheDir'>) {
  return {
    journal: join(stateDir, 'journal.sqlite'),
    trust: join(stateDir, 'trust'),
    keys: join(stateDir, 'keys'),
    documents: join(stateDir, 'documents'),
    outbox: join(stateDir, 'outbox'),
    work: join(stateDir, 'work'),
    wayBack: join(stateDir, 'way-back'),
    lock: join(stateDir, 'agent.lock'),
    payloads: join(cacheDir, 'payloads'),
  };
}
