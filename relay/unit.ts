// The relay as a systemd service: an account of its own that writes where the settings say and nowhere else. Pure; each line says why.
import { dirname } from 'node:path';
import { unitArgument } from '#manifests/platform/unit';

const UNIT_NAME = 'patchferry-relay.service';
const ACCOUNT = 'patchferry-relay';
/** Below it ports belong to root. */
const FIRST_FREE_PORT = 1024;

export interface UnitRequest {
  /** Program and leading arguments that start this relay: its own binary, or Node and main.ts. */
  readonly command: readonly string[];
  /** Leading options: `--config FILE`. */
  readonly options: readonly string[];
  readonly listen: string;
  /** All absolute. */
  readonly stateDir: string;
  readonly cacheDir: string;
  /** Further folders that are written: the drop folder, inbox folders. They may not be there yet. */
  readonly writes: readonly string[];
  /** Files and folders that are read: repositories, certificates, the pinned root, the settings. */
  readonly reads: readonly string[];
}

/** The text of the unit. */
export function unitText({ command, options, listen, stateDir, cacheDir, writes, reads }: UnitRequest): string {
  const program = [...command, 'run', ...options];
  const places = [stateDir, cacheDir, ...writes, ...reads, ...command.filter((part) => part.startsWith('/'))];
  const under = (...folders: string[]) =>
    places.some((place) => folders.some((folder) => `${place}/`.startsWith(`${folder}/`)));
  const low = Number(/:(\d+)$/.exec(listen)?.[1]) < FIRST_FREE_PORT;
  const argument = unitArgument;
  const [state, cache] = [argument(stateDir), argument(cacheDir)];
  return `# Printed by \`patchferry-relay systemd-unit\`. Before the first start:
#   useradd --system --user-group --home-dir ${state} --shell /usr/sbin/nologin ${ACCOUNT}
#   install -d -m 0755 ${argument(dirname(stateDir))} ${argument(dirname(cacheDir))}
#   install -d -o ${ACCOUNT} -g ${ACCOUNT} -m 0750 ${state}
#   install -d -o ${ACCOUNT} -g ${ACCOUNT} -m 0755 ${cache}      # 0755: a web server in front reads it
#   systemctl daemon-reload && systemctl enable --now ${UNIT_NAME}
# Commands by hand go as the same account, or what they write cannot be read by the service:
#   runuser -u ${ACCOUNT} -- ${[...command, 'status', ...options].map(argument).join(' ')}
[Unit]
Description=patchferry relay: mirrors a signed repository, serves it, brings results on
# It serves what it has without any line, so it does not wait for one to be up.
After=local-fs.target network.target time-sync.target
# A relay in a cupboard goes on trying, but not in a tight loop.
StartLimitIntervalSec=0

[Service]
Type=exec
User=${ACCOUNT}
Group=${ACCOUNT}
ExecStart=${program.map(argument).join(' ')}
Restart=always
RestartSec=10
# A stop ends what is in progress, within 10 seconds.
TimeoutStopSec=60
LimitCORE=0
# The mirror is public; what is not lies in the state folder, which is 0750.
UMask=0022

# It writes here and nowhere else.
ProtectSystem=strict
ReadWritePaths=${[state, cache, ...writes.map((path) => argument(`-${path}`))].join(' ')}
${under('/home', '/root', '/run/user') ? '# the settings name something there\nProtectHome=read-only' : 'ProtectHome=yes'}
${under('/tmp', '/var/tmp') ? '# PrivateTmp is left out: the settings name something in a folder for temporary files' : 'PrivateTmp=yes'}
PrivateDevices=yes
ProtectHostname=yes
ProtectClock=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
NoNewPrivileges=yes
${low ? '# a port below 1024\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE' : 'CapabilityBoundingSet='}
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
# netlink: lists of addresses
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
# Left out on purpose: MemoryDenyWriteExecute (Node compiles as it runs and would be killed)

[Install]
WantedBy=multi-user.target
`;
}
