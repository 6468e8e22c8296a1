// Every command of the agent: its words, options and examples. What a command does is in its own file, loaded when it runs.
import type { CommandContext, CommandSpec, Outcome, ProgramSpec } from '#manifests/platform/cli';

/** Shown by --version and in reports. */
const VERSION = '0.1.0';

type Runner = (context: CommandContext) => Promise<Outcome>;

/** A command whose code is loaded when it is asked for. */
function later(load: () => Promise<Runner>): Runner {
  return async (context) => (await load())(context);
}

const READ_ONLY_SOURCES = [
  { flags: '--catalog <file>', says: 'decide from this catalog document instead of the verified state (nothing is verified)' },
  { flags: '--repository <dir>', says: 'decide from the catalogs of this repository folder, verified with --root' },
  { flags: '--root <file>', says: 'pinned root for --repository' },
] as const;

const commands: readonly CommandSpec[] = [
  {
    name: 'run',
    summary: 'stay and do a full cycle at every poll; what the service starts',
    examples: [{ line: 'patchferry-agent run', says: 'polls as the group says, until SIGTERM' }],
    run: later(async () => (await import('./run.ts')).runService),
  },
  {
    name: 'once',
    summary: 'one full cycle: poll, verify, evaluate, install inside the window, report',
    options: [{ flags: '--retry', says: 'forget failures, pauses and rolled-back sets first, and try again' }],
    examples: [
      { line: 'patchferry-agent once', says: 'exit 0 compliant, 1 not, 3 nothing to do, 4 deferred (says until when)' },
      { line: 'patchferry-agent once --retry', says: 'after the cause of a failure was removed' },
    ],
    run: later(async () => (await import('./once.ts')).once),
  },
  {
    name: 'apply',
    summary: 'install now what policy lets this host install, from what is here; asks no relay',
    options: [{ flags: '--retry', says: 'forget failures, pauses and rolled-back sets first, and try again' }],
    examples: [
      {
        line: 'patchferry-agent apply',
        says: 'windows, approvals and holds count as always; results go out with the next poll',
      },
    ],
    run: later(async () => (await import('./once.ts')).apply),
  },
  {
    name: 'enroll',
    summary: 'make this host part of a fleet',
    options: [
      { flags: '--code <code>', says: 'activation code from the publisher', required: true },
      {
        flags: '--relay <url>',
        says: 'where the repository is; may be given several times, in order',
        many: true,
        required: true,
      },
      { flags: '--root <file>', says: 'root.json, handed over by a way you trust; needed the first time' },
      { flags: '--title <text>', says: 'what people call this host (its host name unless given)' },
    ],
    examples: [
      {
        line: 'patchferry-agent enroll --code ABCD-EFGH-… --relay http://relay.site.lan:8080 --root root.json',
        says: 'makes keys, verifies the repository, sends the request; running it again does nothing twice',
      },
    ],
    run: later(async () => (await import('./enroll.ts')).enroll),
  },
  {
    name: 'scan',
    summary: 'what this host lacks, from the last verified state; changes nothing and needs no line',
    options: [...READ_ONLY_SOURCES, { flags: '--all', says: 'list every finding, not only what is missing' }],
    examples: [
      { line: 'patchferry-agent scan', says: 'exit 0 when nothing is missing, 1 otherwise' },
      { line: 'patchferry-agent scan --repository /mnt/repo --root root.json --json', says: 'without being enrolled' },
    ],
    run: later(async () => (await import('./scan.ts')).scan),
  },
  {
    name: 'plan',
    summary: 'what would be installed, when, and what it brings along; changes nothing',
    options: [{ flags: '--download', says: 'fetch what is needed to ask the package manager itself' }],
    examples: [{ line: 'patchferry-agent plan', says: 'from the last verified state' }],
    run: later(async () => (await import('./plan.ts')).plan),
  },
  {
    name: 'explain',
    summary: 'what was decided about a patch, CVE or package, by which signed rule, and when it changes',
    args: [{ name: '<query>', says: 'patch id, CVE or package name' }],
    options: [...READ_ONLY_SOURCES],
    examples: [
      { line: 'patchferry-agent explain CVE-2024-5535', says: 'every patch that fixes it, and why it is or is not here' },
    ],
    run: later(async () => (await import('./scan.ts')).explainCommand),
  },
  {
    name: 'status',
    summary: 'what this host is, what it waits for and until when, how fresh its documents are, what it last did',
    examples: [{ line: 'patchferry-agent status', says: 'one screen; asks nobody' }],
    run: later(async () => (await import('./status.ts')).status),
  },
  {
    name: 'history',
    summary: 'the runs of this host, newest first',
    options: [{ flags: '--run <id>', says: 'one run with every state and change (the start of its id is enough)' }],
    examples: [
      { line: 'patchferry-agent history', says: 'a line each' },
      { line: 'patchferry-agent history --run 1b9f', says: 'all of one' },
    ],
    run: later(async () => (await import('./status.ts')).history),
  },
  {
    name: 'rollback',
    summary: 'take the newest run back, while its way back is kept',
    options: [{ flags: '--run <id>', says: 'this run and all after it, the newest first (the start of its id is enough)' }],
    examples: [
      { line: 'patchferry-agent rollback', says: 'the set is not installed again until it changes' },
      { line: 'patchferry-agent rollback --run 1b9f', says: '`history` shows which can be taken back' },
    ],
    run: later(async () => (await import('./once.ts')).rollback),
  },
  {
    name: 'doctor',
    summary: 'look for what would keep this agent from working, each with what to do',
    examples: [{ line: 'patchferry-agent doctor', says: 'exit 0 when everything is well, 1 otherwise' }],
    run: later(async () => (await import('./doctor.ts')).doctor),
  },
  {
    name: 'export',
    summary: 'write this host’s unacknowledged results into a folder, or onto a prepared stick, for a courier',
    args: [{ name: '<dir>', says: 'a prepared stick, or a folder that gets the layout of an inbox' }],
    examples: [
      { line: 'patchferry-agent export /media/stick', says: 'a return bundle and the list of what this host lacks' },
      { line: 'patchferry-agent export /srv/out/inbox', says: 'the publisher collects from that folder' },
    ],
    run: later(async () => (await import('./export.ts')).exportResults),
  },
  {
    name: 'import',
    summary: 'take a bundle from a stick or folder straight into this host, without any relay',
    args: [{ name: '<place>', says: 'where the stick is mounted, or a folder' }],
    options: [
      { flags: '--folder', says: 'the place is a folder on a disk, no prepared stick' },
      { flags: '--no-return', says: 'do not put results and the list of what is lacking on the stick' },
      { flags: '--dry-run', says: 'say what would be taken; nothing is copied, written or changed' },
    ],
    examples: [
      { line: 'patchferry-agent import /media/stick', says: 'the whole visit: bundle in, receipt and results onto the stick' },
    ],
    run: later(async () => (await import('./courier.ts')).importBundles),
  },
  {
    name: 'courier key',
    summary: 'the card of this host as a site of its own, made on first use; the publisher takes it with `bundle site add`',
    options: [{ flags: '--site <name>', says: 'name of the site; needed the first time' }],
    examples: [{ line: 'patchferry-agent courier key --site pump-3', says: 'one line; it holds nothing secret' }],
    run: later(async () => (await import('./courier.ts')).courierKey),
  },
  {
    name: 'service install',
    summary: 'install and start the systemd service',
    options: [{ flags: '--print', says: 'print the unit and change nothing' }],
    examples: [
      { line: 'patchferry-agent service install', says: 'uses the path of this very binary' },
      { line: 'patchferry-agent service install --print', says: 'read it first' },
    ],
    run: later(async () => (await import('./service.ts')).installService),
  },
  {
    name: 'service uninstall',
    summary: 'stop and remove the systemd service; state and keys stay',
    examples: [{ line: 'patchferry-agent service uninstall', says: 'removes the unit only' }],
    run: later(async () => (await import('./service.ts')).uninstallService),
  },
  {
    name: 'service status',
    summary: 'whether the service is installed, enabled and running',
    examples: [{ line: 'patchferry-agent service status', says: 'exit 0 when it runs' }],
    run: later(async () => (await import('./service.ts')).serviceStatus),
  },
];

export const agentProgram: ProgramSpec = {
  name: 'patchferry-agent',
  summary: 'Keeps this host patched by signed policy: polls, decides for itself, installs inside its window, reports.',
  version: VERSION,
  globalOptions: [
    { flags: '--config <file>', says: 'settings file (default /etc/patchferry/agent.yaml)' },
    { flags: '--state-dir <dir>', says: 'state folder (default /var/lib/patchferry/agent)' },
    { flags: '--cache-dir <dir>', says: 'payload cache (default /var/cache/patchferry/agent)' },
  ],
  commands,
};
