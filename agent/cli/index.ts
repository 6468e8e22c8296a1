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
    run: later(async () => (await import('./history.ts')).history),
  },
  {
    name: 'rollback',
    summary: 'take the newest run back, while its way back is kept',
    options: [
      { flags: '--run <id>', says: 'this run and all after it, the newest first (the start of its id is enough)' },
      {
        flags: '--whole-root',
        says: 'everything on the root as it was before the run, at the next boot; the old root is kept',
      },
    ],
    examples: [
      { line: 'patchferry-agent rollback', says: 'the set is not installed again until it changes' },
      { line: 'patchferry-agent rollback --run 1b9f', says: '`history` shows which can be taken back' },
      {
        line: 'patchferry-agent rollback --whole-root',
        says: 'logs, homes and data on the root go back too; refused with the reason where it cannot be done',
      },
    ],
    run: later(async () => (await import('./once.ts')).rollback),
  },
  {
    name: 'window list',
    summary: 'the next openings of every window of this host, which may be chosen, and what its owner chose',
    options: [{ flags: '--next <n>', says: 'openings of each window (3 unless given)' }],
    examples: [{ line: 'patchferry-agent window list --next 12', says: 'in UTC and in the zone of this host' }],
    run: later(async () => (await import('./window.ts')).listWindows),
  },
  {
    name: 'window choose',
    summary: 'of the windows that the group offers its owners, take this one',
    args: [{ name: '<window>', says: 'name of a window that `window list` marks' }],
    examples: [
      { line: 'patchferry-agent window choose sunday-night', says: 'told to the publisher; refused beyond the offer' },
    ],
    run: later(async () => (await import('./window.ts')).chooseWindow),
  },
  {
    name: 'window defer',
    summary: 'put installations off, as far as the group lets its owners; never past a deadline',
    options: [{ flags: '--until <when>', says: 'a day by this host’s clock, or a moment in UTC', required: true }],
    examples: [{ line: 'patchferry-agent window defer --until 2026-03-01', says: 'nothing but emergencies before March 2' }],
    run: later(async () => (await import('./window.ts')).deferInstalls),
  },
  {
    name: 'window clear',
    summary: 'take back what the owner chose: every window counts, nothing is put off',
    examples: [{ line: 'patchferry-agent window clear', says: 'exit 3 when nothing was chosen' }],
    run: later(async () => (await import('./window.ts')).clearChoice),
  },
  {
    name: 'waiver request',
    summary: 'ask for an exception: signed, sealed, and answered by the approvers of the group',
    args: [{ name: '<patch>', says: 'patch, source, package (with *) or CVE' }],
    options: [
      { flags: '--until <when>', says: 'a day by this host’s clock, or a moment in UTC', required: true },
      { flags: '--reason <text>', says: 'why the risk is taken', required: true },
      { flags: '--from <when>', says: 'when it begins (now unless given)' },
      {
        flags: '--response <kind>',
        says: 'what is done about the risk',
        choices: ['accept', 'mitigate', 'transfer', 'avoid'],
        fallback: 'accept',
      },
      { flags: '--control <text>', says: 'what keeps the risk down meanwhile' },
      {
        flags: '--check <word>',
        says: 'program that proves the control, and each of its arguments, one --check each; the waiver counts while it passes',
        many: true,
      },
    ],
    examples: [
      {
        line: 'patchferry-agent waiver request CVE-2024-5535 --until 2026-03-31 --reason "the till is certified until then"',
        says: 'counts only once approvers have signed it',
      },
      {
        line: 'patchferry-agent waiver request nginx --until 2026-03-31 --reason "relaunch" --response mitigate --control "port closed" --check systemctl --check is-active --check nftables',
        says: 'with a compensating control that is checked here',
      },
    ],
    run: later(async () => (await import('./waiver.ts')).requestWaiver),
  },
  {
    name: 'waiver list',
    summary: 'what was asked for on this host and what became of it; waivers that are about it and when they end',
    examples: [{ line: 'patchferry-agent waiver list', says: 'from the last verified state' }],
    run: later(async () => (await import('./waiver.ts')).listWaivers),
  },
  {
    name: 'gate',
    summary: 'exit 0 only when this host is at the level that policy requires: before it is handed to its user',
    options: [
      {
        flags: '--wait <minutes>',
        says: 'bring the host up as policy lets it, for so long at most; without it nothing is installed',
      },
      { flags: '--offline', says: 'ask no relay: judge by what was verified last' },
    ],
    examples: [
      { line: 'patchferry-agent gate', says: 'one look; exit 0 ready, 1 or 4 not, 5 expired, 7 hands needed, 8 no relay' },
      { line: 'patchferry-agent gate --wait 30', says: 'for a machine that was resumed, put back or cloned' },
    ],
    run: later(async () => (await import('./gate.ts')).gate),
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
    summary: 'stop and remove the systemd service, give the host’s own updater back; state and keys stay',
    examples: [{ line: 'patchferry-agent service uninstall', says: 'the host is then as its distribution made it' }],
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
