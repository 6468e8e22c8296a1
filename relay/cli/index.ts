// The commands of the relay. What each does is in its station; here is what a person types and reads.
import type { ProgramSpec } from '#manifests/platform/cli';
import { SETTING_OPTIONS } from '../settings.ts';
import { courierKey, exportCommand, importCommand, show } from './courier.ts';
import { doctor } from './doctor.ts';
import { nginxConfigCommand } from './front.ts';
import { halt, haltList } from './halt.ts';
import { gc, status, verify } from './look.ts';
import { systemdUnit } from './unit.ts';
import { run, sync } from './work.ts';

export const program: ProgramSpec = {
  name: 'patchferry-relay',
  summary: 'A distribution point: mirrors a signed repository, serves it, takes results in and brings them on.',
  version: '0.1.0',
  globalOptions: SETTING_OPTIONS,
  commands: [
    run,
    sync,
    importCommand,
    exportCommand,
    show,
    courierKey,
    halt,
    haltList,
    status,
    verify,
    gc,
    doctor,
    nginxConfigCommand,
    systemdUnit,
  ],
};
