// A real nginx for tests: one configuration in a folder of its own.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { launch, run } from '#manifests/platform/process';
import { until } from '../fleet/index.ts';

export const hasNginx = (): Promise<boolean> =>
  run('nginx', ['-v'], { timeoutMs: 10_000 }).then(
    ({ code }) => code === 0,
    () => false,
  );

/** Starts nginx. @param block what stands below `http` @returns its access log, and what ends it */
export async function openNginx(
  folder: string,
  block: string,
  port: number,
): Promise<{ readonly log: string; readonly stop: () => Promise<unknown> }> {
  fs.mkdirSync(join(folder, 'tmp'), { recursive: true });
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path tmp/${name};`);
  const user = process.getuid?.() === 0 ? 'user root;\n' : '';
  const log = join(folder, 'access.log');
  fs.writeFileSync(
    join(folder, 'nginx.conf'),
    `${user}worker_processes 1;\npid nginx.pid;\nerror_log stderr error;\nevents { }\nhttp {\naccess_log ${log};\n${temporary.join('\n')}\n${block}\n}\n`,
  );
  const words = ['-p', folder, '-c', join(folder, 'nginx.conf'), '-g', 'daemon off;'];
  const running = await launch('nginx', words, {
    logFile: join(folder, 'said.log'),
    env: process.env as Record<string, string>,
  });
  const stop = () => (running.kill('SIGTERM'), running.ended);
  await until('nginx', 30, () =>
    fetch(`http://127.0.0.1:${port}/`).then(
      () => true as const,
      () => undefined,
    ),
  );
  return { log, stop };
}
