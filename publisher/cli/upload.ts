// `upload`: the published repository into object storage, from where relays and agents read it by plain HTTP.
import * as fs from 'node:fs';
import { EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { formatBytes } from '#manifests/platform/progress';
import { openS3, parsePlace, readCredentials, upload } from '../upload/index.ts';
import { argument, counted, flag, homeOf, type Tools, textOption, withLock } from './common.ts';

export function uploadCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'upload',
      summary: 'Bring the published repository into S3-compatible object storage: new files first, timestamp.json last',
      args: [{ name: '<place>', says: 's3://BUCKET or s3://BUCKET/PREFIX' }],
      options: [
        { flags: '--endpoint <url>', says: 'address of the store (https://s3.REGION.amazonaws.com unless told)' },
        { flags: '--region <name>', says: 'its region', fallback: 'us-east-1' },
        {
          flags: '--credentials <file>',
          says: 'aws_access_key_id and aws_secret_access_key; readable by its owner alone (needed)',
          required: true,
        },
        { flags: '--ca <file>', says: 'PEM of the only CAs that the store may have its certificate from' },
        { flags: '--prune', says: 'also remove there what the published repository does not have any more' },
        { flags: '--dry-run', says: 'say what would be sent and removed; changes nothing' },
      ],
      examples: [
        {
          line: 'publisher publish && publisher upload s3://updates --endpoint https://store.example --credentials /etc/patchferry/s3',
          says: 'Agents and relays read https://store.example/updates/ like any relay. Sends only what is not there.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const place = parsePlace(argument(context, 0));
        const region = textOption(context, 'region') ?? 'us-east-1';
        const ca = textOption(context, 'ca');
        const dryRun = flag(context, 'dryRun');
        const store = openS3({
          ...place,
          endpoint: textOption(context, 'endpoint') ?? `https://s3.${region}.amazonaws.com`,
          region,
          credentials: readCredentials(textOption(context, 'credentials') ?? ''),
          ca: ca === undefined ? undefined : fs.readFileSync(ca, 'utf8'),
          now: () => tools.clock.now(),
          signal: context.signal,
        });
        let line: ReturnType<typeof context.progress> | undefined;
        try {
          return await withLock(home, 'upload', async () => {
            const report = await upload({
              repository: home.repositoryFolder,
              store,
              dryRun,
              prune: flag(context, 'prune'),
              signal: context.signal,
              onBytes: (done, total) => {
                line ??= context.progress('to the store, bytes', total);
                line.at(done);
              },
            });
            const would = dryRun ? 'would send' : 'sent';
            const { sent, sentBytes, same, removed, others, timestamp, timestampBefore, conditions } = report;
            return {
              exit: sent === 0 && removed === 0 ? EXIT.current : EXIT.done,
              text: [
                `${would} ${counted(sent, 'file')}, ${formatBytes(sentBytes)}; ${same} were there`,
                `timestamp ${timestamp}${timestampBefore === null ? '' : `, there was ${timestampBefore}`}`,
                ...(conditions === 'ignored'
                  ? [
                      'this store does not honour conditional writes: let one publisher at a time upload, what is there was compared before and after',
                    ]
                  : []),
                ...(removed > 0
                  ? [`${dryRun ? 'would remove' : 'removed'} ${counted(removed, 'object')} that the repository does not have`]
                  : []),
                ...(others > 0
                  ? [`${counted(others, 'object')} there that the repository does not have: --prune removes them`]
                  : []),
              ].join('\n'),
              report: { schema: 'patchferry/upload', schemaVersion: 1, ...place, dryRun, ...report },
            };
          });
        } finally {
          line?.end();
          await store.close();
        }
      },
    },
  ];
}
