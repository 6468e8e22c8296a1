// The publisher's command line. What each command does is in cli/.
import { main } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { publisherProgram } from './cli/index.ts';

void main(publisherProgram({ clock: systemClock, env: process.env }));
