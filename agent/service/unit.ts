// The systemd unit: hardened as far as a program can be that installs packages; each line says why it is there or why the
// usual one is not. Written whole or not at all.

import { unitArgument } from '#manifests/platform/unit';

export const UNIT_NAME = 'patchferry-agent.service';
export const UNIT_PATH = `/etc/systemd/system/${UNIT_NAME}`;

export interface UnitInput {
  /** Program and leading arguments that start this agent: its own binary, or Node and main.ts. */
  readonly command: readonly string[];
  readonly config: string | undefined;
  readonly stateDir: string;
  readonly cacheDir: string;
}

/** The text of the unit. */
export function unitText({ command, config, stateDir, cacheDir }: UnitInput): string {
  const options = [...(config === undefined ? [] : ['--config', config]), '--state-dir', stateDir, '--cache-dir', cacheDir];
  return `# Written by \`patchferry-agent service install\`; changes belong into a drop-in (systemctl edit ${UNIT_NAME}).
[Unit]
Description=patchferry agent: keeps this host patched by signed policy
Documentation=man:patchferry-agent(8)
# It works without any line from its last verified state, so it does not wait for one to be up.
After=local-fs.target network.target time-sync.target
# A host that cannot start it goes on trying, but not in a tight loop.
StartLimitIntervalSec=0

[Service]
# Node has no datagram sockets of the kind sd_notify needs, so readiness is "the program was started".
Type=exec
ExecStart=${[...command, 'run', ...options].map(unitArgument).join(' ')}
Restart=always
RestartSec=30
# Only the agent gets SIGTERM: a package manager at work is not to be broken off. The agent stops between two states.
KillMode=mixed
# An installation that has begun is let to end.
TimeoutStopSec=30min
# The agent may be what is upgraded, or the reboot may come: nothing here is worth a core dump with keys in it.
LimitCORE=0
UMask=0077
# Patching gives way to the host's own work.
Nice=5
IOSchedulingClass=best-effort
IOSchedulingPriority=6

# What packages never need from inside this service:
# no other personality (32-bit syscalls in disguise), no realtime scheduling
LockPersonality=yes
RestrictRealtime=yes
# host name and clock are none of its business
ProtectHostname=yes
ProtectClock=yes
# reading the kernel's log is not needed to patch
ProtectKernelLogs=yes
# sockets: unix (dpkg triggers, systemctl), IP (relays), netlink (address lists)
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
# only the machine's own kind of system calls
SystemCallArchitectures=native

# Left out on purpose, each would break patching or the program:
#   MemoryDenyWriteExecute: Node compiles as it runs and would be killed
#   ProtectSystem, ReadWritePaths, PrivateTmp, PrivateDevices: maintainer scripts write anywhere and talk through /tmp and /dev
#   ProtectKernelModules, ProtectKernelTunables, ProtectControlGroups: kernel packages and services are configured from here
#   NoNewPrivileges, RestrictSUIDSGID, CapabilityBoundingSet: packages carry set-uid programs, capabilities and users of their own
#   RestrictNamespaces: services that packages start and their tests may sandbox themselves

[Install]
WantedBy=multi-user.target
`;
}
